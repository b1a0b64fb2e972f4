"""Windows of the results of windows: they come late by design, and are never too late.

The results of one step are grouped and windowed again, in the same task or behind a repartition
topic. A naive interpreter computes the first windows from all records and the second ones from
all results of the first, however the input is cut, and whatever is aborted or lost in between.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import penstock as ps
from penstock.engine import task as engine
from penstock.testing import TestDriver
from penstock.windows import SessionWindows, TimeWindows, Windowed, hopping, session, tumbling
from tests.unit.test_sessions import GAP
from tests.unit.test_sessions import Naive as NaiveSessions
from tests.unit.test_windows import Naive as NaiveWindows
from tests.unit.test_windows import Row, cut

Windows = TimeWindows | SessionWindows
FIRST = st.sampled_from([tumbling("10ms"), hopping("10ms", "3ms"), session(f"{GAP}ms")])
SECOND = st.sampled_from([tumbling("10ms"), tumbling("2ms"), hopping("7ms", "2ms"), tumbling("1s")])
ROWS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 60)), min_size=2, max_size=30)
SLICES = st.sampled_from([1, 2, 3, 20_000])
FAR_MS = 10_000  # behind all windows of the rows
RARE = "c"  # the only key that comes through the filter


@dataclass(frozen=True)
class Plan:
    """A chain.

    Attributes:
        first: the windows of the records.
        second: those of their results.
        grace: that of both.
        regrouped: whether the results go through a repartition topic.
        fed: whether the records do, in front of the first windows.
        filtered: whether most records are dropped in front of the first windows.
    """

    first: Windows
    second: TimeWindows
    grace: int
    regrouped: bool
    fed: bool = False
    filtered: bool = False

    @property
    def open_ms(self) -> int:
        first = self.first
        return (first.gap_ms if isinstance(first, SessionWindows) else first.size_ms) + self.grace

    def app(self) -> ps.App:
        app = ps.App("app")
        records = app.stream("in", key=str, value=str)
        if self.filtered:
            records = records.filter(lambda key: key == RARE)
        grouped = records.group_by(same, key=str, name="f") if self.fed else records.group_by_key()
        windowed: Any = grouped.window(self.first, grace=f"{self.grace}ms")
        results = windowed.count(name="first").to_stream(output_mode="append")
        if self.regrouped:
            again = results.group_by(parity, key=str, name="by-parity")
        else:
            again = results.group_by_key()
        table = again.window(self.second, grace=f"{self.grace}ms").count(name="second")
        table.to("out", output_mode="append")
        return app


def same(key: str) -> str:
    return key


def parity(count: int) -> str:
    return str(count % 2)


class Naive:
    """The chain over all records."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.seen = -1
        self.first: Any
        if isinstance(plan.first, SessionWindows):
            self.first = NaiveSessions(plan.grace)
        else:
            self.first = NaiveWindows(plan.first, plan.grace)
        self.newest: dict[Windowed[str], int] = {}

    def add(self, row: Row) -> None:
        self.seen = max(self.seen, row[1])
        if self.plan.filtered and row[0] != RARE:
            return
        self.first.add(row)
        for window in self._open():
            if window.key == row[0] and window.start <= row[1] < window.end:
                self.newest[window] = max(self.newest.get(window, 0), row[1])

    def _open(self) -> dict[Windowed[str], int]:
        return self._results(closed=False)

    def _results(self, *, closed: bool) -> dict[Windowed[str], int]:
        first = self.first
        if isinstance(first, NaiveSessions):
            return {window: count for window, (count, _) in first.results(closed=closed).items()}
        done = dict(first.finals())
        return done if closed else {w: n for w, n in first.counts.items() if w not in done}

    def finals(self) -> dict[Windowed[Any], int]:
        """The second windows that are closed, with their counts."""
        plan, clock = self.plan, self.seen - self.plan.open_ms
        held = [self._time_of(window) for window in self._open()]
        counts: Counter[Windowed[Any]] = Counter()
        for window, count in self._results(closed=True).items():
            at = window.end if isinstance(plan.first, SessionWindows) else self.newest[window]
            key = parity(count) if plan.regrouped else window
            for start in plan.second.starts(at):
                counts[Windowed(key, start, start + plan.second.size_ms)] += 1
        return {w: n for w, n in counts.items() if w.end + plan.grace <= min([clock, *held])}

    def _time_of(self, window: Windowed[str]) -> int:
        return window.end if isinstance(self.plan.first, SessionWindows) else window.start


def abort(driver: TestDriver) -> None:
    """Process what has been sent, flush it, and forget it: its transaction was aborted."""
    for task in driver._tasks:
        clocks = dict(task.clocks)
        before = {topic: driver._positions[topic] for topic in task.part.topics}
        for topic in before:
            for fetched in driver._new(topic):
                task.process(fetched)
        task.flush()
        task.discard(clocks)
        driver._positions.update(before)


def check(plan: Plan, rows: Sequence[Row], data: st.DataObject) -> None:
    """Run a chain; compare results and late records with the naive interpreter's."""
    naive, late = Naive(plan), Counter[str]()
    with TestDriver(plan.app()) as driver:
        inputs, out = driver.topic("in"), driver.topic("out")
        found: list[Any] = []
        for part, crashes in cut(rows, data):
            with driver.batch():
                for key, at in part:
                    naive.add((key, at))
                    inputs.send(key, key=key, at=at)
                if data.draw(st.booleans()):
                    abort(driver)
            found += out.read()
            check_closed(found, naive)
            for task in driver._tasks:
                late += task.take_tally().late
            if crashes:
                driver.crash()
        for row in [(RARE, FAR_MS), (RARE, 2 * FAR_MS)]:
            naive.add(row)
            inputs.send(row[0], key=row[0], at=row[1])
            found += out.read()
        assert dict(found) == naive.finals()
        for task in driver._tasks:
            late += task.take_tally().late
    assert late["second"] == 0
    assert late["first"] == naive.first.late


def check_closed(found: list[Any], naive: Naive) -> None:
    """Compare what has closed so far with what may have.

    Who looks when a session may be over looks early, and sees then that it has grown. Until then
    those behind wait for the session as it was.
    """
    starts = [window.start for window, _ in found]
    assert starts == sorted(starts)
    assert len(found) == len(dict(found)), "a window has closed twice"
    if isinstance(naive.plan.first, SessionWindows):
        assert dict(found).items() <= naive.finals().items()
    else:
        assert dict(found) == naive.finals()


@pytest.mark.parametrize("regrouped", [False, True])
@settings(max_examples=300)
@given(FIRST, SECOND, st.integers(0, 5), SLICES, ROWS, st.data())
def test_results_of_windows_are_windowed_again(
    regrouped: bool,
    first: Windows,
    second: TimeWindows,
    grace: int,
    slice_: int,
    rows: list[Row],
    data: st.DataObject,
) -> None:
    """Records may be late for the first windows, results never for the second ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "CLOSED_AT_ONCE", slice_)
        check(Plan(first, second, grace, regrouped), rows, data)


@pytest.mark.parametrize("regrouped", [False, True])
@pytest.mark.parametrize("kind", ["fed", "filtered"])
@settings(max_examples=300)
@given(FIRST, SECOND, st.integers(0, 5), SLICES, ROWS, st.data())
def test_time_that_others_move_makes_nothing_late(
    kind: str,
    regrouped: bool,
    first: Windows,
    second: TimeWindows,
    grace: int,
    slice_: int,
    rows: list[Row],
    data: st.DataObject,
) -> None:
    """Records in order, behind a repartition topic or a filter, which drops what moves time."""
    rows = sorted(rows, key=lambda row: row[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "CLOSED_AT_ONCE", slice_)
        flags = {kind: True}
        check(Plan(first, second, grace, regrouped, **flags), rows, data)


@pytest.mark.parametrize("regrouped", [False, True])
def test_what_comes_behind_waits_for_windows_that_are_there_alone(regrouped: bool) -> None:
    """Others have moved time on since the last record; no window lies between the two."""
    plan = Plan(ps.tumbling("10ms"), ps.tumbling("10ms"), 1, regrouped, filtered=True)
    with TestDriver(plan.app()) as driver:
        with driver.batch():
            for key, at in [(RARE, 0), (RARE, 20), ("a", 22)]:
                driver.topic("in").send(key, key=key, at=at)
        assert len(driver.topic("out").read()) == 1
