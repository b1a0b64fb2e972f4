"""The overlay: what a batch has changed, over a clean cache, over a store.

An entry is a value with its timestamp, or None where the store has nothing; a value of None
is a deletion. Operators ask by `touch`, and hand back what they changed by `put`, a whole chunk
at a time; the store is written only after the transaction was committed.

Rule 1: a change is in three places: what is asked for next sees it (`_entries`), a rollback
        forgets it (`_pending`), a flush finds it (`_dirty`) without looking keys up again: of
        100,000 keys each look-up misses the processor's caches, 0.2 us.
Rule 2: no mutable object is shared. A value that can be changed in place is copied through
        its serde when it is asked for, unless this chunk has made it, and it leaves the cache
        with the commit.
Rule 3: what is committed may wait in memory, up to `write_behind` keys or `value_bytes`, and is
        then written at once with the last position: a crash loses no more than the changelog's
        tail brings back, and a key that changes in every batch is written once.
Rule 4: savepoint, then touch and put, then `rollback` or the next savepoint. `discard`
        forgets the batch, `commit` makes it the clean cache.
Rule 5: other threads read what is committed, and nothing else: `committed` one key, `view` all as
        it is at one moment. A batch comes in by one call of the interpreter, so that none is
        seen by half; what moves it to the store is kept apart from a view by the lock, 0.05 us.
Rule 6: what is flushed after a savepoint can still be rolled back, if everything before it was
        flushed too: so a record is undone whose changes break a step behind the store.
Rule 7: the clean cache has at most `cache_entries`, and those whose values are large take at most
        `value_bytes`, as bytes in the store. It is cut between batches only, also where a batch
        has read and changed nothing.
"""

import dataclasses
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from itertools import compress, islice, repeat
from typing import Any, NamedTuple, TypeAlias, TypeVar

from penstock.serde.columns import check_column, decode_column, encode_column
from penstock.serde.primitives import FLOAT, INT
from penstock.serde.types import is_immutable
from penstock.state.changelog import stored, timestamp_of, value_of
from penstock.state.definition import StoreDefinition
from penstock.state.rows import Rows
from penstock.state.store import Position, Store
from penstock.state.unwritten import Unwritten
from penstock.state.view import CommittedView
from penstock.state.weights import Weights, total_weight

Entry: TypeAlias = tuple[Any, int]
T = TypeVar("T")

DEFAULT_CACHE_ENTRIES = 200_000
BYTES_PER_ENTRY = 350  # measured: a key of 16 bytes with a count and a timestamp in a dict
DEFAULT_VALUE_BYTES = 16 * 1024 * 1024


class Changes(NamedTuple):
    """What a batch changed in a store, as columns; a value of None is a deletion.

    Attributes:
        first: whether nothing of the batch was flushed before.
    """

    keys: list[bytes]
    values: list[Any]
    encoded: list[bytes | None]
    timestamps: list[int]
    first: bool

    def without(self, keys: Collection[bytes]) -> "Changes":
        """Return the changes of other keys."""
        kept = [key not in keys for key in self.keys]

        def others(column: list[T]) -> list[T]:
            return list(compress(column, kept))

        return Changes(
            others(self.keys),
            others(self.values),
            others(self.encoded),
            others(self.timestamps),
            self.first,
        )

    def and_then(self, later: "Changes") -> "Changes":
        """Return both."""
        return Changes(
            self.keys + later.keys,
            self.values + later.values,
            self.encoded + later.encoded,
            self.timestamps + later.timestamps,
            self.first,
        )


class Overlay:
    """The working state of one store in one task.

    Args:
        definition: of the store.
        store: what is written when it is committed.
        cache_entries: how many entries the clean cache keeps.
        write_behind: how many committed keys may wait to be written.
        value_bytes: how many bytes of large values the clean cache keeps, and how many bytes of
            committed values may wait to be written.
        lock: keeps other threads that take a view apart; where there are none, nothing need.

    Attributes:
        rows: how many keys there are, and how many the commits have changed.
    """

    def __init__(
        self,
        definition: StoreDefinition,
        store: Store,
        *,
        cache_entries: int = DEFAULT_CACHE_ENTRIES,
        write_behind: int = 0,
        value_bytes: int = DEFAULT_VALUE_BYTES,
        lock: AbstractContextManager[Any] | None = None,
    ) -> None:
        self.definition = definition
        self.store = store
        self.rows = Rows(store)
        self._cache_entries = cache_entries
        self._write_behind = write_behind
        self._value_bytes = value_bytes
        self._all_small = definition.value is INT or definition.value is FLOAT
        self._weights = Weights()  # of entries in memory
        self._waiting_bytes = 0  # at most: replaced values count until they are counted again
        self._lock = lock or nullcontext()
        self._mutable = not is_immutable(definition.value)
        # Whoever makes the keys has looked at what they are made of.
        self._keys_are_known = bool(getattr(definition.key, "known", False))
        self._entries: dict[bytes, Entry | None] = {}
        self._pending: dict[bytes, Entry] = {}
        self._dirty: dict[bytes, Entry] = {}
        self._flushing: dict[bytes, bytes | None] = {}
        self._flushed: dict[bytes, bytes | None] = {}
        self._unwritten = Unwritten()
        self._position: Position | None = None
        self._last: bytes | None = None  # no key of the store is behind it; None: not known yet

    def touch(self, keys: Collection[bytes]) -> list[Entry | None]:
        """Return what there is of distinct keys, for the caller to change and `put`.

        Costs 0.1 us per key in the cache, 1 us per key that is read from the store.
        """
        entries = self._entries
        found = list(map(entries.get, keys))
        if not all(found):
            missing = [key for key in keys if key not in entries]
            if missing:
                self._load(missing)
                found = list(map(entries.get, keys))
        if self._mutable:
            copy, mine = self._copy, self._pending
            return [
                entry if key in mine else copy(entry)
                for key, entry in zip(keys, found, strict=True)
            ]
        return found

    def put(self, changed: dict[bytes, Entry]) -> None:
        """Change keys, touched or not; the dict is taken over."""
        entries = self._entries
        before = len(entries)
        entries.update(changed)
        unread = len(entries) - before
        if unread:  # new keys stand at the end
            self.rows.unread(islice(reversed(entries), unread))
        self._pending = _merged(self._pending, changed)

    def get(self, key: bytes) -> Entry | None:
        """Return an entry as the batch sees it; the value is a copy if it is mutable."""
        if key not in self._entries:
            self._load([key])
        entry = self._entries[key]
        return self._copy(entry) if self._mutable else entry

    def scan(
        self, start: bytes, stop: bytes | None, limit: int | None = None, *, values: bool = True
    ) -> list[tuple[bytes, Entry]]:
        """Return what there is from one key to before another, in their order.

        What the batch has changed has to be flushed before.

        Args:
            start: the first key.
            stop: the key behind the last, None for all that there are.
            limit: how many to return at most, the first ones.
            values: whether they are wanted; without, None stands for each, and decoding is saved.
        """
        newer = self._unwritten.between(start, stop)
        for of in (self._flushed, self._flushing):
            newer.update(
                (key, of[key]) for key in of if key >= start and (stop is None or key < stop)
            )
        # As many of the store's may be deleted or hidden as there are newer ones.
        most = None if limit is None else limit + len(newer)
        rows: dict[bytes, bytes | None] = {}
        if start <= self._last_stored():
            rows.update(islice(self.store.scan(start, stop), most))
        rows.update(newer)
        keys = sorted(key for key, data in rows.items() if data is not None)[:limit]
        found = [data for data in map(rows.get, keys) if data is not None]
        times = map(timestamp_of, found)
        if not values:
            return list(zip(keys, zip(repeat(None), times), strict=True))
        decoded = decode_column(self.definition.value, list(map(value_of, found)))
        return list(zip(keys, zip(decoded, times, strict=True), strict=True))

    def savepoint(self) -> None:
        """Accept all changes so far into the batch; `rollback` returns to here."""
        self._dirty = _merged(self._dirty, self._pending)
        self._flushed = _merged(self._flushed, self._flushing)
        self._pending, self._flushing = {}, {}

    def rollback(self) -> None:
        """Undo all changes since the savepoint."""
        self._forget(self._pending)
        self._forget(self._flushing)
        self._entries.update({k: self._dirty[k] for k in self._pending if k in self._dirty})
        self._pending, self._flushing = {}, {}

    def flush(self) -> Changes:
        """Return what changed since the last flush, each key once, in order of first change."""
        first = not (self._flushed or self._flushing)
        changed = _merged(self._dirty, self._pending)
        keys = list(changed)
        entries = changed.values()
        values = [value for value, _ in entries]
        timestamps = [timestamp for _, timestamp in entries]
        serde = self.definition.value
        encoded = encode_column(serde, values)
        # A value that has no bytes leaves all as it was, to be undone.
        self._flushing = _merged(self._flushing, stored(keys, encoded, timestamps))
        self._dirty, self._pending = {}, {}
        if self._mutable:
            values = decode_column(serde, encoded)
        return Changes(keys, values, encoded, timestamps, first)

    def flush_again(self, changes: Changes) -> Changes:
        """Bring what was flushed up to what has changed since, each key once.

        A key that the batch has made and deleted again is left out: it has never been there.

        Args:
            changes: of the flush before; nobody was told of them.
        """
        later = self.flush()
        if not later.keys:
            return changes
        changed = set(later.keys)
        if changes.first:
            rows = zip(later.keys, later.encoded, strict=True)
            never = self.rows.take_absent({key for key, data in rows if data is None})
            for of in (self._flushing, self._entries):
                for key in never:
                    of.pop(key, None)
            later = later.without(never)
        return changes.without(changed).and_then(later)

    def commit(self, position: Position) -> None:
        """Take what was flushed as committed, its transaction is; write it when it is much."""
        self.savepoint()
        if unread := self.rows.looked_up(self._flushed):
            self.rows.missed([key for key, data in self._committed(unread) if data is None])
        self._unwritten.add(self._flushed)
        self._position = position
        self.rows.commit(self._flushed, self._entries.keys())
        if self._mutable:
            self._forget(self._flushed)
        if not self._all_small:
            self._waiting_bytes += total_weight(self._flushed)
            self._weights.weigh(self._flushed, self._entries)
        self._flushed = {}
        if len(self._unwritten) > self._write_behind or self._waits_with_much():
            self.write()
        self._cut()

    def trim(self) -> None:
        """Let go of what a committed batch has read too much, and has not changed."""
        if not self.changed:
            self.rows.forget(self._entries.keys())
            self._cut()

    def write(self) -> None:
        """Write all that is committed to the store, with the position that it reflects."""
        if self._position is not None:
            rows = self.rows.total if self.rows.exact else None
            position = dataclasses.replace(self._position, rows=rows)
            if self._last is not None:
                put = (key for key, data in self._unwritten.items() if data is not None)
                self._last = max(self._last, max(put, default=b""))
            # Unsorted: sorting costs 0.4 us per key and saves nothing.
            with self._lock:
                self.store.write(self._unwritten.items(), position)
                self._unwritten = Unwritten()
            self._position, self._waiting_bytes = None, 0

    def committed(self, key: bytes) -> bytes | None:
        """Return what the store keeps of a committed entry; safe to call from another thread.

        What waits in memory is asked first: it is there until it has been written.
        """
        waiting = self._unwritten
        return waiting[key] if key in waiting else self.store.get_all([key])[0]

    def view(self) -> CommittedView:
        """Return what is committed now; safe to call from another thread.

        Costs a copy of what waits to be written: 4 ns per key.
        """
        with self._lock:
            return CommittedView(self._unwritten.copy(), self.store.view())

    def discard(self) -> None:
        """Forget the batch: its transaction was aborted."""
        for keys in (self._flushed, self._flushing, self._dirty, self._pending):
            self._forget(keys)
        self._flushed, self._flushing, self._dirty, self._pending = {}, {}, {}, {}
        self.rows.discard()

    @property
    def changed(self) -> bool:
        """Whether the batch has changed anything."""
        return bool(self._flushed or self._flushing or self._dirty or self._pending)

    def copy(self, value: Any) -> Any:
        """Return a value that shares nothing with this one."""
        if not self._mutable or value is None:
            return value
        serde = self.definition.value
        return serde.decode(serde.encode(value))

    def _copy(self, entry: Entry | None) -> Entry | None:
        return None if entry is None else (self.copy(entry[0]), entry[1])

    def _forget(self, keys: Collection[bytes]) -> None:
        for key in keys:
            self._entries.pop(key, None)
        self._weights.forget(keys)

    def _cut(self) -> None:
        """Cut the clean cache, those first that came first."""
        excess = len(self._entries) - self._cache_entries
        if excess > 0:
            self._forget(list(islice(self._entries, excess)))
        while self._weights.total > self._value_bytes:
            self._forget([self._weights.first()])

    def _waits_with_much(self) -> bool:
        """Whether the values that wait to be written have too many bytes, or nearly."""
        if self._waiting_bytes <= self._value_bytes:
            return False
        self._waiting_bytes = total_weight(self._unwritten)
        return self._waiting_bytes > self._value_bytes // 2

    @property
    def memory_bytes(self) -> int:
        """What the entries in memory take, about: short keys, and what is large in the store."""
        return len(self._entries) * BYTES_PER_ENTRY + self._weights.total + self._waiting_bytes

    def _committed(self, keys: list[bytes]) -> list[tuple[bytes, bytes | None]]:
        """Return what the last commit has of keys."""
        found = self.store.get_all(keys)
        newer = self._unwritten
        return [(key, newer.get(key, data)) for key, data in zip(keys, found, strict=True)]

    def _load(self, keys: list[bytes]) -> None:
        if not self._keys_are_known:
            # A key of bytes that its serde refuses must not become state.
            check_column(self.definition.key, keys)
        found: list[bytes | None] = [None] * len(keys)
        if min(keys) <= self._last_stored():
            found = self.store.get_all(keys)
        if not self._unwritten.keys().isdisjoint(keys):
            found = [self._unwritten.get(key, at) for key, at in zip(keys, found, strict=True)]
        if not all(found):
            self.rows.missed([key for key, at in zip(keys, found, strict=True) if at is None])
        for newer in (self._flushed, self._flushing):
            if not newer.keys().isdisjoint(keys):
                found = [newer.get(key, at) for key, at in zip(keys, found, strict=True)]
        if not any(found):
            self._entries.update(dict.fromkeys(keys))
            return
        values = decode_column(self.definition.value, list(map(value_of, found)))
        for key, data, value in zip(keys, found, values, strict=True):
            self._entries[key] = None if data is None else (value, timestamp_of(data))
        if not self._all_small:
            self._weights.weigh(dict(zip(keys, found, strict=True)), self._entries)

    def _last_stored(self) -> bytes:
        """Return a key that no key in the store is behind: keys of new windows are."""
        if self._last is None:
            self._last = self.store.last() or b""
        return self._last


def _merged(older: dict[bytes, T], newer: dict[bytes, T]) -> dict[bytes, T]:
    """Return both, without copying where there is only one."""
    if not older:
        return newer
    older.update(newer)
    return older
