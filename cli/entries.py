"""The entries of a store as its changelog has them: those that are wanted, decoded."""

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from penstock.cli.application import Application
from penstock.cli.changelogs import find_changelog, last_values
from penstock.cli.layouts import Entry, as_key, layout_of
from penstock.cli.options import Kind
from penstock.errors import TopologyError

Bar: TypeAlias = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True)
class Wanted:
    """Which entries are wanted; what could not be decoded is, where nothing is asked of it.

    Attributes:
        key: only this key, as the command line writes it.
        prefix: only keys that are text and begin so.
        start: only keys from this one on.
        stop: only keys before this one.
        since_ms: only windows that begin then or later.
        until_ms: only windows that begin before.
    """

    key: str | None = None
    prefix: str | None = None
    start: str | None = None
    stop: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    def takes(self, entry: Entry) -> bool:
        """Whether an entry is wanted.

        Raises:
            TopologyError: if a text means no key of the store.
        """
        return self._takes_key(entry) and self._takes_window(entry.window)

    def _takes_key(self, entry: Entry) -> bool:
        asked = (self.key, self.prefix, self.start, self.stop)
        if all(text is None for text in asked):
            return True
        if entry.error.startswith("key"):
            return False
        key: Any = entry.key
        return (
            (self.key is None or key == as_key(self.key, key))
            and (self.prefix is None or (isinstance(key, str) and key.startswith(self.prefix)))
            and (self.start is None or not _before(key, as_key(self.start, key)))
            and (self.stop is None or _before(key, as_key(self.stop, key)))
        )

    def _takes_window(self, window: tuple[int, int] | None) -> bool:
        if self.since_ms is None and self.until_ms is None:
            return True
        return window is not None and (
            (self.since_ms is None or window[0] >= self.since_ms)
            and (self.until_ms is None or window[0] < self.until_ms)
        )


def _before(key: Any, other: Any) -> bool:
    try:
        return bool(key < other)
    except TypeError:
        raise TopologyError(
            f"Keys like {key!r} have no order. Leave --from and --to out, and name one key."
        ) from None


@dataclass(frozen=True)
class Columns:
    """What the command line says of a store's keys and values."""

    key: Kind | None = None
    value: Kind | None = None


@contextmanager
def entries(
    application: Application,
    store: str,
    wanted: Wanted,
    columns: Columns,
    progress: Bar,
) -> Generator[Iterator[Entry]]:
    """Read the changelog of a store up to its present end, and go through its entries.

    Args:
        application: whose.
        store: its name.
        wanted: which entries.
        columns: how they are decoded, where the application does not say.
        progress: makes a context that shows how many records of how many were read.

    Raises:
        BrokerError: if the cluster does not answer, or there is no such store.
        TopologyError: if the application's file declares another store than was written.
        StateError: if the folder for temporary files cannot be written.
    """
    changelog = find_changelog(application, store)
    stores = application.topology.stores if application.topology else ()
    declared = next((of for of in stores if of.name == store), None)
    layout = layout_of(store, declared, changelog.definition, columns.key, columns.value)
    with ExitStack() as reading:
        with progress(changelog.topic, changelog.records) as on_progress:
            found = reading.enter_context(
                last_values(application.brokers, changelog.topic, on_progress)
            )
        yield (entry for last in found for entry in layout.entries(last) if wanted.takes(entry))
