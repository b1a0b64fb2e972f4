"""The overlay of a batch: savepoints, rollbacks, flushes, commits and aborts."""

from itertools import product
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from penstock.serde.json_serde import JsonSerde
from penstock.serde.primitives import INT, STR
from penstock.serde.types import Serde
from penstock.state.definition import StoreDefinition
from penstock.state.memory import MemoryStore
from penstock.state.overlay import Changes, Overlay
from penstock.state.store import Position

KEYS = [b"", b"a", b"b", b"c"]


def overlay(
    value: Serde[Any] = INT,
    store: MemoryStore | None = None,
    cache: int = 10,
    write_behind: int = 0,
) -> Overlay:
    """An overlay over a store of text keys."""
    return Overlay(
        StoreDefinition("s", STR, value),
        store or MemoryStore(),
        cache_entries=cache,
        write_behind=write_behind,
    )


def put(of: Overlay, key: bytes, value: Any, timestamp: int = 0) -> None:
    """Change one entry as an operator does."""
    of.touch([key])
    of.put({key: (value, timestamp)})


def there(entry: Any) -> Any:
    """What an entry says: a deletion may be remembered, or forgotten where it was rolled back."""
    return None if entry is None or entry[0] is None else entry


def commit(of: Overlay, offset: int = 1) -> Any:
    """Flush and commit."""
    changes = of.flush()
    of.commit(Position(offset, "topic", 0))
    return changes


def test_a_flush_returns_each_changed_key_once():
    """Changes come in the order of their first change, with the last value and its bytes."""
    one = overlay()
    put(one, b"b", 1, 10)
    put(one, b"a", 2, 20)
    one.savepoint()
    put(one, b"b", 3, 30)
    changes = one.flush()
    assert changes.keys == [b"b", b"a"]
    assert changes.values == [3, 2]
    assert changes.encoded == [INT.encode(3), INT.encode(2)]
    assert changes.timestamps == [30, 20]
    assert one.flush().keys == []


def test_what_a_batch_makes_and_deletes_again_leaves_no_trace():
    """Unless it was flushed before: whoever reads the changelog has to hear of the end, too."""
    one = overlay()
    put(one, b"old", 1)
    commit(one)
    for key in (b"new", b"old"):
        put(one, key, 2)
    changes = one.flush()
    one.put({b"new": (None, 0), b"old": (None, 0)})
    assert one.flush_again(changes).keys == [b"old"]
    one.commit(Position(2, "topic", 0))
    assert list(one.store.scan()) == []
    assert one.rows.total == 0
    put(one, b"new", 3)
    one.flush()
    one.savepoint()
    put(one, b"new", 4)
    changes = one.flush()
    one.put({b"new": (None, 0)})
    again = one.flush_again(changes)
    assert (again.keys, again.encoded) == ([b"new"], [None])


def test_keys_behind_all_that_are_stored_are_not_looked_up(monkeypatch: pytest.MonkeyPatch):
    """Those of new windows are."""
    store = MemoryStore()
    put(one := overlay(store=store), b"m", 1)
    commit(one)
    looked_up: list[bytes] = []
    monkeypatch.setattr(store, "get_all", lambda keys: looked_up.extend(keys) or [None] * len(keys))
    monkeypatch.setattr(store, "scan", lambda *_: looked_up.append(b"range") or [])
    one.touch([b"n", b"o"])
    assert one.scan(b"n", None) == []
    assert looked_up == []
    one.touch([b"p", b"l"])
    assert looked_up == [b"p", b"l"]


def test_a_null_value_is_a_deletion():
    """A deleted key is a tombstone at flush, and gone from the store after the commit."""
    store = MemoryStore()
    one = overlay(store=store)
    put(one, b"a", 1)
    commit(one)
    put(one, b"a", None, 7)
    changes = commit(one)
    assert (changes.encoded, changes.timestamps) == ([None], [7])
    assert list(store.scan()) == []


def test_the_store_keeps_the_timestamp():
    """What was committed comes back with its timestamp from the store alone."""
    store = MemoryStore()
    one = overlay(store=store)
    put(one, b"a", 5, 1_700_000_000_000)
    commit(one)
    assert overlay(store=store).get(b"a") == (5, 1_700_000_000_000)


def test_nothing_reaches_the_store_before_the_commit():
    """Flushed changes are in the overlay only."""
    store = MemoryStore()
    one = overlay(store=store)
    put(one, b"a", 5)
    one.flush()
    assert list(store.scan()) == []
    assert store.position() is None


def test_a_batch_without_changes_writes_nothing():
    """The position moves only together with data."""
    store = MemoryStore()
    one = overlay(store=store)
    commit(one)
    assert store.position() is None


def test_bytes_that_the_key_serde_refuses_do_not_become_state():
    """A key of invalid UTF-8 fails at the first touch."""
    with pytest.raises(UnicodeDecodeError):
        overlay().touch([b"\xff"])


def test_a_value_without_bytes_fails_the_flush_and_can_be_discarded():
    """A flush that fails in a serde leaves all changes for the discard to forget."""
    store = MemoryStore()
    one = overlay(store=store)
    put(one, b"a", 1)
    commit(one)
    put(one, b"a", 2)
    put(one, b"b", "no int")
    with pytest.raises(Exception, match="required argument is not an integer"):
        one.flush()
    one.discard()
    assert one.get(b"a") == (1, 0)
    assert one.get(b"b") is None
    assert not one.changed


def test_the_clean_cache_is_bounded():
    """After a commit at most cache_entries stay, and what left comes back from the store."""
    one = overlay(cache=2)
    for number, key in enumerate(KEYS):
        put(one, key, number)
    commit(one)
    assert len(one._entries) == 2
    assert [one.get(key) for key in KEYS] == [(0, 0), (1, 0), (2, 0), (3, 0)]


def test_mutable_values_leave_the_cache_with_the_commit():
    """Nobody can change a committed value through an object that was in the batch."""
    one = overlay(JsonSerde(list[int]))
    value = [1]
    put(one, b"a", value)
    commit(one)
    value.append(2)
    assert one.get(b"a") == ([1], 0)


class AgainstDicts(RuleBasedStateMachine):
    """Any order of touches, savepoints, rollbacks, flushes, commits and discards."""

    serde: Serde[Any] = INT

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore()
        self.write_behind = 0
        self.one = self.made(2)
        self.now: dict[bytes, Any] = {}
        self.saved: dict[bytes, Any] = {}
        self.committed: dict[bytes, Any] = {}
        self.changelog: dict[bytes, Any] = {}  # as committed
        self.written: dict[bytes, Any] = {}  # by the batch, as of now and of the savepoint
        self.kept: dict[bytes, Any] = {}
        self.flushed = True
        self.pending = self.dirty = False
        self.offset = 0

    @initialize(write_behind=st.sampled_from([0, 0, 2, 100]))
    def begin(self, write_behind: int) -> None:
        self.write_behind = write_behind
        self.one = self.made(2)

    def made(self, cache: int) -> Overlay:
        return overlay(self.serde, self.store, cache, self.write_behind)

    @rule(
        keys=st.lists(st.sampled_from(KEYS), unique=True, min_size=1),
        value=st.none() | st.integers(0, 9),
        timestamp=st.integers(0, 9),
        read=st.booleans(),
    )
    def change(self, keys: list[bytes], value: int | None, timestamp: int, read: bool) -> None:
        if read:
            found = self.one.touch(keys)
            assert list(map(there, found)) == [there(self.now.get(key)) for key in keys]
        self.one.put(dict.fromkeys(keys, (value, timestamp)))
        self.now |= dict.fromkeys(keys, (value, timestamp))
        self.flushed, self.pending = False, True

    @rule()
    def savepoint(self) -> None:
        self.one.savepoint()
        self.saved, self.kept = dict(self.now), dict(self.written)
        self.dirty, self.pending = self.dirty or self.pending, False

    @rule()
    def rollback(self) -> None:
        """Undo what came after the savepoint, flushed or not."""
        self.one.rollback()
        self.now, self.written = dict(self.saved), dict(self.kept)
        self.pending = False

    @rule()
    def flush(self) -> None:
        self.write(self.one.flush())

    @rule(closed=st.sets(st.sampled_from(KEYS)), value=st.none() | st.integers(0, 9))
    def flush_and_close(self, closed: set[bytes], value: int | None) -> None:
        """Change keys once more before what was flushed is written."""
        changes = self.one.flush()
        changed = {key: (value, 9) for key in closed if there(self.now.get(key))}
        self.one.put(dict(changed))
        self.now |= changed
        again = self.one.flush_again(changes)
        for key in {*changes.keys, *changed} - {*again.keys}:
            assert key not in self.committed
            assert there(self.now[key]) is None
        self.write(again)

    def write(self, changes: Changes) -> None:
        assert len(set(changes.keys)) == len(changes.keys)
        for key, value, timestamp in zip(*changes[:2], changes.timestamps, strict=True):
            assert self.now[key] == (value, timestamp)
        self.written |= zip(changes.keys, changes.encoded, strict=True)
        if self.dirty:  # what was accepted before is flushed with it: there is no way back
            self.savepoint()
        self.flushed, self.pending, self.dirty = True, False, False

    @precondition(lambda self: self.flushed)
    @rule()
    def commit(self) -> None:
        self.offset += 1
        changed = self.one.changed
        flushed = self.one._flushed | self.one._flushing
        self.one.commit(Position(self.offset, "topic", 0))
        kept = {key: entry for key, entry in self.now.items() if entry[0] is not None}
        put = {key for key, data in flushed.items() if data is not None}
        assert self.one.rows.take_changes() == (len(put), len(self.committed.keys() - kept.keys()))
        assert self.one.rows.total == len(kept)
        self.now, self.saved, self.committed = dict(kept), dict(kept), kept
        self.changelog |= self.written
        self.written, self.kept = {}, {}
        told = {key: data for key, data in self.changelog.items() if data is not None}
        assert told == {key: self.serde.encode(value) for key, (value, _) in kept.items()}
        if changed and flushed and not self.write_behind:
            assert self.store.position() == Position(self.offset, "topic", 0, len(kept))

    @precondition(lambda self: self.flushed)
    @rule(cache=st.sampled_from([0, 2, 10]))
    def open_again(self, cache: int) -> None:
        """Go on with what is in the store."""
        self.discard()
        self.one.write()
        self.one = self.made(cache)

    @rule(keys=st.lists(st.sampled_from(KEYS), unique=True, min_size=1), value=st.integers(0, 9))
    def whole_batch(self, keys: list[bytes], value: int) -> None:
        """What nearly every batch is; by chance few of the others come to a commit."""
        self.discard()
        self.change(keys, value, value, read=True)
        self.flush()
        self.commit()

    @rule()
    def discard(self) -> None:
        self.one.discard()
        self.now, self.saved = dict(self.committed), dict(self.committed)
        self.written, self.kept = {}, {}
        self.flushed, self.pending, self.dirty = True, False, False

    @invariant()
    def entries_are_what_the_batch_did(self) -> None:
        for key in KEYS:
            assert there(self.one.get(key)) == there(self.now.get(key))

    @precondition(lambda self: self.flushed)
    @invariant()
    def scans_find_what_the_batch_did(self) -> None:
        here = {key: entry for key, entry in self.now.items() if entry[0] is not None}
        for start, stop, limit in product(KEYS, (None, b"b"), (None, 1)):
            wanted = [key for key in sorted(here) if key >= start and (stop is None or key < stop)]
            found = self.one.scan(start, stop, limit)
            assert found == [(key, here[key]) for key in wanted[:limit]]
            times = [(key, (None, at)) for key, (_, at) in found]
            assert self.one.scan(start, stop, limit, values=False) == times

    @precondition(lambda self: not self.write_behind)
    @invariant()
    def the_store_is_what_was_committed(self) -> None:
        found = {
            key: (self.serde.decode(d[8:]), int.from_bytes(d[:8])) for key, d in self.store.scan()
        }
        assert found == self.committed


class Mutable(AgainstDicts):
    """The same with values that leave the cache with the commit."""

    serde = JsonSerde(Any)


TestMutable = Mutable.TestCase
TestMutable.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestAgainstDicts = AgainstDicts.TestCase
TestAgainstDicts.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
