"""The worked examples of Kafka Streams and Spark, with their own numbers.

Each case names where it is from: a test of Apache Kafka or of Apache Spark, or a section of
Spark's Structured Streaming Programming Guide. What Kafka Streams starts with as "0" is left
out; what Spark calls a watermark of some delay is a grace of that length here. Where Penstock
differs on purpose, the case says so.
"""

from dataclasses import dataclass
from typing import Any, Literal

import pytest

import penstock as ps
from penstock.testing import TestDriver
from penstock.windows import hopping, session, sliding, tumbling

Input = tuple[str, str, int]  # key, value, event time
Result = tuple[str, int, int, str | None]  # key, start, end, what the values are put together to

MINUTE, SECOND = 60_000, 1_000
EVENING = 19 * 60 + 39  # 19:39 of 2016-03-27 in Spark's tests; windows are the same every day


@dataclass(frozen=True)
class Case:
    """An example.

    Attributes:
        source: where it is from.
        windows: of which kind.
        grace: how long they wait.
        inputs: what comes in, in this order.
        results: what comes out: every update, or each result once.
        mode: which of both.
        late: how many windows records came too late for; of sessions and sliding ones, records.
    """

    source: str
    windows: Any
    grace: str
    inputs: list[Input]
    results: list[Result]
    mode: Literal["update", "append"] = "update"
    late: int = 0


def numbered(key: str, *times: int) -> list[Input]:
    return [(key, str(number), at) for number, at in enumerate(times, 1)]


SMALL = numbered("A", 10, 10, 14, 15, 20, 22, 30)
REDUCED = numbered("A", 10, 14, 15, 22, 26, 30)
LARGE: list[Input] = [
    *numbered("A", 10, 20, 22, 15),
    *numbered("B", 12, 13, 18, 19, 25, 14),
    *numbered("C", 11, 15, 16, 21, 23),
    ("D", "4", 11), ("D", "2", 12), ("D", "3", 29), ("D", "5", 16),
]  # fmt: skip


def of(key: str, size: int, *results: tuple[int, str]) -> list[Result]:
    return [(key, start, start + size, value) for start, value in results]


SLIDING = [
    Case(
        "KStreamSlidingWindowAggregateTest.testAggregateSmallInput, ON_WINDOW_UPDATE",
        sliding("10ms"), "5ms", SMALL,
        of("A", 10, (0, "1"), (0, "1+2"), (4, "1+2+3"), (11, "3"), (5, "1+2+3+4"), (11, "3+4"),
           (15, "4"), (10, "1+2+3+4+5"), (11, "3+4+5"), (15, "4+5"), (16, "5"), (12, "3+4+5+6"),
           (15, "4+5+6"), (16, "5+6"), (21, "6"), (20, "5+6+7"), (21, "6+7"), (23, "7")),
    ),
    Case(
        "KStreamSlidingWindowAggregateTest.testAggregateSmallInput, ON_WINDOW_CLOSE",
        sliding("10ms"), "5ms", SMALL,
        of("A", 10, (0, "1+2"), (4, "1+2+3"), (5, "1+2+3+4"), (10, "1+2+3+4+5"), (11, "3+4+5"),
           (12, "3+4+5+6")),
        "append",
    ),
    Case(
        "KStreamSlidingWindowAggregateTest.testReduceSmallInput, ON_WINDOW_UPDATE",
        sliding("10ms"), "5ms", REDUCED,
        of("A", 10, (0, "1"), (4, "1+2"), (11, "2"), (5, "1+2+3"), (11, "2+3"), (15, "3"),
           (12, "2+3+4"), (15, "3+4"), (16, "4"), (16, "4+5"), (23, "5"), (20, "4+5+6"),
           (23, "5+6"), (27, "6")),
    ),
    Case(
        "KStreamSlidingWindowAggregateTest.testReduceSmallInput, ON_WINDOW_CLOSE",
        sliding("10ms"), "5ms", REDUCED,
        of("A", 10, (0, "1"), (4, "1+2"), (5, "1+2+3"), (11, "2+3"), (12, "2+3+4")), "append",
    ),
    Case(
        "KStreamSlidingWindowAggregateTest.testEarlyRecordsLargeInput, ON_WINDOW_CLOSE",
        sliding("10ms"), "1ms",
        [("E", value, at) for value, at in [("1", 0), ("3", 5), ("4", 6), ("2", 3), ("6", 13),
                                            ("5", 10), ("7", 4), ("8", 2), ("9", 15)]],
        of("E", 10, (0, "1+3+4+2"), (1, "3+4+2"), (3, "3+4+2+6+5+7")), "append",
    ),
    Case(
        "KStreamSlidingWindowAggregateTest.testEarlyNoGracePeriodSmallInput, ON_WINDOW_CLOSE",
        sliding("50ms"), "0s", numbered("A", 0, 5, 6, 3, 13, 10, 70),
        of("A", 50, (0, "1+2+3+4+5+6"), (1, "2+3+4+5+6"), (4, "2+3+5+6"), (6, "3+5+6"),
           (7, "5+6"), (11, "5")), "append",
    ),
    Case(
        "KStreamSlidingWindowAggregateTest.testNoGracePeriodSmallInput, ON_WINDOW_CLOSE",
        sliding("50ms"), "0s", numbered("A", 100, 105, 106, 103, 113, 110),
        of("A", 50, (50, "1"), (55, "1+2"), (56, "1+2+3+4")), "append",
    ),
    Case(
        "KStreamSlidingWindowAggregateTest.testAggregateLargeInput, ON_WINDOW_CLOSE. There the"
        " windows of C lack the record at 11, and nothing but its own window was closed",
        sliding("10ms"), "10ms", LARGE,
        [*of("A", 10, (0, "1")), *of("B", 10, (2, "1"), (3, "1+2")), *of("A", 10, (5, "1+4")),
         *of("C", 10, (5, "1+2"), (6, "1+2+3")), *of("B", 10, (8, "1+2+3+6"))],
        "append",
    ),
]  # fmt: skip

FINAL_OF_LARGE: list[Result] = [
    *of("A", 10, (0, "1"), (5, "1+4"), (10, "1+2+4"), (11, "2+4"), (12, "2+3+4"), (16, "2+3"),
        (21, "3")),
    *of("B", 10, (2, "1"), (3, "1+2"), (4, "1+2+6"), (8, "1+2+3+6"), (9, "1+2+3+4+6"),
        (13, "2+3+4+6"), (14, "3+4+6"), (15, "3+4+5"), (19, "4+5"), (20, "5")),
    *of("C", 10, (1, "1"), (5, "1+2"), (6, "1+2+3"), (11, "1+2+3+4"), (12, "2+3+4"),
        (13, "2+3+4+5"), (16, "3+4+5"), (17, "4+5"), (22, "5")),
    *of("D", 10, (1, "4"), (2, "4+2"), (6, "4+2+5"), (12, "2+5"), (13, "5"), (19, "3")),
]  # fmt: skip

BASIC: list[Input] = [
    ("A", "1", 0), ("B", "2", 1), ("C", "3", 2), ("D", "4", 3), ("A", "1", 4), ("A", "1", 5),
    ("B", "2", 6), ("D", "4", 7), ("B", "2", 8), ("C", "3", 9), ("A", "1", 10), ("B", "2", 11),
    ("D", "4", 12), ("B", "2", 13), ("C", "3", 14), ("B", "1", 3), ("B", "2", 2), ("B", "3", 9),
]  # fmt: skip
BASIC_RESULTS = [
    ("A", 0, "1"), ("B", 0, "2"), ("C", 0, "3"), ("D", 0, "4"), ("A", 0, "1+1"),
    ("A", 0, "1+1+1"), ("A", 5, "1"), ("B", 0, "2+2"), ("B", 5, "2"), ("D", 0, "4+4"),
    ("D", 5, "4"), ("B", 0, "2+2+2"), ("B", 5, "2+2"), ("C", 0, "3+3"), ("C", 5, "3"),
    ("A", 5, "1+1"), ("A", 10, "1"), ("B", 5, "2+2+2"), ("B", 10, "2"), ("D", 5, "4+4"),
    ("D", 10, "4"), ("B", 5, "2+2+2+2"), ("B", 10, "2+2"), ("C", 5, "3+3"), ("C", 10, "3"),
    ("B", 0, "2+2+2+1"), ("B", 0, "2+2+2+1+2"), ("B", 0, "2+2+2+1+2+3"), ("B", 5, "2+2+2+2+3"),
]  # fmt: skip

TIME = [
    Case(
        "KStreamWindowAggregateTest.testAggBasic",
        hopping("10ms", "5ms"), "1d", BASIC,
        [(key, start, start + 10, value) for key, start, value in BASIC_RESULTS],
    ),
    Case(
        "KStreamWindowAggregateTest.shouldLogAndMeterWhenSkippingExpiredWindow, until(100)",
        hopping("10ms", "5ms"), "90ms",
        [("k", "100", 100), *[("k", str(at), at) for at in range(7)]],
        of("k", 10, (95, "100"), (100, "100"), (5, "5"), (5, "5+6")), late=7,
    ),
    Case(
        "KStreamWindowAggregateTest.shouldLogAndMeterWhenSkippingExpiredWindowByGrace",
        tumbling("10ms"), "90ms",
        [("k", "100", 200), *[("k", str(n), 100 + n) for n in range(6)], ("k", "6", 6)],
        of("k", 10, (200, "100")), late=7,
    ),
    Case(
        "EventTimeWatermarkSuite, append mode: 5 s windows, a watermark of 10 s",
        tumbling("5s"), "10s",
        [("", str(at), at * SECOND) for at in (10, 11, 12, 13, 14, 15, 25, 10)],
        of("", 5 * SECOND, (10 * SECOND, "10+11+12+13+14")), "append", late=1,
    ),
    Case(
        "EventTimeWatermarkSuite, update mode: the second 10 is behind the watermark",
        tumbling("5s"), "10s",
        [("", str(at), at * SECOND) for at in (14, 15, 25, 10, 25)],
        of("", 5 * SECOND, (10 * SECOND, "14"), (15 * SECOND, "15"), (25 * SECOND, "25"),
           (25 * SECOND, "25+25")), late=1,
    ),
    Case(
        "DataFrameTimeWindowingSuite, sliding window grouping: 10 s every 3 s",
        hopping("10s", "3s"), "1d",
        [("", str(second), EVENING * MINUTE + second * SECOND) for second in (34, 56, 27)],
        [("", EVENING * MINUTE + start * SECOND, EVENING * MINUTE + (start + 10) * SECOND, value)
         for start, value in [(27, "34"), (30, "34"), (33, "34"), (48, "56"), (51, "56"),
                              (54, "56"), (18, "27"), (21, "27"), (24, "27"), (27, "34+27")]],
    ),
    Case(
        "DataFrameTimeWindowingSuite, tumbling window groupBy statement with startTime of 5 s",
        tumbling("10s", offset="5s"), "1d",
        [("", str(second), EVENING * MINUTE + second * SECOND) for second in (34, 56, 27)],
        [("", EVENING * MINUTE + start * SECOND, EVENING * MINUTE + (start + 10) * SECOND, value)
         for start, value in [(25, "34"), (55, "56"), (25, "34+27")]],
    ),
]  # fmt: skip

GAP = 5 * MINUTE
SESSIONS = [
    Case(
        "KStreamSessionWindowAggregateProcessorTest.shouldCreateSingleSessionWhenWithinGap",
        session("5m"), "1d", [("john", "first", 0), ("john", "second", 500)],
        [("john", 0, 0, "first"), ("john", 0, 0, None), ("john", 0, 500, "first+second")],
    ),
    Case(
        "KStreamSessionWindowAggregateProcessorTest.shouldMergeSessions",
        session("5m"), "1d",
        [("mel", "first", 0), ("mel", "second", GAP + 1), ("mel", "third", GAP // 2)],
        [("mel", 0, 0, "first"), ("mel", GAP + 1, GAP + 1, "second"), ("mel", 0, 0, None),
         ("mel", GAP + 1, GAP + 1, None), ("mel", 0, GAP + 1, "first+second+third")],
    ),
    Case(
        "KStreamSessionWindowAggregateProcessorTest.shouldUpdateSessionIfTheSameTime",
        session("5m"), "1d", [("mel", "first", 0), ("mel", "second", 0)],
        [("mel", 0, 0, "first"), ("mel", 0, 0, "first+second")],
    ),
    Case(
        "KStreamSessionWindowAggregateProcessorTest."
        "shouldImmediatelyForwardRemovedSessionsWhenMerging",
        session("5m"), "1d", [("a", "1", 0), ("a", "1", 5)],
        [("a", 0, 0, "1"), ("a", 0, 0, None), ("a", 0, 5, "1+1")],
    ),
    Case(
        "KStreamSessionWindowAggregateProcessorTest."
        "shouldLogAndMeterWhenSkippingLateRecordWithZeroGrace",
        session("10ms"), "0s",
        [("dummy", "", 10), ("OnTime1", "1", 0), ("dummy", "", 11), ("Late1", "1", 0)],
        [("dummy", 10, 10, ""), ("OnTime1", 0, 0, "1"), ("dummy", 10, 10, None),
         ("dummy", 10, 11, "+")],
        late=1,
    ),
    Case(
        "KStreamSessionWindowAggregateProcessorTest."
        "shouldLogAndMeterWhenSkippingLateRecordWithNonzeroGrace",
        session("10ms"), "1ms",
        [("dummy", "", 11), ("OnTime1", "1", 0), ("dummy", "", 12), ("Late1", "1", 0)],
        [("dummy", 11, 11, ""), ("OnTime1", 0, 0, "1"), ("dummy", 11, 11, None),
         ("dummy", 11, 12, "+")],
        late=1,
    ),
    Case(
        "DataFrameSessionWindowingSuite, session window groupBy statement: 10 s. Spark's end is"
        " the last record and the gap, Kafka Streams' and this one's is the last record",
        session("10s"), "1d",
        [("", str(second), EVENING * MINUTE + second * SECOND) for second in (34, 56, 27)],
        [("", EVENING * MINUTE + start * SECOND, EVENING * MINUTE + end * SECOND, value)
         for start, end, value in [(34, 34, "34"), (56, 56, "56"), (34, 34, None),
                                   (27, 34, "34+27")]],
    ),
]  # fmt: skip


def put_together(case: Case) -> tuple[list[Result], int]:
    """Run an example record by record; return its results, and how many were late."""
    app = ps.App("app")
    grouped = app.stream("in", key=str, value=str).group_by_key()
    table = grouped.window(case.windows, grace=case.grace).reduce(
        lambda so_far, value: f"{so_far}+{value}", name="results", emit="every_update"
    )
    table.to("out", output_mode=case.mode)
    with TestDriver(app) as driver:
        inputs = driver.topic("in")
        for key, value, at in case.inputs:
            inputs.send(value, key=key, at=at)
        results = [(w.key, w.start, w.end, value) for w, value in driver.topic("out").read()]
        return results, driver._tasks[0].take_tally().late["results"]


@pytest.mark.parametrize("case", [*SLIDING, *TIME, *SESSIONS], ids=lambda case: case.source)
def test_results_are_those_of_the_source(case: Case) -> None:
    results, late = put_together(case)
    assert results == case.results
    assert late == case.late


def test_the_large_input_of_sliding_windows_ends_as_in_its_source() -> None:
    """KStreamSlidingWindowAggregateTest.testAggregateLargeInput, ON_WINDOW_UPDATE."""
    case = Case("", sliding("10ms"), "50ms", LARGE, [])
    results, late = put_together(case)
    last = {(key, start, end): value for key, start, end, value in results}
    assert sorted((*place, value) for place, value in last.items()) == sorted(FINAL_OF_LARGE)
    assert late == 0


@pytest.mark.parametrize(
    ("windows", "at", "starts"),
    [
        # TimeWindowsTest: shouldComputeWindowsForHoppingWindows, ...BarelyOverlappingHopping...,
        # ...TumblingWindows
        (hopping("12ms", "5ms"), 21, [10, 15, 20]),
        (hopping("6ms", "5ms"), 7, [5]),
        (tumbling("12ms"), 21, [12]),
    ],
)
def test_windows_of_an_instant_are_those_of_the_source(
    windows: Any, at: int, starts: list[int]
) -> None:
    assert list(windows.starts(at)) == starts


def words(*rows: tuple[str, str]) -> list[tuple[str, int]]:
    """Make words of lines such as ("12:02", "cat dog")."""
    return [(word, clock(at)) for at, line in rows for word in line.split()]


def clock(at: str) -> int:
    hours, minutes = at.split(":")
    return (int(hours) * 60 + int(minutes)) * MINUTE


Counts = dict[tuple[str, str], int]


def counted(rows: list[tuple[str, int]], mode: Literal["update", "append"]) -> tuple[Counts, int]:
    """Count words in windows of 10 minutes every 5, by word and start, and what was late."""
    app = ps.App("app")
    by_word = app.stream("in", key=str, value=str).group_by_key()
    counts = by_word.window(hopping("10m", "5m"), grace="10m").count(name="n")
    counts.to("out", output_mode=mode)
    with TestDriver(app) as driver:
        for word, at in rows:
            driver.topic("in").send("", key=word, at=at)
        results = driver.topic("out").read()
        found = {
            (w.key, f"{w.start // MINUTE // 60}:{w.start // MINUTE % 60:02}"): n for w, n in results
        }
        return found, driver._tasks[0].take_tally().late["n"]


LINES = words(
    ("12:02", "cat dog"), ("12:03", "dog dog"), ("12:07", "owl cat"), ("12:11", "dog"),
    ("12:13", "owl"),
)  # fmt: skip


def test_window_operations_on_event_time() -> None:
    """Structured Streaming Programming Guide, Window Operations on Event Time."""
    counts, late = counted(LINES, "update")
    assert counts == {
        ("cat", "11:55"): 1, ("dog", "11:55"): 3,  # the guide shows windows from noon on
        ("cat", "12:00"): 2, ("dog", "12:00"): 3, ("owl", "12:00"): 1,
        ("cat", "12:05"): 1, ("owl", "12:05"): 2, ("dog", "12:05"): 1,
        ("dog", "12:10"): 1, ("owl", "12:10"): 1,
    }  # fmt: skip
    assert late == 0


def test_handling_late_data_and_watermarking() -> None:
    """The same guide: a watermark of 10 minutes.

    "(12:09, cat)" is out of order and in time; at "12:21" the watermark is 12:11, so "12:00 -
    12:10" is final, and "(12:04, donkey)" is too late.
    """
    rows = words(("12:14", "dog"), ("12:09", "cat"), ("12:15", "cat"), ("12:08", "dog"),
                 ("12:13", "owl"), ("12:21", "owl"), ("12:04", "donkey"), ("12:17", "owl"))  # fmt: skip
    counts, late = counted(rows, "update")
    assert not [word for word, _ in counts if word == "donkey"]
    assert counts["cat", "12:00"] == counts["dog", "12:00"] == 1
    assert (counts["cat", "12:05"], counts["dog", "12:05"]) == (1, 2)
    assert counts["owl", "12:15"] == 2
    assert late == 2
    finals, _ = counted(rows, "append")
    assert finals == {("cat", "12:00"): 1, ("dog", "12:00"): 1}
