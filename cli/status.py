"""`penstock status`: what an application is doing, at one look. `overview` sums it up."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli.options import APPLICATION, AsJson, BrokersOf
from penstock.cli.terminal import duration, json_line, print_table, printable, waiting

if TYPE_CHECKING:
    from penstock.cli.application import Application
    from penstock.cli.overview import Overview
    from penstock.query.events import Terminated
    from penstock.query.progress import Progress

STOPPED, BEHIND = 3, 4
BACK_MS = 60_000
LAST = 20  # records among which the end of an application is
TITLES = ("Worker", "Host", "State", "Partitions", "Input/s", "Lag", "p99", "Told")


def status(
    application: Annotated[str, APPLICATION],
    *,
    brokers: BrokersOf = None,
    as_json: AsJson = False,
) -> None:
    """Show what an application is doing: the sum of what its workers have told last.

    Where they tell nothing, its consumer group is asked who runs and how far it is.

    Exit code 0: it runs. 3: no worker runs, or none says a word. 4: it falls behind.

    Examples:
      penstock status shop
      penstock status shop.py --json
    """
    from penstock.cli.application import find_application
    from penstock.cli.overview import State

    known = find_application(application, brokers=brokers)
    with waiting(f"Looking at {known.id} ..."):
        found, lately = _look(known)
    if as_json:
        typer.echo(json_line(found.as_object()))
    else:
        _show(found, lately)
    codes = {State.STOPPED: STOPPED, State.SILENT: STOPPED, State.BEHIND: BEHIND}
    raise typer.Exit(codes.get(found.state, 0))


def _look(known: "Application") -> "tuple[Overview, list[Progress]]":
    """Return the overview, and the records of progress of the last seconds."""
    from penstock.cli.cluster import connect
    from penstock.cli.overview import Heard, State, overview
    from penstock.cli.positions import Position
    from penstock.cli.telling import check_known, told
    from penstock.query.progress import Progress
    from penstock.runtime.clock import now_ms

    admin, heard = connect(known.brokers), Heard()
    lately: list[Progress] = []
    if known_topic := check_known(known, admin):
        for several in told(known, Position("time", now_ms() - BACK_MS)):
            for each in several:
                heard.add(each)
                lately += [each] if isinstance(each, Progress) else []
    group = admin.members(known.id)
    members = [of.instance or of.client_id for of in group]
    hosts = dict(zip(members, (of.host.lstrip("/") for of in group), strict=True))
    found = overview(known.id, heard, now_ms(), members=members, hosts=hosts)
    if found.state is State.STOPPED and heard.newest is None and known_topic:
        for several in told(known, Position("last", LAST)):
            for each in several:
                heard.add(each)
        found = overview(known.id, heard, now_ms(), members=members, hosts=hosts)
    if found.progress is None:
        found = replace(found, lag=_committed_lag(known))
    return found, lately


def _committed_lag(known: "Application") -> int | None:
    """Return what the broker says of the lag; None where nothing is committed."""
    from penstock.cli.application_lag import look_twice
    from penstock.errors import BrokerError

    try:
        return look_twice(known.id, brokers=known.brokers, over_s=0).total.lag
    except BrokerError:
        return None


def _show(found: "Overview", lately: "list[Progress]") -> None:
    from penstock.cli.overview import figures, troubles

    typer.echo(found.headline)
    lines = figures(found.progress) if found.progress else []
    if not found.progress and found.lag is not None:
        lines = [("Lag", f"{found.lag:,} offsets, as far as its commits say")]
    if wrong := troubles(lately):
        lines.append(("Let go", f"{wrong}, in the last minute"))
    if found.ended:
        lines.insert(0, ("Ended", _end(found.ended)))
    for name, text in lines:
        typer.echo(f"  {name:<12}{printable(text)}")
    if found.workers:
        typer.echo("")
        print_table(TITLES, [_row(found, number) for number in range(len(found.workers))])


def _end(ended: "Terminated") -> str:
    why = f"by {ended.error_class}: {ended.exception}" if ended.exception else "in order"
    return f"{ended.timestamp}, {why}"


def _row(found: "Overview", number: int) -> list[str | int | None]:
    from penstock.cli.overview import millis

    of = found.workers[number]
    return [
        *(of.instance, of.host or None, of.doing, of.partitions, round(of.input_rate), of.lag),
        *(None if of.p99_ms is None else millis(of.p99_ms), f"{duration(of.silent_s)} ago"),
    ]
