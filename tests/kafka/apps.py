"""Small applications that tests run as real worker processes.

    python -m tests.kafka.apps count --brokers 127.0.0.1:9092 --id a --state-dir /tmp/a --in words --out counts

Settings come as JSON of their groups, as in --kafka '{"session_timeout_ms": 3000}'. What the
worker logs goes to stderr; so does the error that ends it.
"""

import argparse
import datetime
import faulthandler
import json
import logging
import operator
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

import penstock as ps
from penstock.runtime.consumer import InputConsumer
from penstock.serde.avro_guard import Guard
from penstock.topology.timing import Timing
from tests.kafka import changing, failpoints

ODD = "odd"  # `picky-deep` has no bytes for values that begin so
BAD = "bad"  # `failing` and the picky ones raise at values that begin so
STALL = "stall"  # `stalling` and `stalling_flush` stop here for good
STALLED = "stalled for good"  # and say so
SLOW_S = 0.1  # so long a record takes in `slow` and `slow-both-ways`
NAP = "nap:"  # `napping` sleeps for the seconds that stand behind it
PAUSE = "pause"  # `pausing` stops here once, until it is let go on
SILENCE_MS = 60  # `processors` joins the words of a key after it
ECHO_MS = 1_500  # `echo` says a word again after it
PAUSES, GOES_ON = "pauses", "goes on again"

Inputs = Any
Build = Callable[[ps.App, Inputs, list[str], argparse.Namespace], None]


class Sale(msgspec.Struct):
    """A value with an amount; the sum of two counts both."""

    amount: int
    sales: int = 1


class Id(msgspec.Struct):
    """A key in Avro."""

    id: str


class Named(msgspec.Struct):
    """A value in Avro: whatever else its writer's schema has is skipped."""

    id: str


# A value in Avro that can be all kinds of poison.
BOX: dict[str, Any] = {
    "type": "record",
    "name": "Box",
    "fields": [
        {"name": "id", "type": "string"},
        {
            "name": "tree",
            "type": {
                "type": "record",
                "name": "Node",
                "fields": [{"name": "next", "type": ["null", "Node"]}],
            },
        },
        {"name": "nulls", "type": {"type": "array", "items": "null"}},
        {"name": "longs", "type": {"type": "array", "items": "long"}},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}},
    ],
}


def upper(text: str) -> str:
    return text.upper()


def ending(text: str) -> str:
    return text[-2:]


def total(one: Sale, other: Sale) -> Sale:
    return Sale(one.amount + other.amount, one.sales + other.sales)


def longest(one: str, other: str) -> str:
    return max(one, other, key=len)


def fragile(text: str) -> str:
    if text.startswith(BAD):
        raise ZeroDivisionError("no such luck")
    return text.upper()


def stall(text: str) -> str:
    if text == STALL:
        logging.getLogger("apps").warning(STALLED)
        time.sleep(600)
    return text.upper()


def nap(text: str) -> str:
    if text.startswith(NAP):
        logging.getLogger("apps").warning("asleep: %s", text)
        time.sleep(float(text.removeprefix(NAP)))
    return text.upper()


def slowly(value: Any) -> Any:
    time.sleep(SLOW_S)
    return value


def beginning(data: bytes) -> str:
    return data[:2].decode()


def newest(one: bytes, other: bytes) -> bytes:
    return other


class StallAtSecond:
    """A serde that stalls at the second value: what the first task has flushed is on its way."""

    def __init__(self) -> None:
        self._encoded = 0

    def encode(self, value: int, /) -> bytes:
        self._encoded += 1
        if self._encoded > 1:
            stall(STALL)
        return value.to_bytes(8, "big")

    def decode(self, data: bytes, /) -> int:
        return int.from_bytes(data, "big")


class Pause:
    """Holds a function at one value, the first time that any worker comes by, until it is over."""

    def __init__(self, state_dir: Path) -> None:
        self._begun, self._over = state_dir.with_name("begun"), state_dir.with_name("over")

    def upper(self, text: str) -> str:
        if text == PAUSE and not self._begun.exists():
            self._begun.touch()
            logging.getLogger("apps").warning(PAUSES)
            while not self._over.exists():
                time.sleep(0.02)  # the Kafka client's threads live on
            logging.getLogger("apps").warning(GOES_ON)
        return upper(text)

    def end(self) -> None:
        self._over.touch()


def wrong(text: str) -> int:
    return text  # type: ignore[return-value]


def add_to_dict(found: dict[str, int], text: str) -> dict[str, int]:
    found["n"] = found.get("n", 0) + 1
    return found


def map_(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    app.stream(inputs, key=str, value=str, start=args.start).map(upper).to(out[0])


def count(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    words = app.stream(inputs, key=str, value=str, start=args.start)
    words.group_by_key().count(name="counts").to(out[0])


def watched(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    """A count whose words are observed in front of it, and take half a millisecond each."""
    words = app.stream(inputs, key=str, value=str)
    seen = words.observe("words", rows=ps.count(), first=ps.min(str), last=ps.max(str))
    seen.peek(lambda _: time.sleep(0.0005)).group_by_key().count(name="counts").to(out[0])


def count_in_json(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    words = app.stream(inputs, key=str, value=str)
    words.group_by_key().aggregate(dict[str, int], add_to_dict, name="counts").to(out[0])


def map_and_count(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    words = app.stream(inputs, key=str, value=str, start=args.start)
    words.map(upper).to(out[0])
    words.group_by_key().count(name="counts").to(out[1])


def regroup(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    words = app.stream(inputs, key=str, value=str, start=args.start)
    words.group_by(ending, key=str, name="by-ending").count(name="counts").to(out[0])


def both_ways(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    words = app.stream(inputs, key=str, value=str, start=args.start)
    words.map(upper).to(out[0])
    words.group_by(ending, key=str, name="by-ending").count(name="counts").to(out[1])


def every_update(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    words = app.stream(inputs, key=str, value=str, start=args.start)
    words.map(upper).to(out[0])
    endings = words.group_by(ending, key=str, name="by-ending")
    endings.count(name="counts", emit="every_update").to(out[1])


def pausing(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    words = app.stream(inputs, key=str, value=str, start=args.start)
    words.map(Pause(args.state_dir).upper).to(out[0])
    words.group_by(ending, key=str, name="by-ending").count(name="counts").to(out[1])


def reduce_(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    sales = app.stream(inputs, key=str, value=Sale)
    sales.group_by_key().reduce(total, name="totals").to(out[0])


def two_stores(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    words = app.stream(inputs, key=str, value=str).group_by_key()
    words.count(name="counts").to(out[0])
    words.reduce(longest, name="longest").to(out[1])


def join(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    texts = app.stream(inputs, key=str, value=str).group_by_key()
    texts.aggregate(str, operator.add, name="joined", value=str).to(out[0])


def raw(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    app.stream(inputs).filter(lambda _: True).to(out[0])


def text(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    app.stream(inputs, key=str, value=str).filter(lambda _: True).to(out[0])


def failing(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    app.stream(inputs, key=str, value=str).map(fragile).to(out[0])


def dead_letter(topic: str) -> Any:
    return ps.dead_letter(topic, max_ratio=1, max_run=None)


def picky(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    words = app.stream(inputs, key=str, value=str, on_error=dead_letter(out[1]))
    words.map(fragile).to(out[0])


def guarded(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    policy = ps.dead_letter(out[1], max_run=20)
    app.stream(inputs, key=str, value=str, on_error=policy).map(fragile).to(out[0])


def picky_count(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    words = app.stream(inputs, key=str, value=str, on_error=dead_letter(out[1])).map(fragile)
    words.group_by(ending, key=str, name="by-ending").count(name="counts").to(out[0])


class Odd:
    """A serde of text that does not take all of it."""

    def encode(self, text: str) -> bytes:
        if text.lower().startswith(ODD):
            raise ValueError("an odd one")
        return text.encode()

    def decode(self, data: bytes) -> str:
        return data.decode()


def picky_deep(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    words = app.stream(inputs, key=str, value=str).group_by(ending, key=str, name="by-ending")
    newest = words.aggregate(str, lambda _, new: fragile(new), name="newest", value=str)
    newest.to(ps.Topic(out[0], key=str, value=Odd()))


def picky_raw(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    app.stream(inputs, on_error=dead_letter(out[1])).filter(lambda _: True).to(out[0])


def stalling(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    app.stream(inputs, key=str, value=str).map(stall).to(out[0])


def slow(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    """Slow in front of a store, and behind it as it is flushed."""
    words = app.stream(inputs, key=str, value=str).map(slowly, value=str)
    words.map(upper).to(out[0])
    counts = words.group_by(ending, key=str, name="by-ending").count(name="counts")
    counts.to_stream().map(slowly, value=int).to(out[1])


def slow_behind(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    """Slow behind a store alone: records come fast, and each of them is a change."""
    counts = app.stream(inputs, key=str, value=str).group_by_key().count(name="counts")
    counts.to_stream().map(slowly, value=int).to(out[0])


def large(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    values = app.stream(inputs, key=str, value=bytes)
    values.map(bytes.upper, value=bytes).to(out[0])
    grouped = values.group_by(beginning, key=str, name="by-beginning")
    grouped.reduce(newest, name="newest").to(out[1])


def keep(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    """State of large values, of which nothing large goes out."""
    values = app.stream(inputs, key=str, value=bytes).group_by_key()
    values.reduce(newest, name="newest").to_stream().map(len, value=int).to(out[0])


def soak(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    """A little of all: a map, a count under a new key, windows, timers."""
    both_ways(app, inputs, out, args)
    words = app.stream(inputs, key=str, value=str)
    seconds = words.group_by_key().window(ps.tumbling("1s")).count(name="seconds")
    seconds.to(out[2], output_mode="append")
    words.process(Visits, name="visits").to(out[3])


def five_stores(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    words = app.stream(inputs, key=str, value=str).group_by_key()
    words.count(name="counts").to(out[0])
    for number in range(1, 5):
        words.reduce(longest, name=f"longest-{number}").to(out[1])


def napping(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    app.stream(inputs, key=str, value=str).map(nap).to(out[0])


def napping_letters(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    words = app.stream(inputs, key=str, value=str, on_error=dead_letter(out[1]))
    words.map(nap).to(out[0])


def stalling_flush(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    counts = app.stream(inputs, key=str, value=str).group_by_key().count(name="counts")
    counts.to(ps.Topic(out[0], key=str, value=StallAtSecond()))


def avro(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    box = ps.serde.avro(BOX)
    boxes = app.stream(inputs, key=box, value=box, on_error=dead_letter(out[1]))
    texts = boxes.map(operator.itemgetter("id"), value=str).group_by_key()
    texts.count(name="counts").to(out[0])


def registered(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    registry = {"url": args.registry, "timeout": 0.5, "retries.wait.ms": 10}
    key, value = (ps.serde.avro(of, registry=registry) for of in (Id, Named))
    orders = app.stream(inputs, key=key, value=value, on_error=dead_letter(out[1]))
    orders.map(operator.attrgetter("id"), value=str).to(out[0])


def routed(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    prefix = out[0]

    def destination(text: str) -> str:
        return f"{prefix}-{text.split(':')[0]}"

    app.stream(inputs, key=str, value=str).to(destination)


def mistyped(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    app.stream(inputs, key=str, value=str).map(wrong).to(out[0])


def untyped(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    app.stream(inputs, key=str, value=str).map(lambda text: text.upper()).to(out[0])


def windows(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    words = app.stream(inputs, key=str, value=str, start=args.start).group_by_key()
    counts = words.window(ps.tumbling("1s"), grace="100ms").count(name="counts")
    counts.to(out[0], output_mode="append")
    counts.to(out[1])


def windows_regrouped(
    app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace
) -> None:
    words = app.stream(inputs, key=str, value=str, start=args.start)
    counts = words.group_by(ending, key=str, name="by-ending").window(ps.tumbling("1s"))
    counts.count(name="counts").to(out[0], output_mode="append")


def once(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    words = app.stream(inputs, key=str, value=str, start=args.start)
    distinct = words.drop_duplicates(within="2s", name="seen")
    distinct.to(out[0])
    distinct.group_by_key().count(name="counts").to(out[1])


def console(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    words = app.stream(inputs, key=str, value=str, start=args.start).group_by_key()
    counts = words.count(name="counts")
    counts.to(out[0])
    counts.to_console(num_rows=1_000)
    counts.to_console(output_mode="complete", num_rows=1_000)


class Visits(ps.Processor[str, str, str]):
    """Numbers the words of a key, and joins those of a visit when it has been silent for long."""

    number = ps.ValueState(int)
    words = ps.ListState(str)

    def process(self, ctx: ps.Context[str], value: str) -> Iterable[str]:
        number = (self.number.get() or 0) + 1
        self.number.set(number)
        self.words.append(value)
        ctx.set_timer("silent", at=ctx.timestamp + SILENCE_MS)
        return [f"{number} {value}"]

    def on_timer(self, ctx: ps.Context[str], timer: ps.Timer) -> Iterable[str]:
        visit = "+".join(self.words)
        self.words.clear()
        return [visit]


class Echo(ps.Processor[str, str, str]):
    """Says a word again, by the wall clock."""

    word = ps.ValueState(str, ttl="1h")

    def process(self, ctx: ps.Context[str], value: str) -> Iterable[str]:
        self.word.set(value)
        ctx.set_timer("echo", at=ctx.now + ECHO_MS, clock="wall")
        return []

    def on_timer(self, ctx: ps.Context[str], timer: ps.Timer) -> Iterable[str]:
        return [self.word.get() or "nothing"]


def processors(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    words = app.stream(inputs, key=str, value=str, start=args.start)
    words.process(Visits, name="visits").to(out[0])


def processors_regrouped(
    app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace
) -> None:
    words = app.stream(inputs, key=str, value=str, start=args.start)
    words.rekey(ending, key=str, name="by-ending").process(Visits, name="visits").to(out[0])


def table(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    app.table(inputs[0], key=str, value=str, name="names").to(out[0])


def changing_(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    changing.declare(app.stream(inputs, key=str, value=str, on_error=dead_letter(out[3])), out)


def echo(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    app.stream(inputs, key=str, value=str).process(Echo, name="echo").to(out[0])


def windows_late(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    words = app.stream(inputs, key=str, value=str, start=args.start).with_watermark("100ms")
    counts = words.group_by_key().window(ps.tumbling("1s"), late=out[1]).count(name="counts")
    counts.to(out[0], output_mode="append")


def windows_idle(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    words = app.stream(inputs, key=str, value=str).with_watermark("100ms", idle="1s")
    counts = words.group_by_key().window(ps.tumbling("1s"), late=out[1]).count(name="counts")
    counts.to(out[0], output_mode="append")


def windows_idle_regrouped(
    app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace
) -> None:
    words = app.stream(inputs, key=str, value=str).with_watermark("100ms", idle="1s")
    counts = words.group_by(ending, key=str, name="by-ending").window(ps.tumbling("1s"))
    counts.count(name="counts").to(out[0], output_mode="append")


def all_windows(app: ps.App, inputs: Inputs, out: list[str], args: argparse.Namespace) -> None:
    words = app.stream(inputs, key=str, value=str)
    counts = words.group_by_key().window(ps.tumbling("1s"), grace="100ms").count(name="counts")
    counts.to(out[0], output_mode="append")
    by_ending = words.group_by(ending, key=str, name="by-ending")
    endings = by_ending.window(ps.tumbling("1s")).count(name="endings")
    endings.to(out[1], output_mode="append")
    sessions = by_ending.window(ps.session("400ms")).count(name="sessions")
    sessions.to(out[2], output_mode="append")
    sessions.to(out[3])


APPS: dict[str, Build] = {
    "console": console,
    "once": once,
    "processors": processors,
    "processors-regrouped": processors_regrouped,
    "echo": echo,
    "table": table,
    "changing": changing_,
    "windows-late": windows_late,
    "windows-idle": windows_idle,
    "windows-idle-regrouped": windows_idle_regrouped,
    "all-windows": all_windows,
    "windows": windows,
    "windows-regrouped": windows_regrouped,
    "map": map_,
    "count": count,
    "watched": watched,
    "count-in-json": count_in_json,
    "map-and-count": map_and_count,
    "regroup": regroup,
    "both-ways": both_ways,
    "every-update": every_update,
    "pausing": pausing,
    "reduce": reduce_,
    "two-stores": two_stores,
    "join": join,
    "raw": raw,
    "text": text,
    "failing": failing,
    "guarded": guarded,
    "picky": picky,
    "picky-count": picky_count,
    "picky-deep": picky_deep,
    "picky-raw": picky_raw,
    "stalling": stalling,
    "slow": slow,
    "slow-behind": slow_behind,
    "large": large,
    "keep": keep,
    "soak": soak,
    "five-stores": five_stores,
    "napping": napping,
    "napping-letters": napping_letters,
    "stalling-flush": stalling_flush,
    "avro": avro,
    "registered": registered,
    "routed": routed,
    "mistyped": mistyped,
    "untyped": untyped,
}


def build(arguments: list[str]) -> ps.App:
    """Make the application that the arguments describe."""
    args = _parser().parse_args(arguments)
    settings = ps.Settings(
        kafka=ps.KafkaSettings(**json.loads(args.kafka)),
        state=ps.StateSettings(**json.loads(args.state)),
        commit=ps.CommitSettings(**json.loads(args.commit)),
        worker=ps.WorkerSettings(**json.loads(args.worker)),
        progress=ps.ProgressSettings(**json.loads(args.progress)),
    )
    if args.failpoint:
        failpoints.arm(args.failpoint)
    if args.sabotage:
        sabotage(args.sabotage)
    app = ps.App(
        args.id,
        brokers=args.brokers,
        guarantee=args.guarantee,
        state_dir=args.state_dir,
        settings=settings,
        on_error=dead_letter(args.outputs[1]) if args.name == "picky-deep" else "fail",
    )
    inputs = re.compile(args.pattern) if args.pattern else args.inputs
    APPS[args.name](app, inputs, args.outputs, args)
    return app


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=APPS)
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--id", required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--in", dest="inputs", nargs="*", default=[])
    parser.add_argument("--pattern")
    parser.add_argument("--out", dest="outputs", nargs="*", default=[])
    parser.add_argument("--start", type=_start, default="earliest")
    parser.add_argument("--sabotage", help="names, with commas between them")
    parser.add_argument("--failpoint", help="a step, the how manieth time, and a file to write")
    parser.add_argument("--registry")
    parser.add_argument("--guarantee", default="exactly_once")
    for group in ("kafka", "state", "commit", "worker", "progress"):
        parser.add_argument(f"--{group}", default="{}")
    return parser


def _start(text: str) -> Any:
    if text in ("earliest", "latest"):
        return text
    return datetime.datetime.fromisoformat(text)


# Workers that are broken on purpose: checkers have to find what they do.
def let_newcomers_wait() -> None:
    InputConsumer.ask_for_more = lambda _: None  # type: ignore[method-assign]


def go_by_records() -> None:
    """Let each record of a repartition topic move time, as Kafka Streams does."""
    Timing.goes_by_records = lambda *_: True  # type: ignore[method-assign]


def unguard() -> None:
    Guard.check = lambda *_: None  # type: ignore[method-assign]


SABOTAGE: dict[str, Callable[[], None]] = {
    "go-by-records": go_by_records,
    "newcomers-wait": let_newcomers_wait,
    "unguard": unguard,
}


def sabotage(names: str) -> None:
    """Break rules: those that are named here, or broken in simulated clusters too."""
    for name in names.split(","):
        from tests.kafka import sabotage_resources

        rules = SABOTAGE | sabotage_resources.RULES
        if name in rules:
            rules[name]()
            continue
        from tests.kafka import sabotage_commits, sabotage_groups

        if name in sabotage_groups.RULES:
            sabotage_groups.RULES[name]()
        else:
            sabotage_commits.break_rule(name)


if __name__ == "__main__":
    faulthandler.register(signal.SIGUSR1)  # a test that waits in vain asks where we are
    logging.basicConfig(
        level=os.environ.get("LOG", "INFO"), format="%(asctime)s %(levelname)s %(message)s"
    )
    build(sys.argv[1:]).run()
