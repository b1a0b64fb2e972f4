"""Observe: each record counts once, when it is committed, however the input is cut."""

import math
import statistics
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import penstock as ps
from penstock.engine.batch import Batch
from penstock.engine.metadata import BatchId
from penstock.engine.task import FlushFailed, Task
from penstock.errors import TopologyError
from penstock.operators.observe import Observe
from penstock.operators.source import Fetched
from penstock.runtime.gathering import Gathered
from penstock.state.memory import MemoryStore
from penstock.state.overlay import Overlay
from penstock.topology.graph import Topology
from tests.unit.runner import AnyCluster
from tests.unit.test_task import commit, fetched, outputs, task_of

POISON, DOWN = 13, 7  # fails the step behind; is dropped in front


class Widest:
    """An aggregator of one's own."""

    def init(self) -> list[int]:
        return []

    def add(self, state: list[int], value: int, /) -> list[int]:
        return [min([value, *state]), max([value, *state])]

    def merge(self, a: list[int], b: list[int], /) -> list[int]:
        return [min(a + b), max(a + b)] if a or b else []

    def result(self, state: list[int], /) -> int:
        return state[1] - state[0] if state else 0


def mean(of: Sequence[int]) -> float | None:
    return statistics.fmean(of) if of else None


def spread(of: Sequence[int]) -> float | None:
    return statistics.stdev(of) if len(of) > 1 else None


def own(of: int) -> int:
    return of


ASKED: dict[str, tuple[Any, Callable[[list[int]], Any]]] = {
    "rows": (ps.count(), len),
    "total": (ps.sum(own), sum),
    "least": (ps.min(own), lambda of: min(of, default=None)),
    "most": (ps.max(own), lambda of: max(of, default=None)),
    "mean": (ps.mean(own), mean),
    "spread": (ps.stddev(own), spread),
    "first": (ps.first(own), lambda of: of[0] if of else None),
    "last": (ps.last(own), lambda of: of[-1] if of else None),
    "some": (ps.collect(own, limit=4), lambda of: of[:4]),
    "widest": (Widest(), lambda of: max(of) - min(of) if of else 0),
}


def poisoned(n: int) -> int:
    if n == POISON:
        raise ValueError("poison")
    return n


def app_of(*, counted: bool) -> ps.App:
    """Observe between a filter and a step that fails; `counted`: with a store behind."""
    app = ps.App("app", on_error="skip")
    stream = app.stream("in", key=str, value=int).filter(lambda n: n != DOWN)
    seen = stream.observe("seen", **{name: of for name, (of, _) in ASKED.items()})
    if counted:
        seen.group_by_key().count(name="n").to("counts")
    seen.map(poisoned).to("out")
    return app


def gather(task: Task, into: Gathered) -> None:
    """Commit, and count as a worker does."""
    commit(task)
    into.add(Batch(BatchId(1, 1), 0.0), [SimpleNamespace(task=task, stores={})], {})  # type: ignore[list-item]


def operators(topology: Topology) -> list[Observe]:
    return [node.operator for node in topology if isinstance(node.operator, Observe)]


def rows_of(values: Sequence[int], first: int) -> Fetched:
    n = len(values)
    encoded = [value.to_bytes(8, "big") for value in values]
    times, offsets = list(range(first, first + n)), list(range(first, first + n))
    return Fetched("in", 0, [b"k"] * n, encoded, times, offsets, None, first + n)


@given(
    st.booleans(),
    st.lists(
        st.tuples(
            st.lists(st.lists(st.sampled_from([1, 2, 3, 30, 400, DOWN, POISON]), max_size=5)),
            st.booleans(),
            st.booleans(),
        ),
        max_size=5,
    ),
    st.integers(1, 3),
)
def test_what_is_observed_is_what_is_committed(
    counted: bool, batches: list[tuple[list[list[int]], bool, bool]], per_record: int
) -> None:
    """Chunks, batches, aborts and reruns record by record make no difference."""
    topology = app_of(counted=counted).topology()
    task = _fresh(topology)
    found, told, naive, first = Gathered(0.0, 0), list[dict[str, Any]](), list[list[int]](), 0
    so_far: list[int] = []
    for number, (chunks, aborts, careful) in enumerate(batches):
        for _ in range(1 + aborts):
            at = first
            for chunk in chunks:
                if chunk:
                    task.process(rows_of(chunk, at), careful=careful)
                    at += len(chunk)
            if aborts:
                aborts = False
                task.flush()
                task.discard({})
        first = at
        gather(task, found)
        so_far += [n for chunk in chunks for n in chunk if n not in (DOWN, POISON)]
        if number % per_record == 0:  # a record of progress covers several batches
            told.append(found.observations(operators(topology))["seen"])
            naive.append(so_far)
            found, so_far = Gathered(0.0, 0), []
    for asked, values in zip(told, naive, strict=True):
        for name, (_, expected) in ASKED.items():
            wanted = expected(values)
            if isinstance(wanted, float):
                assert math.isclose(asked[name], wanted, abs_tol=1e-9), name
            else:
                assert asked[name] == wanted, name


def _fresh(topology: Topology) -> Task:
    (part,) = topology.sub_topologies
    overlays = {store.name: Overlay(store, MemoryStore()) for store in part.stores}
    return Task(topology, part, 0, overlays, AnyCluster())


def test_a_flush_that_fails_counts_nothing_twice() -> None:
    """The batch is run again, record by record: what was observed before is forgotten.

    The third record fails then: it is not observed.
    """
    app = ps.App("app", on_error="skip")
    stream = app.stream("in", key=str, value=int).observe("seen", rows=ps.count())
    stream.group_by_key().count(name="n").to_stream().map(_not_three, value=int).to("out")
    task, found = task_of(app), Gathered(0.0, 0)
    rows = fetched(1, 2, 3)
    task.process(rows)
    with pytest.raises(FlushFailed):
        task.flush()
    task.discard({})
    task.process(rows, careful=True)
    gather(task, found)
    assert found.observations(operators(app.topology()))["seen"] == {"rows": 2}


def _not_three(count: int) -> int:
    if count == 3:
        raise ValueError("three")
    return count


def test_a_record_that_an_aggregator_fails_on_goes_by_the_policy() -> None:
    app = ps.App("app", on_error="skip")
    app.stream("in", key=str, value=int).observe("seen", n=ps.sum(poisoned)).to("out")
    task, found = task_of(app), Gathered(0.0, 0)
    task.process(fetched(1, POISON, 3))
    [failure] = task.take_failures()
    assert failure.offset == 11
    assert "seen" in failure.step
    gather(task, found)
    assert found.observations(operators(app.topology())) == {"seen": {"n": 4}}


def test_nulls_are_passed_over() -> None:
    """Deletions of a table have no fields to ask for."""
    app = ps.App("app")
    table = app.table("in", key=str, value=int, name="t")
    table.to_stream().observe("seen", rows=ps.count(), total=ps.sum(own)).to("out")
    task, found = task_of(app), Gathered(0.0, 0)
    task.process(fetched(4, key=b"a"))
    gather(task, found)
    task.process(fetched(None, key=b"a"))
    task.flush()
    assert [values for topic, values in outputs(task) if topic == "out"] == [[None]]
    gather(task, found)
    assert found.observations(operators(app.topology())) == {"seen": {"rows": 1, "total": 4}}


def test_results_are_what_json_holds() -> None:
    """Whatever an aggregator returns can be written to the progress topic."""

    class Odd(Widest):
        def result(self, state: list[int], /) -> Any:
            return {"bytes": b"\xff", 3: (complex(1, 2), math.nan, {1})}

    app = ps.App("app")
    app.stream("in", key=str, value=int).observe("seen", odd=Odd()).to("out")
    task, found = task_of(app), Gathered(0.0, 0)
    task.process(fetched(1))
    gather(task, found)
    text = msgspec.json.encode(found.observations(operators(app.topology())))
    told = msgspec.json.decode(text)
    assert told == {"seen": {"odd": {"bytes": "/w==", "3": ["(1+2j)", None, [1]]}}}


@pytest.mark.parametrize("method", ["merge", "result"])
def test_an_aggregator_that_raises_when_it_is_told_stops_nothing(
    method: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is left out of the progress, and the log says why."""

    def broken(*_: object) -> Any:
        raise ValueError("broken")

    monkeypatch.setattr(Widest, method, broken)
    app = ps.App("app")
    stream = app.stream("in", key=str, value=int)
    seen = stream.observe("seen", n=Widest(), m=ps.count())
    seen.observe("well", n=ps.count()).to("out")
    topology = app.topology()
    task, found, asked = _fresh(topology), Gathered(0.0, 0), operators(topology)
    task.process(fetched(1))
    task.process(fetched(2))
    gather(task, found)
    assert found.observations(asked) == {"well": {"n": 2}}
    assert "observe 'seen'" in caplog.text


def _stream() -> Any:
    return ps.App("app").stream("in", key=str, value=Sale)


class Sale(msgspec.Struct):
    amount: int


@pytest.mark.parametrize(
    ("declare", "why"),
    [
        (lambda s: s.observe("a"), "asks nothing"),
        (lambda s: s.observe("", n=ps.count()), "has no name"),
        (lambda s: s.observe("  ", n=ps.count()), "has no name"),
        (lambda s: s.observe(5, n=ps.count()), "has no name"),
        (lambda s: s.observe("a", n=ps.sum("nope")), "nope"),
        (lambda s: s.observe("a", n=5), "no aggregator"),
        (lambda s: s.observe("a", n=Widest), "no aggregator"),
        (lambda s: s.observe("a", n=ps.count()).observe("a", n=ps.count()), "is there twice"),
    ],
)
def test_bad_input_is_refused(declare: Callable[[Any], Any], why: str) -> None:
    with pytest.raises(TopologyError, match=why):
        declare(_stream())


def test_the_same_name_in_another_branch_is_refused() -> None:
    stream = _stream()
    stream.observe("a", n=ps.count())
    with pytest.raises(TopologyError, match="is there twice"):
        stream.observe("a", n=ps.count())


def test_an_aggregate_may_be_called_name() -> None:
    assert _stream().observe("a", name=ps.count(), self=ps.count()) is not None


def test_it_does_not_hinder_coalescing() -> None:
    """What is observed behind an aggregation are the updates that it hands on."""
    app = ps.App("app")
    counts = app.stream("in", key=str, value=int).group_by_key().count(name="n")
    counts.to_stream().observe("updates", rows=ps.count()).to("out")
    topology = app.topology()
    [node] = [node for node in topology if node.stores]
    assert topology.coalesces(node)
