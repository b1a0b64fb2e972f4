"""Event times that are none: who refuses them, what is said, and what becomes of the record."""

import datetime
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

import penstock as ps
from penstock.errors import DataError
from penstock.operators.chunk import Chunk
from penstock.operators.event_time import TimeGuard, timestamp_extractor, unit_hint
from penstock.operators.source import Fetched, Source
from penstock.serde.types import RAW, UNKNOWN, data_type
from penstock.testing import TestDriver
from penstock.windows import tumbling

NOW = 1_700_000_000_000
HOUR, DAY = 3_600_000, 86_400_000
ANY = ps.dead_letter("dead", max_ratio=1, max_run=None)


class View(msgspec.Struct):
    """A value with an event time."""

    at: int


class Dated(msgspec.Struct):
    """A value whose event time is decoded already."""

    at: datetime.datetime


@pytest.mark.parametrize(
    ("time", "unit", "hint"),
    [
        (NOW * 1_000, "ms", "microseconds given as milliseconds: pass unit='us'"),
        (NOW * 1_000_000, "ms", "nanoseconds given as milliseconds: pass unit='ns'"),
        (NOW * 1_000, "s", "milliseconds given as seconds: pass unit='ms'"),
        (NOW * 1_000_000, "s", "microseconds given as seconds: pass unit='us'"),
        (NOW * 1_000, "us", "nanoseconds given as microseconds: pass unit='ns'"),
        (NOW // 1_000, "ms", "seconds given as milliseconds: pass unit='s'"),
        (NOW // 1_000_000, "us", "seconds given as microseconds: pass unit='s'"),
        (NOW // 1_000, "ns", "microseconds given as nanoseconds: pass unit='us'"),
        (NOW * 1_000, None, "microseconds given as milliseconds: correct what writes it"),
        (NOW + DAY, "ms", None),
        (NOW * 77, "ms", None),
        (NOW * 1_000, "iso", None),
    ],
)
def test_a_unit_that_looks_wrong_is_named(time: int, unit: str | None, hint: str | None) -> None:
    """A value that would be near the clock, or the record's own time, in another unit."""
    found = unit_hint(time, unit, [5, NOW])
    assert found == (f"; it looks like {hint}" if hint else "")
    assert unit_hint(time, unit, [NOW, 5]) == found


@pytest.mark.parametrize(
    ("unit", "value", "told"),
    [
        ("ms", None, "the event time is None"),
        ("ms", "2023-11-14", "'2023-11-14' is no event time in unit='ms'; it looks like ISO 8601"),
        ("s", "soon", r"'soon' is no event time in unit='s'$"),
        ("iso", NOW, "it is a number: pass its unit, such as unit='ms'"),
        ("us", datetime.datetime(2023, 1, 1, tzinfo=datetime.UTC), "pass unit='iso'"),
        ("iso", "yesterday", r"'yesterday' is no event time in unit='iso'$"),
        ("ms", float("inf"), "inf is no event time"),
        ("ns", -5, "the event time -5 is before 1970"),
    ],
)
def test_what_is_no_time_is_told(unit: Any, value: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        timestamp_extractor(lambda of: of, unit, UNKNOWN)(value)


def test_a_field_that_is_missing_is_told_by_its_path() -> None:
    extract = timestamp_extractor("meta.at", "ms", data_type(dict[str, Any]))
    for value in ({}, {"meta": None}, {"meta": {"time": 5}}):
        with pytest.raises(ValueError, match=r"no event time at 'meta\.at'"):
            extract(value)


def test_a_field_that_is_decoded_to_a_datetime_is_a_time() -> None:
    """Without a zone it is UTC, as text is."""
    extract = timestamp_extractor("at", "iso", data_type(Dated))
    assert extract(Dated(datetime.datetime(1970, 1, 1, 0, 0, 5))) == 5_000


def windowed(app: ps.App, **event_time: Any) -> Any:
    stream = app.stream("in", key=str, value=View, timestamp="at", **event_time)
    stream.group_by_key().window(tumbling("1m")).count(name="n").to("out", output_mode="append")


def own_time(app: ps.App) -> None:
    stream = app.stream("in", key=str, value=View)
    stream.group_by_key().window(tumbling("1m")).count(name="n").to("out", output_mode="append")


def regrouped(app: ps.App) -> None:
    stream = app.stream("in", key=str, value=View, timestamp="at")
    grouped = stream.map(lambda view: view, value=View).group_by("at", name="by-at")
    grouped.window(tumbling("1m")).count(name="n").to("out", output_mode="append")


def in_time(app: ps.App) -> None:
    """Three ways, of which one is strict."""
    stream = app.stream("in", key=str, value=View, timestamp="at")
    for number, far in enumerate(("2d", "1h", None)):
        grouped = stream.with_watermark("1s", max_future=far).group_by_key()
        grouped.window(tumbling("1m")).count(name=f"n-{number}").to("out")


@pytest.mark.parametrize(("declare", "ahead"), [(windowed, DAY), (regrouped, DAY), (in_time, HOUR)])
def test_a_time_too_far_ahead_goes_by_the_policy(
    declare: Callable[[ps.App], None], ahead: int
) -> None:
    """It moves no clock, and says by how much it was too far."""
    app = ps.App("app", on_error=ANY)
    declare(app)
    with TestDriver(app, now=NOW) as driver:
        topic = driver.topic("in")
        with driver.batch():
            topic.send(View(NOW), key="a", at=NOW)
            topic.send(View(NOW + ahead), key="b", at=NOW)
            topic.send(View(NOW + ahead + 1), key="c", at=NOW)
        assert [key for key, _ in driver.topic("dead").read()] == [b"c"]
        (told,) = driver.topic("dead").read_headers()
        assert max(clock for task in driver._tasks for clock in task.clocks.values()) == NOW + ahead
        assert sum(len(task.take_failures()) for task in driver._tasks) == 1
    message = (told["__penstock.error.message"] or b"").decode()
    assert f"the event time, {NOW + ahead + 1} ms since 1970" in message
    assert f"max_future={'1d' if ahead == DAY else '3600s'}" in message


@pytest.mark.parametrize(
    ("value", "own", "told"),
    [
        (NOW * 1_000_000, NOW, "looks like nanoseconds given as milliseconds: pass unit='ns'"),
        (5_000_000_000_000_000, 5_000_000_000, "nanoseconds given as milliseconds"),
        (NOW + 7 * DAY, NOW, r"is 7d ahead of the wall clock, more than max_future=1d"),
    ],
)
def test_the_error_says_what_the_time_looks_like(value: int, own: int, told: str) -> None:
    """Against the clock, and against the record's own timestamp, however old that is."""
    app = ps.App("app")
    windowed(app)
    with TestDriver(app, now=NOW) as driver, pytest.raises(DataError, match=told) as caught:
        driver.topic("in").send(View(value), key="a", at=own)
    assert (caught.value.topic, caught.value.offset) == ("in", 0)


def test_one_record_from_the_future_closes_nobodys_windows() -> None:
    app = ps.App("app", on_error="skip")
    windowed(app)
    with TestDriver(app, now=NOW) as driver:
        topic = driver.topic("in")
        topic.send(View(NOW), key="a")
        topic.send(View(NOW * 1_000), key="b")
        topic.send(View(NOW + 1), key="a")
        assert driver.topic("out").read() == []
        topic.send(View(NOW + 60_000), key="a")
        assert [value for _, value in driver.topic("out").read()] == [2]


@pytest.mark.parametrize("far", [None, "400000d"])
def test_the_guard_can_be_taken_away(far: Any) -> None:
    app = ps.App("app")
    stream = app.stream("in", key=str, value=View, timestamp="at")
    grouped = stream.with_watermark("0s", max_future=far).group_by_key()
    grouped.window(tumbling("1m")).count(name="n").to("out")
    with TestDriver(app, now=NOW) as driver:
        driver.topic("in").send(View(NOW * 10), key="a")
        assert len(driver.topic("out").read()) == 1


def test_the_last_guard_on_a_way_counts() -> None:
    app = ps.App("app", on_error="skip")
    stream = app.stream("in", key=str, value=View, timestamp="at")
    again = stream.with_watermark("0s", max_future="1s").with_watermark("0s", max_future="10s")
    again.group_by_key().window(tumbling("1m")).count(name="n").to("out")
    with TestDriver(app, now=NOW) as driver:
        for ahead in (2_000, 10_000, 10_001):
            driver.topic("in").send(View(NOW + ahead), key="a")
        assert [n for _, n in driver.topic("out").read()] == [1, 2]


def test_without_windows_any_time_will_do() -> None:
    """Unless a stream says how far ahead it may be."""
    app = ps.App("app", on_error="skip")
    stream = app.stream("in", key=str, value=View, timestamp="at")
    stream.group_by_key().count(name="n").to("out")
    guarded = app.stream("guarded", key=str, value=View, timestamp="at")
    guarded.with_watermark("1s").to("seen")
    with TestDriver(app, now=NOW) as driver:
        driver.topic("in").send(View(NOW * 10), key="a", at=-1)
        driver.topic("guarded").send(View(NOW * 10), key="a")
        driver.topic("guarded").send(View(NOW), key="b")
        assert len(driver.topic("out").read()) == 1
        assert [key for key, _ in driver.topic("seen").read()] == ["b"]


def test_a_driver_that_is_not_told_the_time_guards_nothing() -> None:
    app = ps.App("app")
    windowed(app)
    with TestDriver(app) as driver:
        driver.advance("1h")
        driver.topic("in").send(View(NOW), key="a")
        driver.topic("in").send(View(NOW * 10), key="a")
        assert len(driver.topic("out").read()) == 1


def test_a_record_without_timestamp_fails_where_something_goes_by_it() -> None:
    """Its time is the value's where one is taken from there."""
    app = ps.App("app", on_error=ANY)
    own_time(app)
    app.stream("plain", key=str, value=View).to("copies")
    with TestDriver(app) as driver:
        driver.topic("in").send(View(7), key="a", at=-1)
        driver.topic("plain").send(View(7), key="a", at=-1)
        assert driver.topic("copies").read_timestamps() == [-1]
        (told,) = driver.topic("dead").read_headers()
    assert b"no timestamp (-1)" in (told["__penstock.error.message"] or b"")
    other = ps.App("other")
    windowed(other)
    with TestDriver(other) as driver:
        driver.topic("in").send(View(7), key="a", at=-1)


@pytest.mark.parametrize("value", [b'{"at": -1}', b'{"at": "soon"}', b'{"at": null}', b"{}"])
def test_a_value_without_a_time_goes_by_the_policy(value: bytes) -> None:
    app = ps.App("app", on_error=ANY)
    stream = app.stream("in", key=str, value=dict[str, Any], timestamp="at")
    stream.group_by_key().window(tumbling("1m")).count(name="n").to("out")
    with TestDriver(app) as driver:
        with driver.batch():
            for bytes_ in (b'{"at": 1}', value, b'{"at": 2}'):
                driver.topic("in").send_bytes(bytes_, key=b"a")
        assert [row for _, row in driver.topic("dead").read()] == [value]
        assert [n for _, n in driver.topic("out").read()] == [2]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns", "iso"])
def test_a_topic_and_a_stream_take_the_same_event_times(unit: Any) -> None:
    """By path and by function, in every unit."""
    value: Any = {"s": 1, "ms": 1_000, "us": 10**6, "ns": 10**9, "iso": "1970-01-01T00:00:01Z"}
    fields = {"at": value[unit]}
    app = ps.App("app")
    for name, selector in (("path", "at"), ("function", lambda of: of["at"])):
        kind = dict[str, Any]
        app.stream(name, key=str, value=kind, timestamp=selector, unit=unit).to("out")
        app.stream(
            ps.Topic(f"{name}-topic", key=str, value=kind, timestamp=selector, unit=unit)
        ).to("out")
    with TestDriver(app) as driver:
        for name in ("path", "function", "path-topic", "function-topic"):
            driver.topic(name).send(fields, key="a", at=77)
        assert driver.topic("out").read_timestamps() == [1_000] * 4


def test_both_times_of_a_record_are_there() -> None:
    """When it was, and when it came; behind an aggregation there is no record that came."""
    seen: list[tuple[int, int]] = []

    def note(record: ps.Record[str, Any]) -> tuple[str, int]:
        seen.append((record.timestamp, record.arrival))
        return record.key, 1

    app = ps.App("app")
    stream = app.stream("in", key=str, value=View, timestamp="at")
    stream.filter(lambda view: view.at > 1).map_record(note, key=str, value=int).to("out")
    app.stream("own", key=str, value=View).map_record(note, key=str, value=int).to("out")
    counts = app.stream("counted", key=str, value=View, timestamp="at").group_by_key()
    table = counts.count(name="n", emit="every_update")
    table.to_stream().map_record(note, key=str, value=int).to("out")
    with TestDriver(app) as driver:
        with driver.batch():
            driver.topic("in").send(View(1), key="a", at=70)
            driver.topic("in").send(View(5), key="a", at=71)
        driver.topic("own").send(View(5), key="a", at=72)
        driver.topic("counted").send(View(6), key="a", at=73)
    assert seen == [(5, 71), (72, 72), (6, -1)]


def test_both_times_stay_with_their_record() -> None:
    chunk = Chunk(["a", "b", "c"], [1, 2, 3], offsets=[0, 1, 2], arrivals=[7, 8, 9])
    assert chunk.select([1, 0, 1]).arrivals == [7, 9]
    assert chunk.repeat([0, 2, 1], ["x", "y", "z"]).arrivals == [8, 8, 9]
    assert chunk.with_values(["x", "y", "z"]).with_records("abc", "def").arrivals == [7, 8, 9]


def test_inputs_are_ordered_by_the_times_that_there_are() -> None:
    """One value without a time does not bring its neighbours out of their order."""
    source = Source(("in",), RAW, data_type(View), extract=lambda view: view.at)
    values = [b'{"at": 5}', b"nonsense", None, b'{"at": 3}']
    fetched = Fetched("in", 0, [None] * 4, values, [70, 71, 72, 73], range(4), None, 4)
    assert source.event_times(fetched) == [5, 71, 72, 3]


def test_a_guard_that_knows_no_clock_asks_for_a_time_only() -> None:
    guard = TimeGuard(DAY)
    assert guard.passes(0, NOW * 10)
    assert not guard.passes(-1, 5)
    assert not guard.at(NOW).passes(0, NOW + DAY + 1)
    guard.at(NOW).check(NOW + DAY, NOW, None)
