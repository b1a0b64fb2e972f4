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
ROWS = st.lists(st.tuples(st.sampled_from("aabc"), TIMES), min_size=3, max_size=14)

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


@pytest.mark.parametrize("limit", [1, 2, task.CLOSED_AT_ONCE])
@pytest.mark.parametrize("kind", ["agg", "aggregate"])
@settings(max_examples=120)
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
            late += sum(driver._tasks[0].take_tally().late.values())
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


@settings(max_examples=200)
@given(grace=GRACE, rows=ROWS)
def test_every_update_leads_from_one_result_to_the_next(grace: int, rows: list[Row]) -> None:
    """A record hands on the windows that it is in, and the one behind it if that is new."""
    naive = Naive(grace)
    with TestDriver(app_of("aggregate", grace, "every_update")) as driver:
        inputs, updates = driver.topic("in"), driver.topic("updates")
        with driver.batch():
            for key, at in rows:
                inputs.send(at, key=key, at=at)
        found = [(window, plain(value)) for window, value in updates.read()]
        expected: list[Any] = []
        for row in rows:
            before, late = naive.open(), naive.late
            naive.add(row)
            if naive.late == late:
                expected += [
                    (window, value)
                    for window, value in sorted(naive.open().items())
                    if before.get(window) != value and window.key == row[0]
                ]
        assert found == [(window, value) for window, value in expected if value[0]]


@given(rows=ROWS)
def test_no_two_windows_of_a_key_have_the_same_records(rows: list[Row]) -> None:
    """One distinct window for each distinct set of records, as long as none has closed."""
    app = ps.App("app")
    grouped = app.stream("in", key=str, value=int).group_by_key()
    windows = grouped.window(sliding(f"{SIZE}ms"), grace="100ms")
    table = windows.aggregate(list, append, name="s", value=list[int])
    table.to("finals", output_mode="append")
    with TestDriver(app) as driver:
        inputs, finals = driver.topic("in"), driver.topic("finals")
        with driver.batch():
            for number, (key, at) in enumerate(rows):
                inputs.send(number, key=key, at=at)
        inputs.send(len(rows), key="z", at=1_000)
        sets = [tuple(sorted(numbers)) for _, numbers in finals.read()]
        assert len(sets) == len(set(sets))
        (overlay,) = driver._tasks[0].overlays.values()
        left = [overlay.definition.key.decode(key) for key, _ in overlay.scan(b"", b"\xff")]
        assert left == [(1_100, "z"), "z"], "nothing is left of keys that are silent"


def append(numbers: list[int], number: int) -> list[int]:
    """Change the list in place: no other window may see that."""
    numbers.append(number)
    return numbers


def test_a_value_that_is_kept_is_nobody_elses() -> None:
    """A function may return the value itself: each window has its own, to be changed in place."""

    def begin_or_add(own: list[int], new: list[int]) -> list[int]:
        if len(new) > 1:
            return new
        own.extend(new)
        return own

    app = ps.App("app")
    grouped = app.stream("in", key=str, value=list[int]).group_by_key()
    windows = grouped.window(sliding("10ms"), grace="10ms")
    windows.aggregate(list, begin_or_add, name="s", value=list[int]).to("updates")
    with TestDriver(app) as driver:
        inputs, updates = driver.topic("in"), driver.topic("updates")
        with driver.batch():
            for at, numbers in ((10, [1]), (12, [2, 3]), (13, [4])):
                inputs.send(numbers, key="a", at=at)
        assert {window.start: value for window, value in updates.read()} == {
            0: [1], 2: [2, 3], 3: [2, 3, 4], 11: [2, 3, 4], 13: [4],
        }  # fmt: skip


def test_none_deletes_a_window_and_the_next_record_begins_it_anew() -> None:
    app = ps.App("app")
    grouped = app.stream("in", key=str, value=int).group_by_key()
    table = grouped.window(sliding("10ms")).reduce(
        lambda a, b: None if b == 0 else a + b,  # type: ignore[arg-type,return-value]
        name="s",
    )
    table.to("updates")
    table.to("finals", output_mode="append")
    with TestDriver(app) as driver:
        inputs, updates, finals = map(driver.topic, ("in", "updates", "finals"))
        inputs.send(1, key="a", at=10)
        assert updates.read() == [(Windowed("a", 0, 10), 1)]
        inputs.send(0, key="a", at=12)
        assert updates.read() == [(Windowed("a", 2, 12), None), (Windowed("a", 11, 21), 0)]
        inputs.send(5, key="a", at=12)
        assert updates.read() == [(Windowed("a", 2, 12), 5), (Windowed("a", 11, 21), 5)]
        inputs.send(7, key="b", at=100)
        assert finals.read() == [
            (Windowed("a", 0, 10), 1),
            (Windowed("a", 2, 12), 5),
            (Windowed("a", 11, 21), 5),
        ]


def test_a_key_has_one_timer() -> None:
    """A record that comes in order sets none; one before all others does."""
    with TestDriver(app_of("agg", grace=100)) as driver:
        inputs, changelog = driver.topic("in"), driver._logs["app-s-changelog"]
        (overlay,) = driver._tasks[0].overlays.values()
        for at, timers, written in ((10, 1, 2), (12, 1, 3), (30, 1, 4), (31, 1, 5), (8, 2, 7)):
            inputs.send(at, key="a", at=at)
            assert len(overlay.scan(b"", KEY)) == timers
            assert len(changelog) == written


def test_results_are_as_old_as_their_last_record() -> None:
    app = ps.App("app")
    grouped = app.stream("in", key=str, value=int).group_by_key()
    grouped.window(sliding("10ms"), grace="10ms").count(name="n").to("out")
    with TestDriver(app) as driver:
        inputs, out = driver.topic("in"), driver.topic("out")
        for at in (20, 15):
            inputs.send(0, key="a", at=at)
        assert [(w.start, n) for w, n in out.read()] == [(10, 1), (5, 1), (10, 2), (16, 1)]
        assert out.read_timestamps() == [20, 15, 20, 20]


def test_who_gets_a_result_cannot_change_what_is_kept() -> None:
    """A closed window is the base of one that comes in the same batch, behind a flush."""

    def spoil(numbers: list[int]) -> list[int]:
        numbers.append(-1)
        return numbers

    def append_positive(numbers: list[int], number: int) -> list[int]:
        if number < 0:
            raise ValueError("negative")
        return append(numbers, number)

    app = ps.App("app", on_error="skip")
    both = app.stream("one", key=str, value=int).merge(app.stream("two", key=str, value=int))
    grouped = both.group_by_key().window(sliding("10ms"))
    table = grouped.aggregate(list, append_positive, name="s", value=list[int])
    table.to_stream(output_mode="append").map(spoil).to("finals")
    table.to("updates")
    with TestDriver(app) as driver:
        one, two, updates = map(driver.topic, ("one", "two", "updates"))
        with driver.batch():
            one.send(25, key="a", at=25)
            one.send(30, key="b", at=30)
            two.send(21, key="a", at=21)
            two.send(-1, key="a", at=22)  # it makes the records of its chunk go one by one
        assert dict(updates.read())[Windowed("a", 22, 32)] == [25]
