"""What a store keeps in memory: bounded in entries and in bytes, whatever batches read and change."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.serde.json_serde import JsonSerde
from penstock.serde.primitives import INT, STR
from penstock.serde.types import Serde
from penstock.state.definition import StoreDefinition
from penstock.state.memory import MemoryStore
from penstock.state.overlay import Overlay
from penstock.state.store import Position
from penstock.state.weights import LARGE_BYTES

KIB = 1024
BOUND = 10 * KIB
KEYS = [b"%d" % n for n in range(6)]
SIZES = st.sampled_from([0, 10, LARGE_BYTES, KIB, 4 * KIB, 2 * BOUND])
BATCH = st.tuples(
    st.dictionaries(st.sampled_from(KEYS), st.none() | SIZES, max_size=5),
    st.lists(st.sampled_from(KEYS), max_size=5),
    st.sampled_from(["commit", "discard", "rollback"]),
)


def overlay(store: MemoryStore, serde: Serde[Any] = STR, cache: int = 1_000) -> Overlay:
    return Overlay(
        StoreDefinition("s", STR, serde),
        store,
        cache_entries=cache,
        write_behind=1_000,
        value_bytes=BOUND,
    )


def put(of: Overlay, values: dict[bytes, Any]) -> None:
    of.touch(list(values))
    of.put({key: (value, 0) for key, value in values.items()})


def commit(of: Overlay, values: dict[bytes, Any]) -> None:
    put(of, values)
    end(of)


def end(of: Overlay) -> None:
    """End a batch as a worker does."""
    of.flush()
    if of.changed:
        of.commit(Position(1, "topic", 0))
    else:
        of.trim()


def cached(of: Overlay) -> int:
    """The bytes of values in the clean cache."""
    return sum(len(entry[0]) for entry in of._entries.values() if entry and entry[0])


def waiting(of: Overlay) -> int:
    return sum(len(data) for data in of._unwritten.values() if data)


@pytest.mark.parametrize("serde", [STR, JsonSerde(list[str])], ids=["str", "json"])
@given(batches=st.lists(BATCH, max_size=10))
def test_values_are_right_and_take_no_more_than_they_may(
    serde: Serde[Any], batches: list[tuple[dict[bytes, int | None], list[bytes], str]]
) -> None:
    """Ten small ones may be beside the large ones: entries are counted, not weighed."""
    one, there = overlay(MemoryStore(), serde), dict[bytes, Any]()
    for letter, (changes, read, fate) in enumerate(batches):
        values = {
            key: None if size is None else _value(serde, chr(65 + letter % 26) * size)
            for key, size in changes.items()
        }
        one.savepoint()
        put(one, values)
        one.touch(dict.fromkeys(read))
        if fate == "rollback":
            one.rollback()
        elif fate == "commit":
            there |= values
        if fate == "discard":
            one.discard()
        end(one)
        small = len(KEYS) * LARGE_BYTES
        assert waiting(one) <= BOUND
        if serde is STR:
            assert cached(one) <= BOUND + small
        weights = one._weights
        assert weights.total == sum(weights._each.values()) <= BOUND
        assert weights._each.keys() <= one._entries.keys()
        for key in read:
            entry = one.get(key)
            assert (entry and entry[0]) == there.get(key)
        end(one)


def _value(serde: Serde[Any], text: str) -> Any:
    return text if serde is STR else [text]


def test_what_is_replaced_again_and_again_waits_once() -> None:
    """A key that changes in each batch is written once, as long as its value is not large."""
    store = MemoryStore()
    one = overlay(store)
    for number in range(100):
        commit(one, {b"a": f"{number}" * 200})
    assert list(store.scan()) == []
    assert waiting(one) <= BOUND


def test_many_middling_values_are_bounded_as_few_large_ones() -> None:
    one = overlay(MemoryStore())
    for number in range(500):
        commit(one, {b"%d" % number: "x" * 200})
    assert cached(one) <= BOUND
    assert waiting(one) <= BOUND
    assert one.memory_bytes <= 100 * 350 + 2 * BOUND


def test_a_value_larger_than_all_that_may_be_kept_is_written_at_once() -> None:
    store = MemoryStore()
    one = overlay(store)
    commit(one, {b"a": "x" * 2 * BOUND, b"b": "y"})
    assert dict(store.scan()).keys() == {b"a", b"b"}
    assert cached(one) == 1
    assert one.get(b"a") == ("x" * 2 * BOUND, 0)


def read_only(of: Overlay, keys: Iterable[bytes], *, trims: bool = True) -> None:
    """Batches that look keys up, one each, and change nothing."""
    for key in keys:
        of.get(key)
        if trims:
            end(of)


@pytest.mark.parametrize("serde", [INT, STR], ids=["int", "str"])
def test_a_table_that_is_only_read_does_not_grow_in_memory(serde: Serde[Any]) -> None:
    """Neither do those keys that are not in it."""
    store = MemoryStore()
    keys = [b"%d" % n for n in range(5_000)]
    commit(overlay(store, serde), dict.fromkeys(keys, 7 if serde is INT else "x" * KIB))
    one = overlay(store, serde, cache=50)
    read_only(one, keys)
    read_only(one, [key + b"?" for key in keys])
    assert len(one._entries) <= 50
    assert cached(one) <= BOUND if serde is STR else True
    assert len(one.rows._missed) + len(one.rows._absent) <= 2_100


def test_without_the_cut_it_would_grow() -> None:
    store = MemoryStore()
    one = overlay(store, INT, cache=50)
    read_only(one, [b"%d" % n for n in range(500)], trims=False)
    assert len(one._entries) == 500


def test_what_is_known_of_rows_survives_batches_that_only_read() -> None:
    """The keys are counted rightly, whatever was forgotten of those that are not there."""
    store = MemoryStore()
    one = overlay(store, INT, cache=2)
    keys = [b"%d" % n for n in range(3_000)]
    read_only(one, keys)
    commit(one, dict.fromkeys(keys[:10], 1))
    one.touch(keys[:20])
    end(one)
    commit(one, dict.fromkeys(keys[5:20], 2))
    assert one.rows.total == 20
