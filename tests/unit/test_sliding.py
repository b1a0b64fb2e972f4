"""Sliding windows against a naive interpreter that keeps all records, however the input is cut."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import penstock as ps
from penstock import aggregators
from penstock.engine import task
from penstock.serde.sessions import KEY
from penstock.testing import TestDriver
from penstock.windows import Windowed, sliding
from tests.unit.test_sessions import grow, plain, same
from tests.unit.test_windows import Row, cut

SIZE = 4
GRACE = st.integers(0, 6)
TIMES = st.integers(0, 10) | st.integers(0, 30)
ROWS = st.lists(st.tuples(st.sampled_from("aab"), TIMES), min_size=3, max_size=14)

Results = dict[Windowed[str], tuple[int, int]]


@dataclass
class Naive:
    """All records, one by one, and every window computed from them."""

    grace: int
    clock: int = -1
    late: int = 0
    times: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    finals: Results = field(default_factory=dict[Windowed[str], tuple[int, int]])

    def add(self, row: Row) -> None:
        """Read the results of what the record closes, then add it."""
        key, at = row
        if at > self.clock:
            self.finals |= {w: of for w, of in self.open().items() if self.closed(w.end, at)}
            self.clock = at
        if self.closed(at + SIZE, self.clock):
            self.late += 1
        else:
            self.times[key].append(at)

    def closed(self, end: int, clock: int) -> bool:
        return end < clock - self.grace

    def open(self) -> Results:
        """Every window that begins where a record comes in or has gone out."""
        found: Results = {}
        for key, times in self.times.items():
            for start in {max(0, at - SIZE) for at in times} | {at + 1 for at in times}:
                inside = [at for at in times if start <= at <= start + SIZE]
                if inside and not self.closed(start + SIZE, self.clock):
                    found[Windowed(key, start, start + SIZE)] = len(inside), sum(inside)
        return found


def app_of(kind: str, grace: int, emit: Any = "commit") -> ps.App:
    app = ps.App("app")
    grouped = app.stream("in", key=str, value=int).group_by_key()
    windows = grouped.window(sliding(f"{SIZE}ms"), grace=f"{grace}ms")
    if kind == "agg":
        table: Any = windows.agg(
            name="s", emit=emit, n=aggregators.count(), total=aggregators.sum(same)
        )
    else:
        table = windows.aggregate(lambda: [0, 0], grow, name="s", value=list[int], emit=emit)
    table.to("updates")
    table.to("finals", output_mode="append")
    return app


@pytest.mark.parametrize("limit", [1, 3, task.CLOSED_AT_ONCE])
@pytest.mark.parametrize("kind", ["agg", "aggregate"])
@settings(max_examples=150)
@given(grace=GRACE, rows=ROWS, data=st.data())
def test_results_are_those_of_the_naive_interpreter(
    kind: str, limit: int, grace: int, rows: list[Row], data: st.DataObject
) -> None:
    """Each update, each final once and in the order of windows, the late counted."""
    naive, late = Naive(grace), 0
    with (
        pytest.MonkeyPatch.context() as patch,
        TestDriver(app_of(kind, grace)) as driver,
    ):
        patch.setattr(task, "CLOSED_AT_ONCE", limit)
        inputs, updates, finals = map(driver.topic, ("in", "updates", "finals"))
        seen: dict[Any, Any] = {}
        final: dict[Any, Any] = {}
        for part, crashes in cut(rows, data):
            with driver.batch():
                for key, at in part:
                    naive.add((key, at))
                    inputs.send(at, key=key, at=at)
            seen |= {window: plain(value) for window, value in updates.read()}
            found = finals.read()
            assert [w.end for w, _ in found] == sorted(w.end for w, _ in found)
            assert not final.keys() & {window for window, _ in found}
            final |= {window: plain(value) for window, value in found}
            late += sum(driver._tasks[0].take_late().values())
            assert final == naive.finals
            assert seen == naive.finals | naive.open()
            assert stored(driver) == naive.open()
            if crashes:
                driver.crash()
        assert late == naive.late


def stored(driver: TestDriver) -> Results:
    """What the store holds as results: closed windows have left it."""
    (overlay,) = driver._tasks[0].overlays.values()
    rows = overlay.scan(KEY, KEY + b"\xff")
    serde = overlay.definition.key
    return {
        Windowed(serde.decode(key), of.start, of.start + SIZE): tuple(of.value)
        for key, (state, _) in rows
        for of in state.windows
        if of.value is not None
    }
