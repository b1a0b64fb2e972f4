"""Chunks: columns that stay together, and are built only where somebody wants them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.operators.chunk import Chunk, concatenate, newest
from penstock.operators.each import EachFailed
from penstock.serde.json_serde import JsonSerde
from penstock.serde.primitives import BYTES, INT, STR


def chunk(**changed):
    """Three records with all columns."""
    columns = {
        "values": [1, 2, 3],
        "timestamps": [10, 20, 30],
        "raw_keys": [b"a", None, b""],
        "key_serde": STR,
        "headers": [[("h", b"1")], None, None],
        "offsets": [5, 6, 7],
        "topic": "in",
        "partition": 2,
    }
    columns.update(changed)
    return Chunk(columns.pop("values"), columns.pop("timestamps"), **columns)


def rows(of):
    """The records of a chunk, one by one."""
    headers = of.headers or [None] * len(of)
    offsets = of.offsets or [-1] * len(of)
    return list(zip(of.keys, of.values, of.timestamps, headers, offsets, strict=True))


def test_keys_are_decoded_once_and_when_wanted():
    """Keys stay bytes until they are read; null and empty keys are different keys."""
    calls = []

    class Counting:
        def decode(self, data, /):
            calls.append(data)
            return data.decode()

    one = chunk(key_serde=Counting())
    assert one.values == [1, 2, 3]
    assert not calls
    assert one.keys == ["a", None, ""]
    assert one.keys == ["a", None, ""]
    assert calls == [b"a", b""]


def test_a_chunk_without_keys_has_null_keys():
    """No column of keys means null keys, no serde means bytes."""
    assert chunk(raw_keys=None).keys == [None] * 3
    assert chunk(key_serde=None).keys == [b"a", None, b""]


def test_canonical_keys_are_taken_over():
    """Bytes stand for values where equal values have equal bytes, and only for the same serde."""
    one = chunk(raw_keys=[b"a", None, b""])
    assert one.encoded_keys(STR) is one.raw_keys
    assert one.encoded_keys(None) == ["a", None, ""]
    with pytest.raises(EachFailed):
        one.encoded_keys(BYTES)


def test_json_keys_are_written_anew():
    """Two texts of one JSON key become the same bytes."""
    serde = JsonSerde(dict[str, int], sort_fields=True)
    one = chunk(raw_keys=[b'{"b":1,"a":2}', None, b'{ "a": 2, "b": 1 }'], key_serde=serde)
    assert one.encoded_keys(serde) == [b'{"a":2,"b":1}', None, b'{"a":2,"b":1}']


def test_a_selection_keeps_every_column_together():
    """What the mask picks is picked from all columns; all of it is the chunk itself."""
    one = chunk()
    picked = one.select([0, "yes", None])
    assert rows(picked) == rows(one)[1:2]
    assert (picked.topic, picked.partition) == ("in", 2)
    assert one.select([1, True, "x"]) is one
    assert len(one.select([0, 0, 0])) == 0


@given(st.lists(st.booleans(), min_size=3, max_size=3), st.booleans())
def test_decoding_before_or_after_a_selection_is_the_same(mask, first):
    """A column that was decoded before is selected with the others."""
    one = chunk()
    if first:
        one.keys  # noqa: B018 - decoding is what it does
    kept = [row for row, keep in zip(rows(chunk()), mask, strict=True) if keep]
    assert rows(one.select(mask)) == kept


def test_repeating_gives_each_value_its_records_columns():
    """Zero, one or several values per record, each with key, time, headers and offset."""
    grown = chunk().repeat([2, 0, 1], ["x", "y", "z"])
    assert rows(grown) == [
        ("a", "x", 10, [("h", b"1")], 5),
        ("a", "y", 10, [("h", b"1")], 5),
        ("", "z", 30, None, 7),
    ]


def test_other_values_and_keys_leave_the_rest():
    """New columns do not change the chunk that they were made from."""
    one = chunk()
    assert rows(one.with_values("abc")) == [
        ("a", "a", 10, [("h", b"1")], 5),
        (None, "b", 20, None, 6),
        ("", "c", 30, None, 7),
    ]
    changed = one.with_records([7, 8, 9], [0, 0, 0])
    assert changed.keys == [7, 8, 9]
    assert changed.encoded_keys(INT) == [INT.encode(key) for key in (7, 8, 9)]
    assert rows(one) == rows(chunk())


def test_values_that_were_encoded_are_taken_over():
    """A table's changes are encoded once, for their changelog and their topic."""
    encoded = [b"1", b"2", None]
    one = chunk(values=["x", "y", None], raw_values=encoded, value_serde=STR)
    assert one.encoded_values(STR) is encoded
    assert one.with_values(["z", None, "w"]).encoded_values(STR) == [b"z", None, b"w"]
    assert one.select([0, 1, 1]).encoded_values(STR) == [b"y", None]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9))))
def test_the_newest_timestamp_of_each_key(pairs):
    """In order or not, each key has its largest timestamp."""
    keys, timestamps = [key for key, _ in pairs], [at for _, at in pairs]
    expected = {key: max(at for other, at in pairs if other == key) for key in keys}
    assert newest(keys, timestamps) == expected
    assert newest(keys, sorted(timestamps)) == {
        key: max(at for other, at in zip(keys, sorted(timestamps), strict=True) if other == key)
        for key in keys
    }


def test_columns_are_joined_in_order():
    """Nothing is lost between columns, empty ones included."""
    assert concatenate([[1], [], (2, 3)]) == [1, 2, 3]
