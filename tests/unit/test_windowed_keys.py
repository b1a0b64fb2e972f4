"""Windowed keys in topics: as JSON, as Kafka Streams writes them, and where they go."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import penstock as ps
from penstock.errors import DataError, TopologyError
from penstock.operators.chunk import Chunk
from penstock.operators.sink import Sink
from penstock.serde.primitives import STR
from penstock.serde.types import data_type
from penstock.serde.windowed import StoredWindowSerde, pack_start, unpack_start
from penstock.testing import TestDriver
from penstock.windows import Windowed


class Place(msgspec.Struct, frozen=True, order=True):
    city: str
    kind: str


TIMES = st.integers(-(2**62), 2**62)
KEYS: list[tuple[Any, Any]] = [
    (str, st.text()),
    (int, st.integers(-(2**63), 2**63 - 1)),
    (bytes, st.binary()),
    (float, st.floats(allow_nan=False)),
    (tuple[str, int], st.tuples(st.text(), st.integers(-(2**53), 2**53))),
    (Place, st.builds(Place, st.text(), st.text())),
    (Windowed[str], st.builds(Windowed, st.text(), TIMES, TIMES)),
]
json_keys = pytest.mark.parametrize(("type_", "keys"), [
    of for of in KEYS if of[0] is not float])  # fmt: skip


@json_keys
@given(data=st.data(), start=TIMES, end=TIMES)
def test_json_keys_come_back(
    type_: Any, keys: Any, data: st.DataObject, start: int, end: int
) -> None:
    key = Windowed(data.draw(keys), start, end)
    serde = data_type(ps.Windowed[type_]).serde
    assert serde is not None
    assert serde.decode(serde.encode(key)) == key


@pytest.mark.parametrize(("type_", "keys"), KEYS)
@given(data=st.data(), start=TIMES, end=TIMES)
def test_keys_in_the_bytes_of_kafka_streams_come_back(
    type_: Any, keys: Any, data: st.DataObject, start: int, end: int
) -> None:
    """The end of a time window is what the size makes of it; that of a session is written."""
    key = data.draw(keys)
    time, session = ps.serde.time_windowed(type_, "7ms"), ps.serde.session_windowed(type_)
    window = Windowed(key, start, start + 7)
    assert time.decode(time.encode(window)) == window
    assert session.decode(session.encode(Windowed(key, start, end))) == Windowed(key, start, end)


def test_the_bytes_are_those_of_kafka_streams() -> None:
    """Key, start; and key, end, start: WindowKeySchema.toBinary, SessionKeySchema.toBinary."""
    time = ps.serde.time_windowed(str, "10s")
    assert time.encode(Windowed("key", 7, 10_007)) == b"key" + bytes([0] * 7 + [7])
    session = ps.serde.session_windowed(str)
    window = Windowed("key", 7, 258)
    assert session.encode(window) == b"key" + bytes([0] * 6 + [1, 2]) + bytes([0] * 7 + [7])
    number = ps.serde.time_windowed(int, "10s").encode(Windowed(1, 0, 10_000))
    assert number == bytes([0] * 7 + [1] + [0] * 8)


def test_json_keys_have_sorted_fields() -> None:
    serde = data_type(ps.Windowed[str]).serde
    assert serde is not None
    assert serde.encode(Windowed("a", 5, 10)) == b'{"end":10,"key":"a","start":5}'


@pytest.mark.parametrize(
    ("serde", "value", "error"),
    [
        (ps.serde.time_windowed(str, "10s"), Windowed("a", 0, 5_000), "a window of 5000 ms cannot"),
        (ps.serde.time_windowed(str, "10s"), Windowed(5, 0, 10_000), "str"),
        (data_type(ps.Windowed[str]).serde, Windowed(5, 0, 10_000), "expected str, got int"),
    ],
)
def test_what_would_be_lost_is_refused(serde: Any, value: Any, error: str) -> None:
    with pytest.raises((ValueError, TypeError), match=error):
        serde.encode(value)


@pytest.mark.parametrize(
    ("serde", "data"),
    [
        (ps.serde.time_windowed(str, "10s"), b"1234567"),
        (ps.serde.session_windowed(str), b"123456789012345"),
        (data_type(ps.Windowed[str]).serde, b'{"key": 5, "start": 0, "end": 1}'),
        (data_type(ps.Windowed[str]).serde, b'{"key": "a"}'),
    ],
)
def test_what_is_no_windowed_key_is_refused(serde: Any, data: bytes) -> None:
    with pytest.raises((ValueError, msgspec.ValidationError)):
        serde.decode(data)


@given(TIMES, TIMES)
def test_stored_windows_are_in_the_order_of_time(one: int, other: int) -> None:
    """Before 1970 too."""
    assert (pack_start(one) < pack_start(other)) == (one < other)
    assert unpack_start(pack_start(one)) == one
    serde = StoredWindowSerde(STR, lambda start: start + 5, "windows")
    assert serde.decode(serde.encode(Windowed("a", one, one + 5))) == Windowed("a", one, one + 5)


class Partitions:
    """Hands out what decides over partitions instead of choosing them."""

    def __init__(self) -> None:
        self.hashed: list[Any] = []

    def partitions(self, topic: str, keys: Any) -> list[int]:
        self.hashed = list(keys)
        return [0] * len(keys)

    def max_message_bytes(self, topic: str) -> int:
        return 1_000_000


@pytest.mark.parametrize(
    ("key", "windowed"),
    [
        (ps.Windowed[str], Windowed("a", 0, 10)),
        (ps.serde.time_windowed(str, "10ms"), Windowed("a", 0, 10)),
        (ps.serde.session_windowed(str), Windowed("a", 0, 10)),
        (ps.Windowed[ps.Windowed[str]], Windowed(Windowed("a", 0, 10), 0, 100)),
        (ps.serde.session_windowed(ps.Windowed[str]), Windowed(Windowed("a", 0, 10), 0, 100)),
    ],
)
def test_a_windowed_key_goes_where_its_key_goes(key: Any, windowed: Any) -> None:
    """So does the window of a windowed key."""
    partitions = Partitions()
    sink = Sink("out", data_type(key, key=True), data_type(int))
    sink.encode(Chunk([1, 2], [0, 0], keys=[windowed, None]), partitions)
    assert partitions.hashed == [b"a", None]


def windowed_app(key: Any) -> ps.App:
    """Count, write under windowed keys, read them again, count the windows of each key."""
    topic = ps.Topic("counts", key=key, value=int)
    app = ps.App("app")
    grouped = app.stream("in", key=str, value=int).group_by_key()
    grouped.window(ps.tumbling("10ms")).count(name="n").to(topic, output_mode="append")
    read = app.stream(topic)
    read.group_by_key().window(ps.tumbling("20ms")).count(name="again").to("again")
    keys = read.map_record(lambda of: (of.key.key, of.value), key=str, value=int, name="by-key")
    keys.group_by_key().agg(ps.sum(int), name="sums").to("sums")
    return app


@pytest.mark.parametrize("key", [
    ps.Windowed[str], ps.serde.time_windowed(str, "10ms"), ps.serde.session_windowed(str)])  # fmt: skip
def test_topics_of_windowed_keys_are_read_and_written(key: Any) -> None:
    with TestDriver(windowed_app(key)) as driver:
        inputs, again, sums = map(driver.topic, ("in", "again", "sums"))
        for at in (1, 2, 11, 25):
            inputs.send(0, key="a", at=at)
        counts = driver.topic(ps.Topic("counts", key=key, value=int))
        first, second = Windowed("a", 0, 10), Windowed("a", 10, 20)
        assert counts.read() == [(first, 2), (second, 1)]
        assert again.read() == [(Windowed(first, 0, 20), 1), (Windowed(second, 0, 20), 1)]
        assert sums.read() == [("a", 2), ("a", 3)]


def test_equal_keys_are_equal_however_others_write_them() -> None:
    """JSON of another program has spaces, or its fields in another order."""
    app = ps.App("app")
    counts = app.stream("in", key=ps.Windowed[str], value=int).group_by_key().count(name="n")
    counts.to("out")
    with TestDriver(app) as driver:
        inputs, out = driver.topic("in"), driver.topic("out")
        for key in (
            b'{"key":"a","start":0,"end":10}',
            b'{ "end": 10, "start": 0, "key": "a" }',
            b'{"key":"\\u0061","start":0,"end":10,"more":1}',
        ):
            inputs.send_bytes(bytes(8), key=key)
        assert out.read() == [(Windowed("a", 0, 10), n) for n in (1, 2, 3)]


def test_a_window_of_another_size_names_the_way_out() -> None:
    app = ps.App("app")
    grouped = app.stream("in", key=str, value=int).group_by_key()
    topic = ps.Topic("out", key=ps.serde.time_windowed(str, "5ms"), value=int)
    grouped.window(ps.tumbling("10ms")).count(name="n").to(topic)
    with TestDriver(app) as driver, pytest.raises(DataError, match="Pass the size of the windows"):
        driver.topic("in").send(0, key="a", at=1)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: ps.Topic("w", key=ps.Windowed, value=int), r"Say it: ps.Windowed\[str\]"),
        (lambda: ps.serde.time_windowed(str, "0s"), "size='0s' of a window is nothing"),
        (lambda: ps.serde.time_windowed(str, 5), "5 is not a duration"),  # type: ignore[arg-type]
        (lambda: ps.serde.session_windowed(None), "needs the type or serde of the keys"),  # type: ignore[arg-type,type-var]
        (lambda: counts().to(ps.Topic("w", key=str, value=int)), r"are Windowed\[str\]"),
        (
            lambda: counts().to(ps.Topic("w", key=ps.Windowed[int], value=int)),
            r"keys of type Windowed\[int\], .* are Windowed\[str\]",
        ),
        (
            lambda: counts().to(ps.Topic("w", key=ps.serde.time_windowed(int, "1s"), value=int)),
            r"Windowed\[int\]",
        ),
    ],
)
def test_keys_that_make_no_sense_are_refused(make: Any, told: str) -> None:
    with pytest.raises(TopologyError, match=told):
        make()


def counts() -> Any:
    grouped = ps.App("app").stream("in", key=str, value=int).group_by_key()
    return grouped.window(ps.tumbling("1s")).count(name="n")


def test_equal_declarations_are_equal() -> None:
    """Two streams may read one topic that both declare."""
    assert data_type(ps.Windowed[str]) == data_type(ps.Windowed[str])
    assert data_type(ps.Windowed[str]) != data_type(ps.Windowed[int])
    assert hash(data_type(ps.Windowed[str]).serde) == hash(data_type(ps.Windowed[str]).serde)
