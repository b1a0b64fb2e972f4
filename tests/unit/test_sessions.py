"""Sessions against a naive interpreter that keeps all records, however the input is cut."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import penstock as ps
from penstock import aggregators
from penstock.errors import TopologyError
from penstock.serde.sessions import KEY
from penstock.testing import TestDriver
from penstock.windows import Windowed, session
from tests.unit.test_windows import Row, cut

GAP = 3
GRACE = st.integers(0, 4)
# Close together, with few far ahead: whatever they close is of no interest any more.
TIMES = st.integers(0, 12) | st.integers(0, 30)
ROWS = st.lists(st.tuples(st.sampled_from("aab"), TIMES), min_size=3, max_size=14)


@dataclass
class Naive:
    """All records of each session, one by one."""

    grace: int
    clock: int = -1
    late: int = 0
    sessions: dict[str, list[list[int]]] = field(default_factory=dict[str, list[list[int]]])

    def add(self, row: Row) -> None:
        key, at = row
        self.clock = max(self.clock, at)
        own = self.sessions.setdefault(key, [])
        near = [
            times
            for times in own
            if not self.closed(times) and min(times) - GAP <= at <= max(times) + GAP
        ]
        merged = sorted([at, *(time for times in near for time in times)])
        if self.closed(merged):
            self.late += 1
            return
        self.sessions[key] = [times for times in own if times not in near] + [merged]

    def closed(self, times: list[int]) -> bool:
        return max(times) + GAP + self.grace < self.clock

    def results(self, *, closed: bool) -> dict[Windowed[str], tuple[int, int]]:
        return {
            Windowed(key, min(times), max(times)): (len(times), sum(times))
            for key, sessions in self.sessions.items()
            for times in sessions
            if self.closed(times) == closed
        }


def app_of(kind: str, grace: int, emit: Any = "commit") -> ps.App:
    app = ps.App("app")
    grouped = app.stream("in", key=str, value=int).group_by_key()
    sessions = grouped.window(session(f"{GAP}ms"), grace=f"{grace}ms")
    if kind == "agg":
        table: Any = sessions.agg(
            name="s", emit=emit, n=aggregators.count(), total=aggregators.sum(same)
        )
    else:
        table = sessions.aggregate(
            lambda: [0, 0], grow, merge=both, name="s", value=list[int], emit=emit
        )
    table.to("updates")
    table.to("finals", output_mode="append")
    return app


def same(value: int) -> int:
    return value


def grow(state: list[int], value: int) -> list[int]:
    """Change the state in place: nothing else may see that."""
    state[0] += 1
    state[1] += value
    return state


def both(a: list[int], b: list[int]) -> list[int]:
    return [a[0] + b[0], a[1] + b[1]]


def plain(value: Any) -> Any:
    return None if value is None else tuple(value.values() if isinstance(value, dict) else value)


@pytest.mark.parametrize("kind", ["agg", "aggregate"])
@settings(max_examples=400)
@given(grace=GRACE, rows=ROWS, data=st.data())
def test_results_are_those_of_the_naive_interpreter(
    kind: str, grace: int, rows: list[Row], data: st.DataObject
) -> None:
    """Updates with deletions of what was merged, each final once, the late counted."""
    naive, late = Naive(grace), 0
    with TestDriver(app_of(kind, grace)) as driver:
        inputs, updates, finals = map(driver.topic, ("in", "updates", "finals"))
        seen: dict[Any, Any] = {}
        final: dict[Any, Any] = {}
        for part, crashes in cut(rows, data):
            with driver.batch():
                for key, at in part:
                    naive.add((key, at))
                    inputs.send(at, key=key, at=at)
            for window, value in updates.read():
                if value is None:
                    assert seen.pop(window)
                else:
                    seen[window] = plain(value)
            found = finals.read()
            assert [w.end for w, _ in found] == sorted(w.end for w, _ in found)
            assert not final.keys() & {window for window, _ in found}
            final |= {window: plain(value) for window, value in found}
            late += sum(driver._tasks[0].take_tally().late.values())
            assert final == naive.results(closed=True)
            assert seen == naive.results(closed=False) | naive.results(closed=True)
            assert stored(driver) == naive.results(closed=False)
            if crashes:
                driver.crash()
        assert late == naive.late


def stored(driver: TestDriver) -> dict[Any, Any]:
    (overlay,) = driver._tasks[0].overlays.values()
    rows = overlay.scan(KEY, KEY + b"\xff")
    serde = overlay.definition.key
    return {
        Windowed(serde.decode(key), of.start, of.end): tuple(of.value)
        for key, (sessions, _) in rows
        for of in sessions
    }


@settings(max_examples=400)
@given(grace=GRACE, rows=ROWS)
def test_every_update_leads_from_one_result_to_the_next(grace: int, rows: list[Row]) -> None:
    naive = Naive(grace)
    with TestDriver(app_of("aggregate", grace, "every_update")) as driver:
        inputs, updates = driver.topic("in"), driver.topic("updates")
        with driver.batch():
            for key, at in rows:
                inputs.send(at, key=key, at=at)
        found = iter(updates.read())
        seen: dict[Any, Any] = {}
        for row in rows:
            late = naive.late
            naive.add(row)
            while naive.late == late:
                window, value = next(found)
                if value is not None:
                    seen[window] = tuple(value)
                    break
                del seen[window]
            assert seen == naive.results(closed=False) | naive.results(closed=True)
        assert list(found) == []


def test_sessions_need_to_know_how_accumulators_are_merged() -> None:
    app = ps.App("app")
    grouped = app.stream("in", key=str, value=int).group_by_key().window(session("1s"))
    with pytest.raises(TopologyError, match="Pass merge=, a function of two accumulators"):
        grouped.aggregate(list, lambda state, _: state, name="s", value=list[int])


def test_a_session_without_a_gap_is_refused() -> None:
    with pytest.raises(TopologyError, match="gap='0s' of a window is nothing"):
        session("0s")


def test_a_session_before_all_others_of_its_key_closes_in_time() -> None:
    """It came late, and closes before what was there already."""
    with TestDriver(app_of("agg", grace=4)) as driver:
        inputs, finals = driver.topic("in"), driver.topic("finals")
        for at in (10, 4, 12):
            inputs.send(at, key="a", at=at)
        assert [window for window, _ in finals.read()] == [Windowed("a", 4, 4)]


def test_sessions_that_hand_on_every_update_remember_nothing_of_them() -> None:
    with TestDriver(app_of("aggregate", 0, "every_update")) as driver:
        for at in range(0, 1_000, 100):
            driver.topic("in").send(0, key=f"key-{at}", at=at)
        (task,) = driver._tasks
        (node,) = task.part.stateful
        assert not task._steps.opened[node]._before
        assert not task._steps.opened[node]._changed


def test_deletions_are_as_old_as_what_they_delete() -> None:
    """KStreamSessionWindowAggregate forwards them so."""
    for emit in ("commit", "every_update"):
        with TestDriver(app_of("agg", 0, emit)) as driver:
            inputs, updates = driver.topic("in"), driver.topic("updates")
            for at in (4, 6):
                inputs.send(at, key="a", at=at)
            assert [window.end for window, _ in updates.read()] == [4, 4, 6]
            assert updates.read_timestamps() == [4, 4, 6]
