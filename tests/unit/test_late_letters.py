"""Late records in their topic: each once, as it was read, whatever becomes of its neighbours."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import penstock as ps
from penstock.errors import DataError, TopologyError
from penstock.operators.aggregation import Group
from penstock.operators.chunk import Chunk
from penstock.serde.primitives import STR
from penstock.testing import TestDriver
from penstock.windows import TimeWindows, hopping, session, tumbling
from tests.unit.test_sessions import GAP
from tests.unit.test_sessions import Naive as NaiveSessions
from tests.unit.test_windows import WINDOWS, cut

BAD = -1
PREFIX = "__penstock.late."


class Sent(NamedTuple):
    """A record: a value of BAD fails where an application looks at it."""

    key: str
    at: int
    value: int


class Letter(NamedTuple):
    """What a letter has to say."""

    key: bytes
    value: bytes
    offset: int
    windows: list[tuple[int, int]]
    clock: int


ROWS = st.lists(
    st.builds(
        Sent, st.sampled_from("abc"), st.integers(0, 60), st.sampled_from((1, 1, 1, 1, 2, 3, BAD))
    ),
    max_size=30,
)


def picky(value: int) -> int:
    if value == BAD:
        raise ValueError("bad")
    return value


def plain(stream: Any) -> Any:
    return stream.filter(lambda value: value != BAD)


def left_out(stream: Any) -> Any:
    """Where nothing else has come of it, a record is left out of its chunk."""
    return stream.map(picky, value=int)


def two_ways(stream: Any) -> Any:
    """A record that fails has been counted as late before: its chunk is run again."""
    stream.map(picky, value=int).to("other")
    return stream


def in_the_fold(stream: Any) -> Any:
    """Nobody can tell which record it was: they are run one by one. What is late is not folded."""
    return stream


def several(stream: Any) -> Any:
    """One record becomes several, or none."""
    return stream.map(picky, value=int).flat_map(lambda n: [n] * (n % 3), value=int)


SHAPES: list[Callable[[Any], Any]] = [plain, left_out, two_ways, in_the_fold, several]


def app_of(shape: Callable[[Any], Any], windows: Any, grace: int) -> ps.App:
    app = ps.App("app", on_error="skip")
    if shape is two_ways:  # declared after the windows, it fails when they have seen the record
        stream = app.stream("in", key=str, value=int)
        table(stream, windows, grace)
        two_ways(stream)
    else:
        table(shape(app.stream("in", key=str, value=int)), windows, grace)
    return app


def table(stream: Any, windows: Any, grace: int) -> None:
    grouped = stream.group_by_key().window(windows, grace=f"{grace}ms", late="late")
    sums = grouped.aggregate(
        int, lambda n, value: n + picky(value), name="n", merge=lambda a, b: a + b
    )
    sums.to("finals", output_mode="append")


def times(shape: Callable[[Any], Any], row: Sent) -> int:
    """How many records come to the windows of one."""
    if row.value == BAD:
        return int(shape is in_the_fold)
    return row.value % 3 if shape is several else 1


def missed(windows: TimeWindows, grace: int, at: int, clock: int) -> list[tuple[int, int]]:
    """The windows of an instant that are closed at an operator time."""
    size = windows.size_ms
    advance, offset = windows.advance_ms, windows.offset_ms
    first = at - size + 1 if offset else max(0, at - size + 1)
    return [
        (start, start + size)
        for start in range(first, at + 1)
        if (start - offset) % advance == 0 and start + size + grace <= clock
    ]


def check(
    driver: TestDriver, rows: Sequence[Sent], expected: list[Letter], late: int, data: st.DataObject
) -> None:
    """Send rows, cut anyhow, and compare the letters and how many windows were missed."""
    counted = 0
    for part, crashes in cut(rows, data):  # type: ignore[arg-type]
        with driver.batch():
            for key, at, value in part:  # type: ignore[misc]
                driver.topic("in").send(value, key=key, at=at, headers=[("h", key.encode())])
        counted += sum(driver._tasks[0].take_tally().late.values())
        if crashes:
            driver.crash()
    topic = driver.topic("late")
    found = [
        Letter(key, value, int(told[PREFIX + "offset"] or 0), _windows(told), _clock(told))
        for (key, value), told in zip(topic.read(), topic.read_headers(), strict=True)
    ]
    assert found == expected
    assert counted == late
    assert topic.read_timestamps() == [rows[letter.offset].at for letter in expected]
    assert all(told["h"] == letter.key for told, letter in zip(
        topic.read_headers(), expected, strict=True
    ))  # fmt: skip


def _windows(told: dict[str, bytes | None]) -> list[tuple[int, int]]:
    starts, ends = (
        [int(at) for at in (told[f"{PREFIX}window.{name}"] or b"").split(b",")]
        for name in ("start", "end")
    )
    return list(zip(starts, ends, strict=True))


def _clock(told: dict[str, bytes | None]) -> int:
    return int(told[PREFIX + "stream_time"] or 0)


def _encoded(row: Sent) -> tuple[bytes, bytes]:
    return row.key.encode(), row.value.to_bytes(8, "big", signed=True)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
@settings(max_examples=60)
@given(WINDOWS, st.integers(0, 15), ROWS, st.data())
def test_late_records_are_those_of_the_naive_interpreter(
    shape: Callable[[Any], Any], windows: TimeWindows, grace: int, rows: list[Sent],
    data: st.DataObject,
) -> None:  # fmt: skip
    clock, late = -1, 0
    expected: list[Letter] = []
    for offset, row in enumerate(rows):
        copies, moved = times(shape, row), max(clock, row.at)
        found = missed(windows, grace, row.at, moved)
        fails = row.value == BAD and len(found) < len(missed(windows, 0, row.at, 10**6))
        if not copies or fails:
            continue
        clock = moved
        if found:
            late += copies * len(found)
            expected.append(Letter(*_encoded(row), offset, found, clock))
    with TestDriver(app_of(shape, windows, grace)) as driver:
        check(driver, rows, expected, late, data)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
@settings(max_examples=40)
@given(st.integers(0, 4), ROWS, st.data())
def test_records_too_late_for_a_session_are_those_of_the_naive_interpreter(
    shape: Callable[[Any], Any], grace: int, rows: list[Sent], data: st.DataObject
) -> None:
    naive = NaiveSessions(grace)
    expected: list[Letter] = []
    for offset, row in enumerate(rows):
        before = naive.late
        is_late = NaiveSessions(grace, naive.clock)
        is_late.sessions = {key: [[*of] for of in own] for key, own in naive.sessions.items()}
        is_late.add((row.key, row.at))
        if row.value == BAD and not is_late.late:
            continue
        for _ in range(times(shape, row)):
            naive.add((row.key, row.at))
        if naive.late > before:
            letter = Letter(*_encoded(row), offset, [(row.at, row.at)], naive.clock)
            expected.append(letter)
    with TestDriver(app_of(shape, session(f"{GAP}ms"), grace)) as driver:
        check(driver, rows, expected, naive.late, data)


def behind_a_topic() -> ps.App:
    app = ps.App("app")
    stream = app.stream("in", key=str, value=int).group_by(str, key=str, name="by")
    stream.window(tumbling("10ms"), late="late").count(name="n").to("out")
    return app


def test_behind_a_repartition_topic_it_is_the_record_there() -> None:
    """Under its new key, with the headers that it came with."""
    with TestDriver(behind_a_topic()) as driver:
        for at in (50, 51, 3):  # time there goes on with the commits in front of the topic
            driver.topic("in").send(7, key="a", at=at, headers=[("h", b"x")])
        driver.topic("in").send(8, key="a", at=4)
        letters = driver.topic("late")
        assert letters.read() == [(b"7", b"\0" * 7 + b"\7"), (b"8", b"\0" * 7 + b"\x08")]
        first, second = letters.read_headers()
    assert first.pop("h") == b"x"
    assert first == {
        "__penstock.late.store": b"n",
        "__penstock.late.window.start": b"0",
        "__penstock.late.window.end": b"10",
        "__penstock.late.stream_time": b"50",
        "__penstock.late.topic": b"app-by-repartition",
        "__penstock.late.partition": b"0",
        "__penstock.late.offset": b"2",
        "__penstock.late.timestamp": b"3",
    }
    assert second["__penstock.late.offset"] == b"3"


def test_each_store_has_a_letter_of_its_own_and_two_inputs_keep_their_offsets() -> None:
    app = ps.App("app")
    merged = app.stream("one", key=str, value=str).merge(app.stream("two", key=str, value=str))
    grouped = merged.group_by_key()
    grouped.window(tumbling("10ms"), late="late").count(name="tens")
    grouped.window(hopping("20ms", "10ms"), late="late").count(name="twenties")
    with TestDriver(app) as driver:
        driver.topic("one").send("new", key="a", at=100)
        with driver.batch():
            driver.topic("one").send("old", key="a", at=15)
            driver.topic("two").send("older", key="b", at=5)
        letters = driver.topic("late")
        told = [
            tuple((of[PREFIX + name] or b"").decode() for name in ("topic", "offset", "store"))
            for of in letters.read_headers()
        ]
        values = [value for _, value in letters.read()]
        starts = [of[PREFIX + "window.start"] for of in letters.read_headers()]
    assert sorted(zip(told, values, starts, strict=True)) == [
        (("one", "1", "tens"), b"old", b"10"),
        (("one", "1", "twenties"), b"old", b"0,10"),
        (("two", "0", "tens"), b"older", b"0"),
        (("two", "0", "twenties"), b"older", b"0"),
    ]


def test_the_time_that_is_told_is_the_one_of_the_value() -> None:
    """The letter keeps the record's own timestamp."""
    app = ps.App("app")
    stream = app.stream("in", key=str, value=int, timestamp=lambda value: value)
    stream.group_by_key().window(tumbling("10ms"), late="late").count(name="n")
    with TestDriver(app) as driver:
        driver.topic("in").send(50, key="a", at=1_000)
        driver.topic("in").send(5, key="a", at=1_001, headers=[(PREFIX + "offset", b"old")])
        (told,) = driver.topic("late").read_headers()
        assert driver.topic("late").read_timestamps() == [1_001]
        (row,) = driver._logs["late"]
        assert [name for name, _ in row[3]].count(PREFIX + "offset") == 1
    assert (told[PREFIX + "timestamp"], told[PREFIX + "offset"]) == (b"5", b"1")


def test_records_of_no_group_are_not_late() -> None:
    """And those behind them keep their coordinates."""
    app = ps.App("app")
    stream = app.stream("in", value=str).map(lambda text: text or None, value=str)
    stream.group_by_key().window(tumbling("10ms"), late="late").count(name="n")
    with TestDriver(app) as driver:
        driver.topic("in").send("x", key=b"a", at=100)
        with driver.batch():
            for key, value in (
                (None, "x"),
                (b"a", ""),
                (b"a", "late"),
                (None, "x"),
                (b"b", "late"),
            ):
                driver.topic("in").send(value, key=key, at=1)
        assert driver.topic("late").read() == [(b"a", b"late"), (b"b", b"late")]
        offsets = [told[PREFIX + "offset"] for told in driver.topic("late").read_headers()]
        assert offsets == [b"3", b"5"]


def test_a_group_knows_where_its_records_stand_if_somebody_asks() -> None:
    chunk = Chunk([1, None, 3], [7, 8, 9], keys=["a", "b", None], offsets=[4, 5, 6])
    assert Group(chunk, STR, with_offsets=True).offsets == [4]
    assert Group(chunk, STR, with_offsets=True).repeated([2]).kept([False, True]).offsets == [4]
    assert Group(chunk, STR).repeated([2]).offsets is None


def test_a_batch_that_is_aborted_leaves_no_letter() -> None:
    """Neither does the record behind that fails, nor what it was counted as."""
    app = ps.App("app")
    stream = app.stream("in", key=str, value=int)
    stream.group_by_key().window(tumbling("10ms"), late="late").count(name="n")
    stream.map(picky, value=int).to("out")
    with TestDriver(app) as driver:
        driver.topic("in").send(1, key="a", at=100)
        with pytest.raises(DataError), driver.batch():
            driver.topic("in").send(1, key="a", at=1)
            driver.topic("in").send(BAD, key="a", at=2)
        assert driver.topic("late").read() == []
        assert not driver._tasks[0].take_tally().late
        driver.topic("in").send(1, key="b", at=1)
        assert [key for key, _ in driver.topic("late").read()] == [b"b"]
        assert driver._tasks[0].take_tally().late == {"n": 1}


def test_a_record_that_fails_at_flush_has_been_late_once() -> None:
    """The batch is run again, one record at a time."""
    app = ps.App("app", on_error="skip")
    stream = app.stream("in", key=str, value=int)
    stream.group_by_key().window(tumbling("10ms"), late="late").count(name="n")
    newest = stream.group_by_key().reduce(lambda _, new: new, name="newest")
    newest.to_stream().map(picky, value=int).to("out")
    with TestDriver(app) as driver:
        with driver.batch():
            for at, value in ((100, 1), (1, 1), (2, 1), (3, BAD)):
                driver.topic("in").send(value, key="a", at=at)
        assert [len(task.take_failures()) for task in driver._tasks] == [1]
        offsets = [told[PREFIX + "offset"] for told in driver.topic("late").read_headers()]
        assert offsets == [b"1", b"2"]
        assert driver._tasks[0].take_tally().late == {"n": 2}


def test_a_record_larger_than_the_topic_goes_without_its_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = ps.App("app")
    stream = app.stream("in", value=str).map_record(lambda r: ("k", r.value), key=str, value=str)
    stream.repartition(name="by").group_by_key().window(tumbling("10ms")).count(name="other")
    raw = app.stream("raw", key=str, value=bytes).group_by_key()
    raw.window(tumbling("10ms"), late="late").count(name="n")
    with TestDriver(app) as driver:
        driver.topic("raw").send(b"", key="a", at=100)
        monkeypatch.setattr(TestDriver, "max_message_bytes", lambda self, topic: 700)
        driver.topic("raw").send(b"x" * 700, key="k", at=1)
        driver.topic("raw").send(b"x", key="k" * 700, at=2)
        assert driver.topic("late").read() == [(b"k", None), (None, None)]
        first, second = driver.topic("late").read_headers()
    assert (first[PREFIX + "omitted"], first[PREFIX + "store"]) == (b"value", b"n")
    assert second[PREFIX + "omitted"] == b"key, value, headers"


def reads_its_own(app: ps.App) -> None:
    stream = app.stream("late", key=str, value=int)
    stream.group_by_key().window(tumbling("1s"), late="late").count(name="n")


def behind_a_table(app: ps.App) -> None:
    counts = app.stream("in", key=str, value=int).group_by_key().count(name="counts")
    again = counts.to_stream().group_by_key()
    again.window(tumbling("1s"), late="late").count(name="n")


@pytest.mark.parametrize(
    ("declare", "told"),
    [
        (reads_its_own, "reads late, where its own late records go"),
        (behind_a_table, r"results of count counts, which stand in no topic.*repartition"),
    ],
)
def test_what_can_have_no_letters_is_refused(declare: Callable[[ps.App], None], told: str) -> None:
    app = ps.App("app")
    declare(app)
    with pytest.raises(TopologyError, match=told):
        app.topology()


@pytest.mark.parametrize("wrong", ["", 5])
def test_late_names_a_topic(wrong: Any) -> None:
    grouped = ps.App("app").stream("in", key=str, value=int).group_by_key()
    with pytest.raises(TopologyError, match="names no topic"):
        grouped.window(tumbling("1s"), late=wrong)


def test_behind_a_table_a_topic_in_between_helps() -> None:
    app = ps.App("app")
    windows = app.stream("in", key=str, value=int).group_by_key().window(tumbling("10ms"))
    finals = windows.count(name="first").to_stream(output_mode="append")
    again = finals.rekey(lambda n: "all", key=str, name="all").group_by_key()
    again.window(tumbling("10ms"), late="late").count(name="n")
    assert app.topology().nodes


def test_only_for_late_letters_more_is_read_than_windows_need() -> None:
    """Headers are written to the repartition topic too, where letters are to have them."""
    for late, read in (("late", True), (None, False)):
        app = ps.App("app")
        stream = app.stream("in", key=str, value=int).group_by(str, key=str, name="by")
        stream.window(tumbling("10ms"), late=late).count(name="n").to("out")
        topology = app.topology()
        found = [topology.reads(node, "headers") for node in topology if node.source]
        assert found == [read, read]
        assert ("sends late records to late" in app.describe()) is read
