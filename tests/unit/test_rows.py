"""Rows: how many keys a store has is exact in all that happens to it, and said to be where not."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.serde.primitives import INT, STR
from penstock.state import rows
from penstock.state.definition import StoreDefinition
from penstock.state.memory import MemoryStore
from penstock.state.overlay import Overlay
from penstock.state.rocksdb import RocksMemory, RocksStore
from penstock.state.rows import rows_after
from penstock.state.store import Position, Store

KEYS = [b"%d" % number for number in range(6)]
CHANGES = st.dictionaries(st.sampled_from(KEYS), st.none() | st.integers(0, 9), max_size=6)


def open_on(store: Store, *, cache: int = 10, behind: int = 0) -> Overlay:
    definition = StoreDefinition("s", STR, INT)
    return Overlay(definition, store, cache_entries=cache, write_behind=behind)


def change(of: Overlay, changes: dict[bytes, int | None], offset: int, *, read: bool) -> None:
    """Put some keys, delete others, and commit; others are looked for, too."""
    if read:
        of.touch(list({**dict.fromkeys(KEYS), **changes}))
    of.put({key: (value, 0) for key, value in changes.items()})
    of.flush()
    of.commit(Position(offset, "topic", 0))


@given(
    batches=st.lists(st.tuples(CHANGES, st.booleans(), st.booleans()), max_size=8),
    cache=st.sampled_from([0, 2, 10]),
    behind=st.sampled_from([0, 3, 100]),
    slack=st.sampled_from([0, 1_000]),
)
def test_the_count_is_that_of_the_keys(
    batches: list[tuple[dict[bytes, int | None], bool, bool]], cache: int, behind: int, slack: int
) -> None:
    """Whatever is read before it is put, wherever it waits, and however often it is opened."""
    store, there = MemoryStore(), dict[bytes, int]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "SLACK", slack)
        _count(batches, cache, behind, there, store)


def _count(batches: Any, cache: int, behind: int, there: dict[bytes, int], store: Store) -> None:
    one = open_on(store, cache=cache, behind=behind)
    for offset, (changes, read, again) in enumerate(batches):
        gone = [key for key, value in changes.items() if value is None and key in there]
        change(one, changes, offset, read=read)
        there = {key: n for key, n in (there | changes).items() if n is not None}
        updated = sum(value is not None for value in changes.values())
        assert one.rows.take_changes() == (updated, len(gone))
        assert (one.rows.total, one.rows.exact) == (len(there), True)
        if again:
            one.write()
            one = open_on(store, cache=cache, behind=behind)


def test_what_is_aborted_is_not_counted() -> None:
    one = open_on(MemoryStore())
    change(one, {b"a": 1}, 1, read=True)
    one.put({b"b": (1, 0), b"a": (None, 0)})
    one.flush()
    one.discard()
    assert one.rows.take_changes() == (1, 0)
    change(one, {b"b": 1}, 2, read=False)
    assert one.rows.total == 2


@pytest.mark.parametrize("read", [True, False])
def test_what_is_put_again_after_a_rollback_counts_once(read: bool) -> None:
    one = open_on(MemoryStore())
    if read:
        one.touch([b"a"])
    one.put({b"a": (1, 0)})
    one.rollback()
    one.touch([b"a"])
    one.put({b"a": (1, 0)})
    one.flush()
    one.commit(Position(1, "topic", 0))
    assert one.rows.total == 1


def test_what_is_known_of_keys_in_memory_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where what is known of others is forgotten."""
    monkeypatch.setattr(rows, "SLACK", 0)
    one = open_on(MemoryStore(), cache=3)
    one.touch([b"%d" % number for number in range(10)])
    for offset in range(2):
        one.put({b"x": (offset, 0)})
        one.flush()
        one.commit(Position(offset, "topic", 0))
    one.put({b"9": (1, 0)})
    one.flush()
    one.commit(Position(3, "topic", 0))
    assert one.rows.total == 2


def test_what_was_absent_is_not_remembered_for_ever() -> None:
    """Of keys that were looked for in vain no more is kept than of those in memory."""
    one = open_on(MemoryStore(), cache=10)
    for batch in range(30):
        one.touch([b"%d-%d" % (batch, number) for number in range(1_000)])
        change(one, {b"a": batch}, batch, read=True)
    assert len(one.rows._absent) <= 3_000
    assert one.rows.total == 1


@pytest.fixture
def rocks(tmp_path: Path) -> RocksStore:
    return RocksStore(tmp_path / "store", RocksMemory(1_000_000))


def test_the_count_is_kept_on_disk(rocks: RocksStore, tmp_path: Path) -> None:
    """It is written with the position that it belongs to, and believed at no other."""
    change(open_on(rocks), {b"a": 1, b"b": 2}, 5, read=True)
    rocks.close()
    again = RocksStore(tmp_path / "store", RocksMemory(1_000_000))
    assert again.position() == Position(5, "topic", 0, 2)
    again.write([(b"c", b"x" * 9)], Position(6, "topic", 0))
    assert again.position() == Position(6, "topic", 0, None)
    one = open_on(again)
    assert one.rows.total >= 3
    assert not one.rows.exact
    again.close()


def test_usage_is_what_rocksdb_says(rocks: RocksStore) -> None:
    items = {b"%d" % n: b"x" * 100 for n in range(1_000)}
    rocks.write(items.items(), Position(1, "topic", 0))
    before = rocks.usage()
    rocks.flush()
    after = rocks.usage()
    assert before.disk_bytes == 0 < after.disk_bytes
    assert before.memory_bytes > 100_000 > after.memory_bytes
    assert before.rows == after.rows == pytest.approx(1_000, abs=2)  # our notes are keys, too
    rocks.close()


@given(first=CHANGES, second=CHANGES)
def test_what_is_restored_is_counted(
    first: dict[bytes, int | None], second: dict[bytes, int | None]
) -> None:
    store, there = MemoryStore(), 0
    for offset, changes in enumerate((first, second)):
        items = {key: None if n is None else b"%d" % n for key, n in changes.items()}
        there = rows_after(store, items, there)
        store.write(items.items(), Position(offset, "topic", 0))
    assert there == len(list(store.scan()))
