"""The command `penstock produce`: make events from a template and send them to a topic.

Arguments, terminal and exit codes only. What is sent is decided by `templates` and `pacing`,
and `producing` sends it.
"""

import contextlib
import json
import signal
import threading
from collections.abc import Generator
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli.options import DEFAULT_BROKERS, AsJson, Brokers
from penstock.cli.terminal import progress_bar
from penstock.durations import milliseconds

if TYPE_CHECKING:
    from penstock.cli.producing import Summary


def produce(
    topic: Annotated[str, typer.Argument(help="The topic to send to.")],
    *,
    template: Annotated[
        str,
        typer.Option(
            help='An event with placeholders, such as \'{"user": "u{zipf:1000}"}\'. Known: zipf,'
            " uniform, float, choice, counter, now_ms, uuid, hex, pad."
        ),
    ],
    key: Annotated[str | None, typer.Option(help="The field of the event that is its key.")] = None,
    rate: Annotated[str | None, typer.Option(help="Records per second, such as 1000/s.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Stop after this many records.")] = None,
    duration: Annotated[str | None, typer.Option(help="Stop after this time, as in 10s.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same events.")] = 0,
    brokers: Brokers = DEFAULT_BROKERS,
    partitions: Annotated[
        int | None, typer.Option(min=1, help="Create the topic, if missing, with this many.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send generated events to a topic until --count, --duration or Ctrl-C.

    Example: penstock produce views --template '{"user": "u{zipf:1000}"}' --partitions 4
    --key user --rate 1000/s
    """
    from penstock.cli.pacing import Pace, parse_rate
    from penstock.cli.templates import Template

    compiled = Template(template, seed, key=key)
    pace = Pace(
        rate=None if rate is None else parse_rate(rate),
        count=count,
        duration_ms=None if duration is None else milliseconds(duration),
    )

    from penstock.cli.producing import produce_events
    from penstock.cli.target import find_topic

    target = find_topic(topic, brokers=brokers, partitions=partitions)
    if partitions not in {None, target.partitions}:
        typer.echo(f"Note: {topic} exists already, with {target.partitions} partitions.", err=True)
    with _stop_at_interrupt() as stop, progress_bar(topic, pace.total()) as on_progress:
        summary = produce_events(target, compiled, pace=pace, stop=stop, on_progress=on_progress)
    typer.echo(_as_json(summary) if as_json else _as_text(summary))
    summary.raise_for_failed()
    if stop.is_set():
        raise typer.Exit(130)


@contextlib.contextmanager
def _stop_at_interrupt() -> Generator[threading.Event]:
    """Let the first Ctrl-C end the run and a second one the process."""
    stop = threading.Event()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            signal.default_int_handler(number, frame)
        stop.set()

    previous = signal.signal(signal.SIGINT, interrupt)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, previous)


def _as_json(summary: "Summary") -> str:
    fields = {
        "topic": summary.topic,
        "records": summary.records,
        "bytes": summary.bytes,
        "seconds": round(summary.seconds, 6),
        "rate": round(summary.rate, 1),
        "keys": summary.keys,
        "first_timestamp": summary.first_timestamp,
        "last_timestamp": summary.last_timestamp,
        "partitions": summary.partitions,
        "failed": summary.failed,
    }
    return json.dumps(fields)


def _as_text(summary: "Summary") -> str:
    keys = "many keys" if summary.keys is None else f"{summary.keys:,} keys"
    spread = ", ".join(f"{number}: {count:,}" for number, count in summary.partitions.items())
    failed = f", {summary.failed:,} FAILED" if summary.failed else ""
    return (
        f"{summary.records:,} records ({summary.bytes / 1e6:,.1f} MB, {keys}) to"
        f" {summary.topic} in {summary.seconds:,.2f} s, {summary.rate:,.0f}/s{failed}."
        f" By partition: {spread}"
    )
