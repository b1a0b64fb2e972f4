"""`penstock state`: what an application keeps, from its workers or from its changelogs.

Arguments and what is printed only; `entries` reads changelogs, `served` asks a worker.
"""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from penstock.cli.options import APPLICATION, AsJson, BrokersOf, Kind
from penstock.cli.terminal import json_line, print_table, printable, progress_bar, shown, utc

if TYPE_CHECKING:
    from penstock.cli.entries import Wanted
    from penstock.cli.layouts import Entry

Name: TypeAlias = Annotated[str, APPLICATION]
StoreName: TypeAlias = Annotated[str, typer.Argument(metavar="STORE", help="The store.")]
KeyKind: TypeAlias = Annotated[
    Kind | None, typer.Option(help="Decode keys so. Left out: as the application has written them.")
]
ValueKind: TypeAlias = Annotated[Kind | None, typer.Option(help="Decode values so. Likewise.")]
Since: TypeAlias = Annotated[
    str | None, typer.Option(help="Only windows that begin then or later; a time, or how long ago.")
]
Until: TypeAlias = Annotated[str | None, typer.Option(help="Only windows that begin before.")]
Prefix: TypeAlias = Annotated[str | None, typer.Option(help="Only keys that begin so.")]
From: TypeAlias = Annotated[str | None, typer.Option("--from", help="Only from this key on.")]
To: TypeAlias = Annotated[str | None, typer.Option("--to", help="Only keys before this one.")]
Url: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="Where a worker answers, as its log says; left out, one on this host."
    ),
]
FromChangelog: TypeAlias = Annotated[
    bool, typer.Option("--from-changelog", help="Read the changelog: no worker has to run.")
]
Limit: TypeAlias = Annotated[int, typer.Option(min=1, help="Show so many entries at most.")]

OF_CHANGELOGS = ("Store", "Partitions", "Records", "Written as", "Changelog")
OF_WORKERS = ("Store", "Partitions", "Here", "Restoring", "Elsewhere", "Written as")
state = typer.Typer(
    no_args_is_help=True,
    help="List the stores of an application, look keys up in them, and export them.",
)


@state.command("list")
def list_(
    application: Name,
    *,
    url: Url = None,
    from_changelog: FromChangelog = False,
    brokers: BrokersOf = None,
    as_json: AsJson = False,
) -> None:
    """List the stores of an application, with how they are written.

    Examples:
      penstock state list shop
      penstock state list shop --from-changelog
    """
    from penstock.cli.application import find_application

    known = find_application(application, brokers=brokers)
    if from_changelog:
        from penstock.cli.changelogs import find_changelogs

        found = [asdict(of) for of in find_changelogs(known)]
    else:
        from penstock.cli.served import find_worker

        found = find_worker(known, url).stores()
    if as_json:
        typer.echo(json_line(found))
        return
    titles, row = (OF_CHANGELOGS, _changelog) if from_changelog else (OF_WORKERS, _served)
    print_table(titles, map(row, found))


@state.command()
def get(
    application: Name,
    store: StoreName,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Numbers plainly, others as JSON.")],
    *,
    since: Since = None,
    until: Until = None,
    url: Url = None,
    from_changelog: FromChangelog = False,
    key_type: KeyKind = None,
    value_type: ValueKind = None,
    brokers: BrokersOf = None,
    as_json: AsJson = False,
) -> None:
    """Show what a store has of a key, in all windows if it has some. Exit code 1: nothing.

    Examples:
      penstock state get shop totals ann
      penstock state get shop per-minute ann --since 1h --json
      penstock state get shop totals ann --from-changelog
    """
    place = _Place(application, url, from_changelog, brokers, key_type, value_type)
    found = place.found(store, _wanted(key=key, since=since, until=until), None)
    _show(found, as_json=as_json)
    if not found:
        typer.echo(f"{printable(store)} has nothing of the key {printable(key)}.", err=True)
        raise typer.Exit(1)


@state.command()
def scan(
    application: Name,
    store: StoreName,
    *,
    prefix: Prefix = None,
    start: From = None,
    to: To = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 100,
    url: Url = None,
    from_changelog: FromChangelog = False,
    key_type: KeyKind = None,
    value_type: ValueKind = None,
    brokers: BrokersOf = None,
    as_json: AsJson = False,
) -> None:
    """Show entries of a store in its order: by window, and by key.

    Examples:
      penstock state scan shop totals --prefix a --limit 20
      penstock state scan shop totals --from ann --to bob --json
    """
    if prefix is not None and (start is not None or to is not None):
        raise typer.BadParameter("--prefix is a range by itself: leave --from and --to out.")
    place = _Place(application, url, from_changelog, brokers, key_type, value_type)
    wanted = _wanted(prefix=prefix, start=start, stop=to, since=since, until=until)
    found = place.found(store, wanted, limit + 1)
    _show(found[:limit], as_json=as_json)
    if len(found) > limit:
        typer.echo(f"There is more: these are the first {limit}. --limit shows more.", err=True)
    elif not found and not as_json:
        typer.echo(f"{printable(store)} has no such entry.")


@state.command()
def export(
    application: Name,
    store: StoreName,
    *,
    key_type: KeyKind = None,
    value_type: ValueKind = None,
    brokers: BrokersOf = None,
) -> None:
    """Write a whole store to stdout: a JSON object on each line, for each key or window.

    It is what was committed when the command began, from the changelog: no worker has to run, and
    none is slowed down. Exit code 1: some entries could not be decoded; they are in it as bytes.

    Example:
      penstock state export shop totals > totals.jsonl
    """
    from penstock.errors import DataError

    place = _Place(application, None, True, brokers, key_type, value_type)
    faults, last = 0, ""
    with place.opened(store, _wanted()) as found:
        for entry in found:
            sys.stdout.write(f"{_line(entry)}\n")
            if entry.error:
                faults, last = faults + 1, entry.error
    sys.stdout.flush()
    if faults:
        raise DataError(
            f"{faults:,} entries of {store} could not be decoded, and were written as bytes, with"
            f" an error beside them: {last}. Name the application by the file that has written"
            " them, or their types with --key-type and --value-type.",
            store=store,
        )


@dataclass(frozen=True)
class _Place:
    """Where an application's state is looked at, as the command line says it."""

    application: str
    url: str | None
    from_changelog: bool
    brokers: str | None
    key_type: Kind | None
    value_type: Kind | None

    def opened(self, store: str, wanted: "Wanted") -> "AbstractContextManager[Iterator[Entry]]":
        """Read the changelog of a store."""
        from penstock.cli.application import find_application
        from penstock.cli.entries import Columns, entries

        known = find_application(self.application, brokers=self.brokers)
        return entries(known, store, wanted, Columns(self.key_type, self.value_type), progress_bar)

    def found(self, store: str, wanted: "Wanted", limit: int | None) -> "list[Entry]":
        """Return what is wanted of a store, the first of it."""
        if self.from_changelog:
            with self.opened(store, wanted) as found:
                return list(islice(found, limit))
        if self.key_type or self.value_type:
            raise typer.BadParameter(
                "a worker knows how its stores are written: --key-type and --value-type go with"
                " --from-changelog."
            )
        from penstock.cli.application import find_application
        from penstock.cli.served import find_worker

        known = find_application(self.application, brokers=self.brokers)
        rows = find_worker(known, self.url).rows(store, wanted, limit)
        return list(islice(rows, limit))


def _wanted(*, since: str | None = None, until: str | None = None, **asked: Any) -> "Wanted":
    from penstock.cli.entries import Wanted
    from penstock.cli.positions import parse_time
    from penstock.runtime.clock import now_ms

    now = now_ms()
    return Wanted(
        **asked,
        since_ms=None if since is None else parse_time(since, now),
        until_ms=None if until is None else parse_time(until, now),
    )


def _changelog(of: dict[str, Any]) -> tuple[str | int | None, ...]:
    return tuple(of[name] for name in ("store", "partitions", "records", "definition", "topic"))


def _served(of: dict[str, Any]) -> tuple[str | int | None, ...]:
    elsewhere = sum(map(len, of["elsewhere"].values()))
    counts = of["partitions"], len(of["here"]), len(of["restoring"]), elsewhere
    return of["name"], *counts, of["definition"]


def _show(found: "list[Entry]", *, as_json: bool) -> None:
    if as_json:
        for entry in found:
            typer.echo(_line(entry))
    elif found:
        windowed = any(entry.window for entry in found)
        titles = ("Key", *(("From", "To") if windowed else ()), "Value", "Timestamp")
        print_table(titles, [list(_row(entry, windowed=windowed)) for entry in found])


def _row(entry: "Entry", *, windowed: bool) -> Iterator[str]:
    """Return an entry as the cells of a row."""
    yield _text(entry.key)
    if windowed:
        yield from map(utc, entry.window or (None, None))
    yield _text(entry.value) + (f" ({entry.error})" if entry.error else "")
    yield utc(entry.timestamp)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return shown(value) if isinstance(value, bytes) else json_line(value)


def _line(entry: "Entry") -> str:
    return json_line(entry.as_object())
