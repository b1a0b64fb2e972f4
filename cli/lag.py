"""`penstock lag`: how far an application is behind, per partition. `application_lag` looks."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli.options import APPLICATION, AsJson, BrokersOf
from penstock.cli.terminal import duration, print_table, waiting
from penstock.durations import milliseconds

if TYPE_CHECKING:
    from penstock.cli.application_lag import ApplicationLag, PartitionLag

TITLES = ("Partition", "Committed", "End", "Open", "Lag", "Done/s", "New/s", "Caught up in")


def lag(
    application: Annotated[str, APPLICATION],
    *,
    over: Annotated[str, typer.Option(help="The time between the two looks.")] = "2s",
    brokers: BrokersOf = None,
    as_json: AsJson = False,
) -> None:
    """Show how far an application is behind, and when it has caught up at its present rate.

    What is counted are offsets. Open are those that an unfinished transaction holds back.

    Examples:
      penstock lag shop
      penstock lag shop.py --over 10s --json
    """
    over_s = milliseconds(over) / 1000

    from penstock.cli.application import find_application
    from penstock.cli.application_lag import look_twice

    known = find_application(application, brokers=brokers)
    with waiting(f"Looking at {known.id} twice within {over} ..."):
        found = look_twice(known.id, brokers=known.brokers, over_s=over_s)
    if as_json:
        typer.echo(json.dumps(_as_object(found)))
        return
    rows = [_row(f"{topic}/{number}", at) for (topic, number), at in found.partitions.items()]
    total = _row("total", found.total)
    print_table(TITLES, [*rows, (*total[:-1], duration(found.seconds_left))])
    if not found.members:
        typer.echo(f"No worker of {known.id} runs.")


def _row(name: str, at: "PartitionLag") -> tuple[str | int | None, ...]:
    return (
        *(name, at.committed, at.end, at.open, at.lag),
        *(round(at.rate), round(at.growth), duration(at.seconds_left)),
    )


def _as_object(found: "ApplicationLag") -> dict[str, Any]:
    return {
        "application": found.application,
        "members": found.members,
        "lag": found.total.lag,
        "seconds_left": found.seconds_left,
        "partitions": [
            {
                "topic": topic,
                "partition": number,
                "committed": at.committed,
                "end": at.end,
                "open": at.open,
                "lag": at.lag,
                "rate": round(at.rate, 1),
                "growth": round(at.growth, 1),
                "seconds_left": at.seconds_left,
            }
            for (topic, number), at in found.partitions.items()
        ],
    }
