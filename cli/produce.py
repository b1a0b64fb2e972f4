"""The command `penstock produce`: send made-up or given events to a topic.

Arguments, terminal and exit codes only. `produce_options` says what the options mean, and
`producing` sends.
"""

import contextlib
import signal
import threading
from collections.abc import Generator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli.option_groups import grouped
from penstock.cli.options import DEFAULT_BROKERS, AsJson, Brokers
from penstock.cli.produce_options import (
    DisorderOptions,
    FieldOptions,
    PaceOptions,
    SourceOptions,
)
from penstock.cli.terminal import progress_bar
from penstock.errors import TopologyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.cli.events.summary import Summary

    _Write = Callable[[Summary], None]

KEY_COUNTS = typer.Option(
    metavar="FILE", help="Write how many records each key has there, a JSON object on each line."
)


@grouped
def produce(
    topic: Annotated[str, typer.Argument(help="The topic to send to.")],
    *,
    source: SourceOptions,
    fields: FieldOptions,
    pace: PaceOptions,
    disorder: DisorderOptions,
    brokers: Brokers = DEFAULT_BROKERS,
    partitions: Annotated[
        int | None, typer.Option(min=1, help="Create the topic, if missing, with this many.")
    ] = None,
    key_counts: Annotated[Path | None, KEY_COUNTS] = None,
    as_json: AsJson = False,
) -> None:
    """Send events to a topic until --count, --duration, the end of a file, or Ctrl-C.

    Examples:
      penstock produce orders --model shop.py:Order --key user --keys zipf:1000
      penstock produce views --template '{"user": "u{zipf:9}"}' --key user --rate 1000/s
      penstock produce orders --from orders.csv --model shop.py:Order
      tail -f app.log | penstock produce logs --from - --format text --partitions 4
      penstock produce orders --model shop.py:Order --late 1% --poison 0.1% --json
    """
    from penstock.cli.events.producing import Plan, produce_events
    from penstock.cli.events.sources import open_events
    from penstock.cli.target import find_topic
    from penstock.runtime.collector import quiet_collector

    plan = Plan(
        pace=pace.pace(),
        shares=disorder.shares(),
        seed=pace.seed,
        start_ms=fields.start_ms(),
        count_keys=key_counts is not None,
    )
    events = open_events(topic, source, fields, pace.seed, poison=plan.shares.poison > 0)
    with _writable(key_counts) as write:
        target = find_topic(topic, brokers=brokers, partitions=partitions)
        if partitions not in {None, target.partitions}:
            note = f"Note: {topic} exists already, with {target.partitions} partitions."
            typer.echo(note, err=True)
        total = plan.pace.total()
        with (
            quiet_collector(),
            _stop_at_interrupt() as stop,
            progress_bar(topic, total) as on_progress,
        ):
            summary = produce_events(target, events, plan, stop=stop, on_progress=on_progress)
        write(summary)
    typer.echo(summary.as_json() if as_json else summary.as_text())
    summary.raise_for_failed()
    if stop.is_set():
        raise typer.Exit(130)


@contextlib.contextmanager
def _writable(path: Path | None) -> "Generator[_Write]":
    """Open the file of the key counts before anything is sent, and return what writes it."""
    if path is None:
        yield lambda _: None
        return
    try:
        with path.open("w", encoding="utf-8") as file:
            yield lambda summary: file.writelines(f"{line}\n" for line in summary.key_lines())
    except OSError as error:
        raise TopologyError(
            f"--key-counts {path} cannot be written: {error.strerror}. Name another file."
        ) from error


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
