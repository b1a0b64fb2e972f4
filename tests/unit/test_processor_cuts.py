"""Processors against a naive interpreter, however the input is cut and whatever fails in between.

Records carry the steps that a processor takes; the interpreter takes the same ones over plain
dicts, sorts all timers of all keys before each, and expires state by looking at all of it.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import penstock as ps
from penstock.errors import DataError
from penstock.operators import timers
from penstock.serde.timers import EXPIRES, NAMED, rest_of, split, time_of
from tests.unit.programs import Sent
from tests.unit.runner import Cut, Runner

BRIEF, LISTED, MAPPED = 3, 4, 5  # how long they live
NAMES = st.sampled_from(["a", "b", "chain", "now", "push"])
STEPS = st.one_of(
    st.tuples(st.just("timer"), NAMES, st.integers(-3, 9)),
    st.tuples(st.just("timer"), NAMES, st.integers(-3, 9)),
    st.tuples(st.just("cancel"), NAMES),
    st.tuples(st.just("keep"), st.integers(0, 9)),
    st.tuples(st.just("brief"), st.integers(0, 9)),
    st.tuples(st.just("push"), st.integers(0, 9)),
    st.tuples(st.just("map"), st.sampled_from("xyz"), st.integers(0, 9)),
    st.tuples(st.just("unmap"), st.sampled_from("xyz")),
    st.tuples(st.sampled_from(["forget", "forget-brief", "empty", "unmap-all", "fail"])),
)
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "aa"]),
        st.integers(0, 12) | st.integers(0, 40),
        st.lists(STEPS, max_size=4),
    ),
    min_size=2,
    max_size=12,
)
THEN = ["go", "go", "commit", "commit", "abort", "restart", "restore"]
CUTS = st.lists(st.builds(Cut, st.integers(1, 6), st.sampled_from(THEN)), max_size=8)

Row = tuple[str, int, list[Any]]


class Told(ps.Processor[str, list[Any], list[Any]]):
    """Takes the steps that its records and timers say."""

    kept = ps.ValueState(list[int])
    brief = ps.ValueState(int, ttl="3ms")
    listed = ps.ListState(int, ttl="4ms")
    mapped = ps.MapState(str, int, ttl="5ms")

    def process(self, ctx: ps.Context[str], value: list[Any]) -> Iterator[list[Any]]:
        for step in value:
            match step:
                case ["timer", name, after]:
                    ctx.set_timer(name, at=ctx.timestamp + after)
                case ["cancel", name]:
                    ctx.cancel_timer(name)
                case ["keep", number]:
                    kept = self.kept.get() or []
                    kept.append(number)
                    self.kept.set(kept)
                    kept.append(-1)
                case ["brief", number]:
                    self.brief.set(number)
                case ["push", number]:
                    self.listed.append(number)
                case ["map", name, number]:
                    self.mapped[name] = number
                case ["unmap", name]:
                    self.mapped.delete(name)
                case ["forget"]:
                    self.kept.clear()
                case ["forget-brief"]:
                    self.brief.clear()
                case ["empty"]:
                    self.listed.clear()
                case ["unmap-all"]:
                    self.mapped.clear()
                case _:
                    raise ValueError("as told")
        yield ["record", *self.seen(ctx)]

    def on_timer(self, ctx: ps.Context[str], timer: ps.Timer) -> Iterator[list[Any]]:
        if timer.name == "chain":
            ctx.set_timer("a", at=timer.at + 2)
        if timer.name == "now":
            ctx.set_timer("b", at=timer.at)
        if timer.name == "push":
            self.listed.append(timer.at)
        yield [timer.name, timer.at, *self.seen(ctx)]

    def seen(self, ctx: ps.Context[str]) -> list[Any]:
        mapped = sorted([list(of) for of in self.mapped.items()])
        assert len(self.mapped) == len(mapped)
        return [ctx.stream_time, self.kept.get(), self.brief.get(), [*self.listed], mapped]


@dataclass
class Key:
    """All that a key has; what expires with the time when it was written."""

    kept: list[int] | None = None
    brief: tuple[int, int] | None = None
    listed: tuple[list[int], int] = ([], 0)
    mapped: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])


@dataclass
class Naive:
    clock: int = -1
    keys: dict[str, Key] = field(default_factory=dict[str, Key])
    timers: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    said: list[tuple[str, int, Any]] = field(default_factory=list[tuple[str, int, Any]])

    def add(self, row: Row) -> None:
        """Take a record, or nothing of it."""
        before = copy.deepcopy(self)
        key, at, steps = row
        self.clock = max(self.clock, at)
        self.fire()
        for step in steps:
            if step[0] == "fail":
                self.__dict__ = before.__dict__
                return
            self.take(key, at, step)
        self.said.append((key, at, ["record", *self.seen(key)]))
        self.fire()

    def fire(self) -> None:
        while due := sorted(
            (at, len(key), key, name) for (key, name), at in self.timers.items() if at <= self.clock
        ):
            at, _, key, name = due[0]
            del self.timers[key, name]
            if name == "chain":
                self.timers[key, "a"] = at + 2
            if name == "now":
                self.timers[key, "b"] = at
            if name == "push":
                self.take(key, at, ["push", at])
            self.said.append((key, at, [name, at, *self.seen(key)]))

    def take(self, key: str, at: int, step: Any) -> None:
        self.expire()
        of = self.keys.setdefault(key, Key())
        match step:
            case ["timer", name, after]:
                self.timers[key, name] = max(0, at + after)
            case ["cancel", name]:
                self.timers.pop((key, name), None)
            case ["keep", number]:
                of.kept = [*(of.kept or []), number]
            case ["brief", number]:
                of.brief = (number, self.clock)
            case ["push", number]:
                of.listed = ([*of.listed[0], number], self.clock)
            case ["map", name, number]:
                of.mapped[name] = (number, self.clock)
            case ["unmap", name]:
                of.mapped.pop(name, None)
            case ["forget"]:
                of.kept = None
            case ["forget-brief"]:
                of.brief = None
            case ["empty"]:
                of.listed = ([], 0)
            case _:
                of.mapped.clear()

    def expire(self) -> None:
        for of in self.keys.values():
            if of.brief and of.brief[1] + BRIEF <= self.clock:
                of.brief = None
            if of.listed[1] + LISTED <= self.clock:
                of.listed = ([], 0)
            for name, (_, written) in [*of.mapped.items()]:
                if written + MAPPED <= self.clock:
                    del of.mapped[name]

    def seen(self, key: str) -> list[Any]:
        self.expire()
        of = self.keys.get(key, Key())
        brief = of.brief[0] if of.brief else None
        mapped = sorted([name, number] for name, (number, _) in of.mapped.items())
        return [self.clock, of.kept, brief, of.listed[0], mapped]


def app() -> ps.App:
    app = ps.App("cuts", on_error="skip")
    app.stream("in", key=str, value=list[Any]).process(Told, name="p").to("out")
    return app


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=ROWS, cuts=CUTS, cache=st.sampled_from([1, 100]), page=st.integers(1, 4))
def test_a_processor_does_what_the_naive_interpreter_does(
    rows: list[Row], cuts: list[Cut], cache: int, page: int
) -> None:
    """The same is handed on in the same order, and nothing else is left in the stores."""
    naive = Naive()
    for row in rows:
        naive.add(copy.deepcopy((row[0], row[1], [list(step) for step in row[2]])))
    with patch.object(timers, "PAGE", page), patch.object(timers, "MOST", 2 * page):
        runner = Runner(app().topology(), cache_entries=cache)
        runner.run([sent(*row) for row in rows], cuts)
    out = [row for batch in runner.batches for row in batch.outputs["out"]]
    said = [(str(row.key, "utf-8"), row.timestamp, json(row.value)) for row in out if row.key]
    assert said == naive.said
    naive.expire()
    assert stored(runner) == {
        "p-kept": {key: of.kept for key, of in naive.keys.items() if of.kept is not None},
        "p-brief": {key: of.brief[0] for key, of in naive.keys.items() if of.brief},
        "p-listed": sum(1 + len(of.listed[0]) for of in naive.keys.values() if of.listed[0]),
        "p-mapped": sum(1 + 2 * len(of.mapped) for of in naive.keys.values() if of.mapped),
        "timers": naive.timers,
        "filed": sorted(naive.timers.values()),
    }
    assert naive.clock == -1 or runner.clocks == {"(p)": naive.clock}


class Behind(ps.Processor[str, list[Any], list[Any]]):
    """Sees what another processor hands on, and says what was last when that is long ago."""

    last = ps.ValueState(str, ttl="6ms")

    def process(self, ctx: ps.Context[str], value: list[Any]) -> Iterator[list[Any]]:
        if value[-1]:
            raise ValueError("a map that is not empty")
        ctx.set_timer("silent", at=ctx.timestamp + 3)
        yield [ctx.stream_time, self.last.get(), ctx.random.random()]
        self.last.set(value[0])

    def on_timer(self, ctx: ps.Context[str], timer: ps.Timer) -> Iterator[list[Any]]:
        yield [timer.at, ctx.stream_time, self.last.get(), ctx.random.random()]


def two_ways() -> ps.App:
    app = ps.App("cuts", on_error="skip")
    stream = app.stream("in", key=str, value=list[Any])
    first = stream.process(Told, name="p")
    first.to("out")
    first.process(Behind, name="q").to("out")
    return app


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=ROWS, cuts=CUTS)
def test_processors_behind_each_other_do_the_same_however_they_are_cut(
    rows: list[Row], cuts: list[Cut]
) -> None:
    """Also where a timer's results make them stop."""
    records = [sent(*row) for row in rows]
    found, expected = outcome(records, cuts), outcome(records, [Cut(1, "commit")] * len(records))
    assert found == expected


def outcome(records: list[Sent], cuts: list[Cut]) -> Any:
    """What each key has got, and all stores; or that the application has stopped."""
    runner = Runner(two_ways().topology())
    try:
        runner.run(records, cuts)
    except DataError:
        return "stopped"
    out = [row for batch in runner.batches for row in batch.outputs["out"]]
    rows: dict[Any, list[Any]] = {}
    for row in out:
        rows.setdefault(row.key, []).append((row.timestamp, row.value))
    return rows, {name: dict(of.scan()) for name, of in runner.stores.items()}, runner.clocks


def sent(key: str, at: int, steps: Any) -> Sent:
    return Sent("in", key.encode(), msgspec.json.encode(steps), at)


def json(data: bytes | None) -> Any:
    return msgspec.json.decode(data or b"")


def stored(runner: Runner) -> dict[str, Any]:
    found: dict[str, Any] = {}
    rows = {name: [(k, v[8:]) for k, v in of.scan()] for name, of in runner.stores.items()}
    found["p-kept"] = {key.decode(): json(value) for key, value in rows["p-kept"]}
    found["p-brief"] = {key.decode(): int.from_bytes(value) for key, value in rows["p-brief"]}
    found["p-listed"], found["p-mapped"] = len(rows["p-listed"]), len(rows["p-mapped"])
    named = [(split(k[1:]), int.from_bytes(v[:8])) for k, v in rows["p-timers"] if k[:1] == NAMED]
    filed = {int.from_bytes(v[8:16]) for k, v in rows["p-timers"] if k[:1] == NAMED}
    found["timers"] = {(key.decode(), name.decode()): at for (key, name), at in named}
    index = [k for k, _ in rows["p-timers"] if k[:1] not in (NAMED, EXPIRES)]
    assert {time_of(k) for k in index} == filed
    names = {(*split(rest_of(k)),): k for k in index}
    found["filed"] = sorted(at for of, at in named if of in names)
    assert len(names) == len(index) == len(named)
    notes = {rest_of(k) for k, _ in rows["p-timers"] if k[:1] == EXPIRES}
    for key, _ in rows["p-brief"]:
        assert any(rest.endswith(b"brief" + key) for rest in notes)
    return found
