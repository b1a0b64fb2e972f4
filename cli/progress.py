"""`penstock progress`: what the workers of an application have told, record by record."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli.options import APPLICATION, BrokersOf
from penstock.cli.terminal import json_line

if TYPE_CHECKING:
    from penstock.query.events import Told

FOLLOW = typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")
SINCE = typer.Option(
    help="Begin at a time, or so long ago, as in 10m. Left out: the last ten records; the end"
    " with --follow."
)
INSTANCE = typer.Option(help="Only what this worker has told; may be the first part of its id.")


def progress(
    application: Annotated[str, APPLICATION],
    *,
    follow: Annotated[bool, FOLLOW] = False,
    since: Annotated[str | None, SINCE] = None,
    instance: Annotated[str | None, INSTANCE] = None,
    brokers: BrokersOf = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object per record, with Spark's names.")
    ] = False,
) -> None:
    """Show the records of an application's progress topic: batches, and what happened besides.

    Examples:
      penstock progress shop --since 10m
      penstock progress shop --follow --json
    """
    from penstock.cli.application import find_application
    from penstock.cli.cluster import connect
    from penstock.cli.positions import Position, parse_position, parse_time
    from penstock.cli.telling import check_known, line, told, untold
    from penstock.runtime.clock import now_ms

    known = find_application(application, brokers=brokers)
    position = parse_position("latest" if follow else "-10", 0)
    if since is not None:
        position = Position("time", parse_time(since, now_ms()))
    if not check_known(known, connect(known.brokers)):
        raise untold(known)
    for several in told(known, position, follow=follow):
        found = [each for each in several if _is_of(each, instance)]
        if found:
            typer.echo("\n".join(json_line(each) if as_json else line(each) for each in found))
            sys.stdout.flush()


def _is_of(told: "Told", instance: str | None) -> bool:
    return instance is None or told.instance_id.startswith(instance)
