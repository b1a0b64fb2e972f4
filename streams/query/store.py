"""Store: read access to the committed rows of a table of a running application."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Generic

from typing_extensions import TypeVar

from penstock.query.layout import Selection, deciding, encoded, layout_of, plain, prefix_of
from penstock.query.reading import Holdings, Rows
from penstock.windows import Windowed

K = TypeVar("K")
V = TypeVar("V")
KI = TypeVar("KI")


class Store(Generic[K, V]):
    """The committed values of a table by key, as far as this worker has them.

    Safe to use from any thread. What it returns is the caller's own. Each read sees a partition
    as of one moment between two commits; of several partitions, each as of its own.

    While a row is read, its partition is not given to another worker: that waits for a second,
    and then ends the read with a StateError.

    Made by `query.store(table)` and `driver.store(table)`.

    >>> import penstock as ps
    >>> from penstock.testing import TestDriver
    >>> app = ps.App("words")
    >>> words = app.stream("words", key=str, value=str)
    >>> counts = words.group_by_key().count(name="counts")
    >>> with TestDriver(app) as driver:
    ...     for word in ["a", "b", "ba", "b"]:
    ...         driver.topic("words").send("", key=word)
    ...     store = driver.store(counts)
    ...     store.get("b"), list(store.range("a", "c")), list(store.prefix("b", limit=1))
    (2, [('a', 1), ('b', 2), ('ba', 1)], [('b', 2)])
    """

    def __init__(self, holdings: Holdings, name: str) -> None:
        self._holdings = holdings
        self._store = holdings.definition(name)
        self._layout = layout_of(self._store)

    @property
    def name(self) -> str:
        """The name of the store."""
        return self._store.name

    @property
    def partitions(self) -> list[int]:
        """The partitions that this worker has and can read."""
        return self._holdings.here(self.name)

    def get(self, key: K) -> V | None:
        """Return the value of a key, None where there is none.

        Args:
            key: of the table's key type; of a windowed table a `Windowed` one.

        Raises:
            TypeError: if the key is not of the table's key type.
            StateError: if the partition of the key is not with this worker, or is being restored,
                or the query has ended.
        """
        layout = self._layout
        raw = layout.find(key)
        decides = deciding(layout, plain(layout, key))
        data = self._holdings.find(layout, self.name, decides, lambda of: of.get(raw))
        if data is None:
            return None
        entry = layout.entry(key, (raw, data))
        found: V | None = None if entry is None else entry.value
        return found

    def range(
        self, start: K | None = None, stop: K | None = None, *, limit: int | None = None
    ) -> Iterator[tuple[K, V]]:
        """Return the rows from one key to before another, in the order of the keys.

        Text is in the order of UTF-8, integers in theirs, JSON in that of its text. Time windows
        are in the order of their starts, then of their keys; sessions and sliding windows in the
        order of their keys, then of their starts. The rows are read as they are asked for, some
        hundred at a time: read them to the end, or forget the iterator.

        Args:
            start: the first key; left out, from the first that there is.
            stop: the key behind the last; left out, to the last that there is.
            limit: how many rows at most.

        Raises:
            TypeError: if a key is not of the table's key type.
            StateError: as for `get`; also while rows are read, if their partition is given away.
        """
        return self._rows(self._layout.between(start, stop), limit)

    def prefix(self, prefix: Any, *, limit: int | None = None) -> Iterator[tuple[K, V]]:
        """Return the rows whose keys begin with something, in the order of the keys.

        Args:
            prefix: text or bytes for such keys; for keys of tuples a shorter tuple. Of a windowed
                table it is what the keys without their windows begin with.
            limit: how many rows at most.

        Raises:
            TypeError: if the keys of the table do not begin with such a thing.
            StateError: as for `range`.
        """
        start = prefix_of(self._store, self._layout, prefix)
        return self._rows(self._layout.beginning(start), limit)

    def fetch(
        self: "Store[Windowed[KI], V]",
        key: KI,
        start_ms: int | None = None,
        stop_ms: int | None = None,
    ) -> list[tuple[Windowed[KI], V]]:
        """Return the windows of a key that begin within a time, the earliest first.

        A window that has closed has left the table.

        Args:
            key: without a window.
            start_ms: the first start, in milliseconds since the epoch; left out, any.
            stop_ms: the time before which they begin; left out, any.

        Raises:
            TypeError: if the table has no windows, or the key is not of its key type.
            StateError: as for `get`.
        """
        layout = self._layout
        if not layout.windowed:
            raise TypeError(
                f"The table {self.name} has no windows to fetch. Use get(key), or range()."
            )
        raw = encoded(self._store, layout.key, key)
        decides = deciding(layout, key)
        rows = self._holdings.find(layout, self.name, decides, lambda of: of.history(layout, raw))
        return [
            (entry.key, entry.value)
            for _, entry in layout.entries(rows or [])
            if (start_ms is None or entry.key.start >= start_ms)
            and (stop_ms is None or entry.key.start < stop_ms)
        ]

    def __iter__(self) -> Iterator[tuple[K, V]]:
        """Return all rows, as `range()` does."""
        return self.range()

    def _rows(self, selected: Selection, limit: int | None) -> Iterator[tuple[K, V]]:
        if limit is not None and limit < 0:
            raise ValueError(f"limit={limit} rows cannot be read. Use 0 or more.")
        return _pairs(self._holdings.read(self._layout, self.name, selected), limit)


def _pairs(rows: Rows, limit: int | None) -> Iterator[Any]:
    for entry in islice(rows, limit):
        yield entry.key, entry.value
    # Not where it is forgotten: that may happen in any thread, in the middle of anything.
    rows.close()
