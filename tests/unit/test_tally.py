"""The tally of a task: each late record once, event times of what is committed, the watermark."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import penstock as ps
from penstock.engine.task import Task
from penstock.operators.event_time import EventTimes
from penstock.state.memory import MemoryStore
from penstock.state.overlay import Overlay
from penstock.topology.event_time import watermark
from tests.unit.runner import AnyCluster
from tests.unit.test_task import commit, fetched, task_of

TIMES = st.lists(st.integers(0, 60) | st.sampled_from([50, 51]), max_size=6)
BATCHES = st.lists(st.tuples(st.lists(TIMES, max_size=3), st.booleans(), st.booleans()), max_size=4)
BAD, POISON = 50, 51


def windows_of(at: int, size: int, advance: int) -> list[int]:
    """Where the windows begin that a time is in."""
    return [start for start in range(0, at + 1, advance) if start <= at < start + size]


def late_app() -> ps.App:
    """Three steps that a record may be too late for, two of them on the same way."""
    app = ps.App("app")
    stream = app.stream("in", key=str, value=int, timestamp=lambda n: n, unit="ms")
    twice = stream.flat_map(lambda n: [n, n], value=int).group_by_key()
    twice.window(ps.hopping("10ms", "5ms"), grace="3ms").count(name="hopping").to("a")
    stream.group_by_key().window(ps.tumbling("10ms")).count(name="tumbling").to("b")
    stream.group_by_key().window(ps.sliding("10ms")).count(name="sliding").to("c")
    return app


@given(BATCHES)
def test_a_record_is_late_once(batches: Any) -> None:
    """However many windows of however many steps it has missed, and what it had become by then."""
    task, clock, late = task_of(late_app()), -1, 0
    for chunks, aborts, careful in batches:
        for again in range(1 + aborts):
            clocks = dict(task.clocks)
            for times in chunks:
                if times:
                    task.process(fetched(*times), careful=careful)
            if aborts and not again:
                task.flush()
                task.discard(clocks)
        for at in (at for times in chunks for at in times):
            clock = max(clock, at)
            missed = any(
                start + size + grace <= clock
                for size, advance, grace in ((10, 5, 3), (10, 10, 0))
                for start in windows_of(at, size, advance)
            )
            late += missed or at < clock - 10
        commit(task)
        tally = task.take_tally()
        assert tally.late_records <= sum(tally.late.values())
        late -= tally.late_records
        assert late == 0


def timed_app() -> ps.App:
    app = ps.App("app", on_error="skip")
    stream = app.stream("in", key=str, value=int, timestamp=_time, unit="ms")
    stream.group_by_key().window(ps.tumbling("10ms")).count(name="n").to("out")
    stream.map(_poisoned, value=int).to("other")
    return app


def _poisoned(value: int) -> int:
    if value == POISON:
        raise ValueError("poison")
    return value


def _time(value: int) -> int:
    if value == BAD:
        raise ValueError("no time")
    return value


@given(BATCHES)
def test_event_times_are_those_of_what_is_committed(batches: Any) -> None:
    """Records without one, or that fail, are not among them; aborts and reruns count nothing twice."""
    task = task_of(timed_app())
    for chunks, aborts, careful in batches:
        for again in range(1 + aborts):
            clocks = dict(task.clocks)
            for times in chunks:
                if times:
                    task.process(fetched(*times), careful=careful)
            if aborts and not again:
                task.flush()
                task.discard(clocks)
        commit(task)
        found = task.take_tally().times
        times = [at for of in chunks for at in of if at not in (BAD, POISON)]
        assert (found.count, found.total) == (len(times), sum(times))
        if times:
            assert (found.earliest, found.latest) == (min(times), max(times))
            assert found.mean == sum(times) // len(times)


def test_where_nothing_goes_by_event_time_nobody_looks() -> None:
    app = ps.App("app")
    app.stream("in", key=str, value=int).to("out")
    task = task_of(app)
    task.process(fetched(1, 2))
    commit(task)
    assert task.take_tally().times.count == 0


@given(st.lists(st.lists(st.integers(0, 9), min_size=1), max_size=5))
def test_event_times_add_up(parts: list[list[int]]) -> None:
    times = EventTimes()
    for part in parts:
        times.add(part, min(part), max(part))
    every = [at for part in parts for at in part]
    assert (times.count, times.total) == (len(every), sum(every))
    if every:
        assert (times.earliest, times.latest) == (min(every), max(every))


@pytest.mark.parametrize(
    ("clocks", "found"),
    [
        ({}, None),
        ({"own": -1, "declared": -1, "seen": -1}, None),
        ({"own": 10_000, "declared": -1, "seen": -1}, 9_000),
        ({"own": 10_000, "declared": 10_000, "seen": 10_000}, 5_000),
        ({"own": 10_000, "declared": 10_000, "seen": 1_000}, 0),
        ({"own": 10_000, "declared": 20_000, "seen": 20_000}, 9_000),
        ({"own": 90_000, "declared": 90_000, "seen": 15_000}, 12_000),
        ({"own": 90_000, "declared": 10_000, "seen": 50_000, "plain": 1}, 5_000),
    ],
)
def test_the_watermark_is_the_least_of_all_steps(clocks: dict[str, int], found: int | None) -> None:
    """Each goes by its own grace, else by what is declared before it."""
    app = ps.App("app")
    stream = app.stream("in", key=str, value=int)
    late = stream.with_watermark("5s")
    late.group_by_key().window(ps.tumbling("1m"), grace="1s").count(name="own").to("a")
    late.group_by_key().window(ps.tumbling("1m")).count(name="declared").to("b")
    stream.drop_duplicates(within="3s", name="seen").group_by_key().count(name="plain").to("c")
    [part] = app.topology().sub_topologies
    assert watermark(part.stateful, clocks) == found


def test_steps_are_timed() -> None:
    """What a step takes over its records and over what it closes, apart; undone with the batch."""
    now = iter(range(1_000))
    app = ps.App("app")
    stream = app.stream("in", key=str, value=int, timestamp=lambda n: n, unit="ms")
    table = stream.group_by_key().window(ps.tumbling("10ms")).count(name="n")
    table.to("out", output_mode="append")
    topology = app.topology()
    [part] = topology.sub_topologies
    overlays = {store.name: Overlay(store, MemoryStore()) for store in part.stores}
    task = Task(topology, part, 0, overlays, AnyCluster(), int, lambda: float(next(now)))
    task.process(fetched(1, 2, 30))
    task.discard({})
    task.process(fetched(1, 2))
    task.process(fetched(30))
    commit(task)
    tally = task.take_tally()
    assert tally.updating_s == {"n": 3.0}, "two chunks and a flush, each between two looks"
    assert tally.removing_s == {"n": 1.0}
    assert task.take_tally().updating_s == {}
