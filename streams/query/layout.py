"""Layouts: how the rows of a store's table stand in it, and where to look for a key.

    key             key                        ->  value
    time windows    start, key                 ->  value
    sessions        key                        ->  all open sessions of it; timers beside them
    sliding         key                        ->  all open windows of it; timers beside them

Rule 1: rows come in the order of places: span by span, in each by the bytes of the key, then by
        window. Every partition has the same order, so that rows of several can be merged, and
        reading can go on behind any place.
Rule 2: integers are in their order, negative ones first. All else is in the order of its bytes:
        text by UTF-8, JSON as it is written; of negative floats the largest comes first.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from penstock.operators.sink import inner_of
from penstock.serde.columns import decode_column
from penstock.serde.primitives import FLOAT, INT
from penstock.serde.sessions import KEY, SessionKeySerde
from penstock.serde.timers import Packed
from penstock.serde.types import Serde, format_of
from penstock.serde.windowed import StoredWindowSerde, pack_start, unpack_start
from penstock.state.changelog import timestamp_of, value_of
from penstock.state.definition import StoreDefinition
from penstock.state.view import CommittedView
from penstock.windows import Windowed

_SIGN = struct.pack(">q", -(2**63))
_PLACE = struct.Struct(">QQ")
_MIDDLE = 1 << 63

Raw: TypeAlias = tuple[bytes, bytes]
Place: TypeAlias = tuple[int, bytes, bytes]  # span, key of the store, window
Span: TypeAlias = tuple[bytes, bytes | None]


class Entry(NamedTuple):
    """A row of a table.

    Attributes:
        key: of the table's key type.
        value: what the table says.
        timestamp: event time of the value, in milliseconds.
    """

    key: Any
    value: Any
    timestamp: int


class Selection(NamedTuple):
    """Which rows to read.

    Attributes:
        spans: of keys of the store, in the order in which they are read.
        keeps: which rows of them; None for all.
    """

    spans: Sequence[Span]
    keeps: Callable[[Entry], bool] | None = None


class Layout(Protocol):
    """How the rows of a table stand in its store.

    Attributes:
        key: serde of the keys, without their windows.
        windowed: whether there are windows.
    """

    key: Serde[Any]
    windowed: bool

    def find(self, key: Any) -> bytes:
        """Return under which key of the store a key is.

        Raises:
            TypeError: if it is no key of the table.
        """
        ...

    def entry(self, key: Any, raw: Raw) -> Entry | None:
        """Return the row of a key in what the store has for it, None where it is not there."""
        ...

    def entries(self, rows: Sequence[Raw]) -> list[tuple[tuple[bytes, bytes], Entry]]:
        """Return the rows in rows of the store, with their places in a span."""
        ...

    def history(self, view: CommittedView, key: bytes) -> list[Raw]:
        """Return what the store has of all windows of a key."""
        ...

    def between(self, start: Any, stop: Any) -> Selection:
        """Select the rows from one key to before another; None is no bound.

        Raises:
            TypeError: if one of them is no key of the table.
        """
        ...

    def beginning(self, prefix: bytes) -> Selection:
        """Select the rows whose keys begin with bytes."""
        ...

    def since(self, start_ms: int | None, stop_ms: int | None) -> Selection:
        """Select the windows that begin from one time to before another; None is no bound."""
        ...


def layout_of(store: StoreDefinition) -> Layout:
    """Return how the rows of a store's table stand in it."""
    if isinstance(store.key, StoredWindowSerde):
        return TimeWindows(store, store.key)
    if isinstance(store.key, SessionKeySerde):
        return Together(store, store.key)
    return Keys(store)


class Keys:
    """A value for each key."""

    windowed = False

    def __init__(self, store: StoreDefinition) -> None:
        self.key: Serde[Any] = store.key
        self._store = store

    def find(self, key: Any) -> bytes:
        """Return the bytes of a key."""
        return encoded(self._store, self.key, key)

    def entry(self, key: Any, raw: Raw) -> Entry | None:
        """Return the only row."""
        return _entries(self._store, [raw])[0]

    def entries(self, rows: Sequence[Raw]) -> list[tuple[tuple[bytes, bytes], Entry]]:
        """Return each as a row."""
        found = _entries(self._store, rows)
        return [((raw, b""), entry) for (raw, _), entry in zip(rows, found, strict=True)]

    def history(self, view: CommittedView, key: bytes) -> list[Raw]:
        """Return nothing: there are no windows."""
        return []

    def between(self, start: Any, stop: Any) -> Selection:
        """Select by the order of the keys."""
        first = b"" if start is None else self.find(start)
        last = None if stop is None else self.find(stop)
        if self.key is INT:
            return Selection(_integers(first, last))
        if self.key is FLOAT:
            return Selection(_floats(first, last))
        return Selection([(first, last)])

    def beginning(self, prefix: bytes) -> Selection:
        """Select by the bytes of the keys."""
        return Selection([(prefix, behind(prefix))])

    def since(self, start_ms: int | None, stop_ms: int | None) -> Selection:
        """Select all: there are no windows."""
        return Selection([(b"", None)])


class TimeWindows:
    """A value for each window and key, in the order of time."""

    windowed = True

    def __init__(self, store: StoreDefinition, serde: StoredWindowSerde) -> None:
        self.key: Serde[Any] = serde.key
        self._serde = serde
        self._store = store

    def find(self, key: Any) -> bytes:
        """Return the start, then the bytes of a key."""
        of = _windowed(self._store, key)
        return pack_start(of.start) + encoded(self._store, self.key, of.key)

    def entry(self, key: Any, raw: Raw) -> Entry | None:
        """Return the only row, unless its window has another end."""
        [found] = _entries(self._store, [raw])
        return found if found.key.end == key.end else None

    def entries(self, rows: Sequence[Raw]) -> list[tuple[tuple[bytes, bytes], Entry]]:
        """Return each as a row."""
        found = _entries(self._store, rows)
        return [((raw, b""), entry) for (raw, _), entry in zip(rows, found, strict=True)]

    def history(self, view: CommittedView, key: bytes) -> list[Raw]:
        """Return the windows of a key: two seeks for each that any key has."""
        starts: list[bytes] = []
        at = b""
        while (row := next(view.scan(at), None)) is not None:
            starts.append(row[0][:8])
            at = pack_start(unpack_start(row[0]) + 1)
        keys = [start + key for start in starts]
        found = zip(keys, view.get_all(keys), strict=True)
        return [(raw, data) for raw, data in found if data is not None]

    def between(self, start: Any, stop: Any) -> Selection:
        """Select by start, then by key."""
        return Selection(
            [
                (
                    b"" if start is None else self.find(start),
                    None if stop is None else self.find(stop),
                )
            ]
        )

    def beginning(self, prefix: bytes) -> Selection:
        """Select by the keys of all windows: each of them is looked at."""
        encode = self.key.encode

        def keeps(row: Entry) -> bool:
            return encode(row.key.key).startswith(prefix)

        return Selection([(b"", None)], keeps)

    def since(self, start_ms: int | None, stop_ms: int | None) -> Selection:
        """Select by start."""
        first = b"" if start_ms is None else pack_start(start_ms)
        return Selection([(first, None if stop_ms is None else pack_start(stop_ms))])


class Together:
    """All windows of a key as one value: sessions and sliding windows."""

    windowed = True

    def __init__(self, store: StoreDefinition, keys: SessionKeySerde) -> None:
        self.key: Serde[Any] = keys.key
        self._store = store
        serde: Any = store.value
        self._windows: Callable[[Any, Any], list[tuple[Windowed[Any], Any, int]]] = serde.windows

    def find(self, key: Any) -> bytes:
        """Return the bytes of a key, without its window."""
        return KEY + encoded(self._store, self.key, _windowed(self._store, key).key)

    def entry(self, key: Any, raw: Raw) -> Entry | None:
        """Return the row of one window."""
        return next((row for _, row in self.entries([raw]) if row.key == key), None)

    def entries(self, rows: Sequence[Raw]) -> list[tuple[tuple[bytes, bytes], Entry]]:
        """Return the windows of each."""
        shown, decode = self._store.result, self._store.value.decode
        found: list[tuple[tuple[bytes, bytes], Entry]] = []
        for raw, data in rows:
            held = decode(data[8:])
            for window, value, at in self._windows(self.key.decode(raw[1:]), held):
                place = _PLACE.pack(window.start + _MIDDLE, window.end + _MIDDLE)
                row = Entry(window, shown(value) if shown else value, at)
                found.append(((raw, place), row))
        return found

    def history(self, view: CommittedView, key: bytes) -> list[Raw]:
        """Return the only value that there is of a key."""
        [data] = view.get_all([KEY + key])
        return [] if data is None else [(KEY + key, data)]

    def between(self, start: Any, stop: Any) -> Selection:
        """Select by key, then by start and end."""
        first = KEY if start is None else self.find(start)
        last = None if stop is None else self.find(stop)

        def keeps(row: Entry) -> bool:
            place = self._place(row.key)
            return (start is None or place >= self._place(start)) and (
                stop is None or place < self._place(stop)
            )

        return Selection([(first, None if last is None else last + b"\0")], keeps)

    def beginning(self, prefix: bytes) -> Selection:
        """Select by the bytes of the keys."""
        return Selection([(KEY + prefix, behind(KEY + prefix))])

    def since(self, start_ms: int | None, stop_ms: int | None) -> Selection:
        """Select by start, of the windows of all keys: each of them is looked at."""

        def keeps(row: Entry) -> bool:
            start = row.key.start
            return (start_ms is None or start >= start_ms) and (stop_ms is None or start < stop_ms)

        return Selection([(KEY, None)], keeps)

    def _place(self, of: Windowed[Any]) -> tuple[bytes, int, int]:
        return self.key.encode(of.key), of.start, of.end


def plain(layout: Layout, key: Any) -> Any:
    """Return a key of the table without its window."""
    return key.key if layout.windowed else key


def deciding(layout: Layout, key: Any) -> bytes | None:
    """Return the bytes that decide which partition a key is in; None where that is not known.

    Args:
        layout: of the store.
        key: without its window. It may be one in a window itself, of windows before.
    """
    serde = layout.key
    if isinstance(serde, Packed):
        return None
    while (within := inner_of(serde)) is not None:
        serde, key = within, key.key
    return serde.encode(key)


def encoded(store: StoreDefinition, serde: Serde[Any], key: Any) -> bytes:
    """Return the bytes of a key.

    Raises:
        TypeError: if it is no key of the store.
    """
    try:
        return serde.encode(key)
    except Exception as error:
        raise TypeError(
            f"{type(key).__name__} cannot be a key of the store {store.name}: its keys are"
            f" {format_of(serde)}. Pass one."
        ) from error


def prefix_of(store: StoreDefinition, layout: Layout, prefix: Any) -> bytes:
    """Return the bytes that keys begin with.

    Raises:
        TypeError: if keys of this kind do not begin with anything, or not with this.
    """
    whole = encoded(store, layout.key, prefix)
    if isinstance(prefix, str | bytes) and format_of(layout.key) in ("str", "bytes"):
        return whole
    if isinstance(prefix, tuple) and whole[:1] == b"[" and prefix:
        return whole[:-1] + b","
    raise TypeError(
        f"The keys of the store {store.name} are {format_of(layout.key)}, which have no prefix."
        " Use range() for them: keys of str, bytes and tuples have one."
    )


def behind(prefix: bytes) -> bytes | None:
    r"""Return the first bytes behind all that begin with a prefix, None where there are none.

    >>> behind(b"ab"), behind(b"a\xff"), behind(b"\xff")
    (b'ac', b'b', None)
    """
    short = prefix.rstrip(b"\xff")
    return short[:-1] + bytes([short[-1] + 1]) if short else None


def _integers(first: bytes, last: bytes | None) -> list[Span]:
    """Negative integers, whose bytes are the larger ones, then the others."""
    spans: list[Span] = []
    if not first or first >= _SIGN:
        spans.append((first or _SIGN, last if last and last >= _SIGN else None))
    if last is None or last < _SIGN:
        spans.append((first if first < _SIGN else b"", _SIGN if last is None else last))
    return spans


def _floats(first: bytes, last: bytes | None) -> list[Span]:
    """Negative floats, whose bytes are the larger the smaller they are, then the others."""
    spans: list[Span] = []
    if not first or first >= _SIGN:
        above = last + b"\0" if last and last >= _SIGN else _SIGN
        spans.append((above, first + b"\0" if first else None))
    if last is None or last < _SIGN:
        spans.append((first if first < _SIGN else b"", _SIGN if last is None else last))
    return spans


def _windowed(store: StoreDefinition, key: Any) -> Windowed[Any]:
    if issubclass(type(key), Windowed):
        found: Windowed[Any] = key
        return found
    raise TypeError(
        f"{type(key).__name__} cannot be a key of the store {store.name}, which has windows. Pass"
        " ps.Windowed(key, start, end), or use fetch(key, start_ms, stop_ms)."
    )


def _entries(store: StoreDefinition, rows: Iterable[Raw]) -> list[Entry]:
    rows, shown = list(rows), store.result
    keys = decode_column(store.key, [raw for raw, _ in rows])
    values = decode_column(store.value, [value_of(data) for _, data in rows])
    if shown is not None:
        values = list(map(shown, values))
    return [
        Entry(key, value, timestamp_of(data))
        for key, value, (_, data) in zip(keys, values, rows, strict=True)
    ]
