"""The wire formats of single values are Kafka's own, and nothing else passes as one."""

import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.serde.columns import decode_column, encode_column
from penstock.serde.primitives import BYTES, FLOAT, INT, STR
from penstock.serde.types import is_canonical, is_immutable

# As org.apache.kafka.common.serialization writes them.
KAFKA = [
    (STR, "", b""),
    (STR, "Grüße, 世界 😀", b"Gr\xc3\xbc\xc3\x9fe, \xe4\xb8\x96\xe7\x95\x8c \xf0\x9f\x98\x80"),
    (INT, 0, b"\x00" * 8),
    (INT, 1, b"\x00\x00\x00\x00\x00\x00\x00\x01"),
    (INT, -1, b"\xff" * 8),
    (INT, 1_700_000_000_000, b"\x00\x00\x01\x8b\xcf\xe5\x68\x00"),
    (INT, 2**63 - 1, b"\x7f" + b"\xff" * 7),
    (INT, -(2**63), b"\x80" + b"\x00" * 7),
    (FLOAT, 1.5, b"\x3f\xf8\x00\x00\x00\x00\x00\x00"),
    (FLOAT, -0.0, b"\x80\x00\x00\x00\x00\x00\x00\x00"),
    (FLOAT, math.inf, b"\x7f\xf0\x00\x00\x00\x00\x00\x00"),
    (BYTES, b"\x00\xff", b"\x00\xff"),
]
PAIRS = [
    (STR, st.text(st.characters(exclude_categories=["Cs"]))),
    (INT, st.integers(-(2**63), 2**63 - 1)),
    (FLOAT, st.floats(allow_nan=False)),
    (BYTES, st.binary()),
]


@pytest.mark.parametrize(("serde", "value", "data"), KAFKA)
def test_bytes_are_those_of_kafkas_serializers(serde, value, data):
    """Known bytes of StringSerializer, LongSerializer, DoubleSerializer, ByteArraySerializer."""
    assert serde.encode(value) == data
    assert serde.decode(data) == value
    assert type(serde.decode(data)) is type(value)


@pytest.mark.parametrize(("serde", "values"), PAIRS)
@given(data=st.data())
def test_columns_are_their_values_one_by_one(serde, values, data):
    """Encoding and decoding a column with nulls is encoding and decoding each value."""
    column = data.draw(st.lists(st.none() | values))
    encoded = encode_column(serde, column)
    assert encoded == [None if value is None else serde.encode(value) for value in column]
    assert decode_column(serde, encoded) == column


@pytest.mark.parametrize(
    ("serde", "wrong"),
    [
        (STR, b"a"),
        (STR, 1),
        (INT, "1"),
        (INT, 1.0),
        (INT, 2**63),
        (INT, -(2**63) - 1),
        (FLOAT, "1.0"),
        (BYTES, "a"),
        (BYTES, bytearray(b"a")),
        (BYTES, 3),
    ],
)
def test_a_value_of_another_type_is_refused(serde, wrong):
    """Alone and in a column, a wrong value raises; it is never converted."""
    with pytest.raises((TypeError, struct.error)):
        serde.encode(wrong)
    good: Any = {STR: "a", INT: 1, FLOAT: 1.0, BYTES: b"a"}[serde]
    for column in ([wrong], [good, wrong], [None, wrong]):
        with pytest.raises((TypeError, struct.error)):
            encode_column(serde, column)


@pytest.mark.parametrize("serde", [INT, FLOAT])
@pytest.mark.parametrize("data", [b"", b"\x00" * 7, b"\x00" * 9, b"\x00" * 16])
def test_numbers_have_eight_bytes(serde, data):
    """Other lengths raise, also in a column whose bytes add up to whole numbers."""
    with pytest.raises((ValueError, struct.error)):
        serde.decode(data)
    for column in ([data], [data, b"\x00" * 8], [data, b"\x00" * (16 - len(data) % 16)]):
        with pytest.raises((ValueError, struct.error)):
            decode_column(serde, column)


def test_invalid_utf8_is_refused():
    """Text that is none is an error, not replaced characters."""
    with pytest.raises(UnicodeDecodeError):
        STR.decode(b"\xff")
    with pytest.raises(UnicodeEncodeError):
        STR.encode("\ud800")


def test_an_empty_value_is_not_null():
    """Empty text and empty bytes stay what they are in a column."""
    assert decode_column(STR, [b"", None]) == ["", None]
    assert encode_column(BYTES, [b"", None]) == [b"", None]


@pytest.mark.parametrize("serde", [STR, INT, FLOAT, BYTES])
def test_primitives_can_be_shared_and_stand_for_their_bytes(serde):
    """Nobody can change them, and equal values have equal bytes."""
    assert is_immutable(serde)
    assert is_canonical(serde)
