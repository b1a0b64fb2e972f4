"""Sources: event time in every unit, keys and nulls, and slices of what was fetched."""

import datetime
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import BrokerError, TopologyError
from penstock.operators.each import EachFailed, encode_each
from penstock.operators.event_time import timestamp_extractor
from penstock.operators.source import Fetched, Source
from penstock.serde.primitives import INT, STR
from penstock.serde.types import RAW, UNKNOWN, DataType, data_type

TEXT = DataType(str, STR)


class View(msgspec.Struct):
    """A value with an event time."""

    at: int


def same(value):
    """The value is the time."""
    return value


def extract(unit):
    """The extractor of values that are times."""
    return timestamp_extractor(same, unit, UNKNOWN)


def fetched(*rows, start=0):
    """Records of keys and values."""
    keys, values = [row[0] for row in rows], [row[1] for row in rows]
    offsets = list(range(start, start + len(rows)))
    return Fetched("in", 3, keys, values, [7] * len(rows), offsets, None, start + len(rows))


@pytest.mark.parametrize(
    ("unit", "value", "milliseconds"),
    [
        ("s", 1_700_000_000, 1_700_000_000_000),
        ("s", 1_700_000_000.123, 1_700_000_000_123),
        ("s", 1.001, 1_001),
        ("s", 0.0004, 0),
        ("ms", 1_700_000_000_123, 1_700_000_000_123),
        ("us", 1_700_000_000_123_999, 1_700_000_000_123),
        ("ns", 1_700_000_000_123_999_999, 1_700_000_000_123),
        ("iso", "1970-01-01T00:00:00Z", 0),
        ("iso", "2023-11-14T22:13:20.123+00:00", 1_700_000_000_123),
        ("iso", "2023-11-15T00:13:20.123+02:00", 1_700_000_000_123),
        ("iso", "2023-11-14T22:13:20.123", 1_700_000_000_123),
        ("iso", "2023-11-14", 1_699_920_000_000),
    ],
)
def test_event_time_is_whole_milliseconds(unit, value, milliseconds):
    """Every unit gives milliseconds since the epoch; text without a zone is UTC."""
    found = extract(unit)(value)
    assert found == milliseconds
    assert type(found) is int


@given(st.integers(0, 4_102_444_800_000))
def test_units_agree(at):
    """One moment in any unit is the same millisecond."""
    moment = datetime.datetime.fromtimestamp(at / 1000, datetime.UTC)
    assert extract("ms")(at) == at
    assert extract("s")(at / 1000) == at
    assert extract("us")(at * 1_000) == at
    assert extract("ns")(at * 1_000_000) == at
    assert extract("iso")(moment.isoformat(timespec="milliseconds")) == at


@pytest.mark.parametrize(
    ("unit", "value"),
    [("ms", -1), ("s", -0.5), ("us", -1), ("ns", -1), ("iso", "1969-12-31T23:59:59Z")],
)
def test_a_time_before_1970_is_refused(unit, value):
    """A negative time is an error that shows the value, never a clamped one."""
    with pytest.raises(ValueError, match="before 1970") as caught:
        extract(unit)(value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    ("unit", "value"),
    [("ms", None), ("s", "now"), ("iso", 5), ("iso", "yesterday"), ("ns", float("nan"))],
)
def test_what_is_no_time_is_refused(unit, value):
    """An invalid time is never guessed."""
    with pytest.raises((TypeError, ValueError)):
        extract(unit)(value)


def test_the_field_and_the_unit_are_checked_at_declaration():
    """A field that does not exist, or an unknown unit, fails before a record is read."""
    with pytest.raises(TopologyError, match="View has no field 'time'"):
        timestamp_extractor("time", "ms", data_type(View))
    with pytest.raises(TopologyError, match="s, ms, us, ns, iso"):
        timestamp_extractor("at", "minutes", data_type(View))
    assert timestamp_extractor("at", "s", data_type(View))(View(2)) == 2_000


def test_a_source_decodes_values_and_leaves_keys():
    """Keys stay bytes until somebody wants them."""
    source = Source(("in",), TEXT, DataType(int, INT))
    chunk = source.decode(fetched((b"a", INT.encode(1)), (b"\xff", INT.encode(2))))
    assert chunk.values == [1, 2]
    assert list(chunk.raw_keys) == [b"a", b"\xff"]
    assert (chunk.topic, chunk.partition, list(chunk.offsets)) == ("in", 3, [0, 1])
    with pytest.raises(EachFailed) as caught:
        chunk.keys  # noqa: B018 - decoding is what it does
    assert {at: type(error) for at, error in caught.value.errors.items()} == {1: UnicodeDecodeError}


def test_typed_streams_drop_null_values():
    """A null value means nothing in a typed stream; an empty one is a value."""
    source = Source(("in",), TEXT, TEXT)
    chunk = source.decode(fetched((b"a", None), (b"b", b""), (b"c", b"x")))
    assert chunk.values == ["", "x"]
    assert list(chunk.keys) == ["b", "c"]
    assert list(chunk.offsets) == [1, 2]


def test_raw_streams_keep_null_values():
    """Without a declared type values are bytes or None."""
    assert Source(("in",), RAW, RAW).decode(fetched((None, None), (b"", b""))).values == [None, b""]


def test_a_null_key_of_a_declared_type_is_an_error():
    """With key= a null key is refused and the way out named; an empty key is a key."""
    source = Source(("in",), TEXT, TEXT)
    with pytest.raises(EachFailed) as caught:
        source.decode(fetched((b"a", b"x"), (None, b"x")))
    ((at, error),) = caught.value.errors.items()
    assert at == 1
    assert "leave key= out" in str(error)
    assert list(source.decode(fetched((b"", b"x"))).keys) == [""]
    assert Source(("in",), RAW, TEXT).decode(fetched((None, b"x"))).keys == [None]


def test_event_time_replaces_the_records_time():
    """The timestamp is the value's where one is declared, of the records that are left."""
    source = Source(("in",), TEXT, DataType(int, INT), extract=same)
    chunk = source.decode(fetched((b"a", INT.encode(5)), (b"a", None), (b"a", INT.encode(3))))
    assert list(chunk.timestamps) == [7, 7]
    assert list(source.in_event_time(chunk).timestamps) == [5, 3]
    assert list(Source(("in",), TEXT, TEXT).decode(fetched((b"a", b"x"))).timestamps) == [7]


@given(st.integers(1, 6), st.data())
def test_parts_are_the_whole(size, data):
    """Slices of fetched records hold each record once and end where the next begins."""
    whole = fetched(*[(b"%d" % n, b"v%d" % n) for n in range(size)], start=40)
    whole = whole._replace(headers=[[("n", b"%d" % n)] for n in range(size)])
    cut = data.draw(st.integers(0, size))
    cuts = [(start, stop) for start, stop in ((0, cut), (cut, size)) if start < stop]
    parts = [whole.part(start, stop) for start, stop in cuts]
    for column in ("keys", "values", "timestamps", "offsets", "headers"):
        joined = [item for part in parts for item in getattr(part, column)]
        assert joined == list(getattr(whole, column))
    assert [part.next_offset for part in parts][-1] == whole.next_offset
    for part, following in pairwise(parts):
        assert part.next_offset == following.offsets[0]


class Unreachable:
    """A serde that depends on something that is down."""

    def encode(self, value):
        raise BrokerError("down")

    decode = encode


def test_what_is_no_records_fault_is_not_taken_for_one():
    """Neither where records are decoded nor where they are only ordered: it is said at once."""
    values = DataType(View, Unreachable())
    source = Source(("in",), RAW, values, extract=lambda view: view.at)
    with pytest.raises(BrokerError, match="down"):
        source.decode(fetched((b"k", b"v")))
    with pytest.raises(BrokerError, match="down"):
        source.event_times(fetched((b"k", b"v")))
    with pytest.raises(BrokerError, match="down"):
        encode_each(values.serde, [View(1)])
