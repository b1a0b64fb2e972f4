"""`penstock consume`: the records of a topic. `consuming` reads them, `decoding` shows them."""

import json
import sys
from typing import Annotated, TypeAlias

import typer

from penstock.cli.options import DEFAULT_BROKERS, Brokers, Kind
from penstock.cli.terminal import status_line, utc

LAST = "-10"

FROM = typer.Option(
    "--from",
    help="earliest, latest, -N for the last N records, a time, or how long ago, as in 10m."
    " Left out: the last ten; the end with --follow; the beginning with a filter.",
)
FOLLOW = typer.Option("--follow", "-f", help="Go on behind the end, until Ctrl-C.")
KEY = typer.Option(help="Only records with this key.")
SINCE = typer.Option(help="Only those with this timestamp or a later one; a time, or how long ago.")
UNTIL = typer.Option(help="Only those with an earlier timestamp.")
LIMIT = typer.Option(min=1, help="End after so many records.")


Type: TypeAlias = Annotated[
    Kind | None, typer.Option(help="Decode them so. Left out: text where it is UTF-8, else hex.")
]


def consume(
    topic: Annotated[str, typer.Argument(help="The topic.")],
    *,
    start: Annotated[str | None, FROM] = None,
    follow: Annotated[bool, FOLLOW] = False,
    limit: Annotated[int | None, LIMIT] = None,
    key: Annotated[str | None, KEY] = None,
    since: Annotated[str | None, SINCE] = None,
    until: Annotated[str | None, UNTIL] = None,
    key_type: Type = None,
    value_type: Type = None,
    headers: Annotated[bool, typer.Option("--headers", help="Show headers too.")] = False,
    brokers: Brokers = DEFAULT_BROKERS,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object per record, for programs.")
    ] = False,
) -> None:
    """Show the committed records of a topic, up to its present end.

    Times without a zone are UTC. Each record is one line; control characters are escaped.

    Examples:
      penstock consume views
      penstock consume views --follow --key-type str --value-type json
      penstock consume views --key ann --since 1h --json
    """
    from penstock.cli.consuming import Filter
    from penstock.cli.consuming import consume as read
    from penstock.cli.decoding import Column, as_object, line
    from penstock.cli.positions import parse_position, parse_time
    from penstock.runtime.clock import now_ms

    now = now_ms()
    keys = Column("key", key_type)
    values = Column("value", value_type)
    wanted = Filter(
        None if key is None else keys.matcher(key),
        None if since is None else parse_time(since, now),
        None if until is None else parse_time(until, now),
    )
    filtered = wanted != Filter()
    position = parse_position(start or _default(follow, filtered, limit), now)
    with status_line() as show:

        def looked(records: int) -> None:
            if not follow:
                show(f"{records:,} records looked at")

        found = read(
            topic,
            brokers=brokers,
            position=position,
            wanted=wanted,
            follow=follow,
            limit=limit,
            on_progress=looked,
        )
        for messages in found:
            lines = [
                json.dumps(as_object(message, keys, values, headers=headers))
                if as_json
                else line(message, keys, values, at=utc(message.timestamp()[1]), headers=headers)
                for message in messages
            ]
            show("")
            typer.echo("\n".join(lines))
            sys.stdout.flush()


def _default(follow: bool, filtered: bool, limit: int | None) -> str:
    if filtered:
        return "earliest"
    if follow:
        return "latest"
    return LAST if limit is None else f"-{limit}"
