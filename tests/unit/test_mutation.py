"""User functions may change what they get in place: nothing committed and no sibling notices.

Each aggregation here changes its accumulator, or the value that it was given, in place, over
every kind of type that can be changed. Chunks that fail, aborts and commits come in any order;
afterwards the store, the overlay and the sibling's output are those of a fold over copies.
"""

import copy
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import penstock as ps
import penstock.engine.steps
import penstock.state.overlay
from penstock.engine.task import Task
from penstock.errors import DataError
from penstock.operators.source import Fetched
from penstock.serde.types import is_immutable
from penstock.state.memory import MemoryStore
from penstock.state.overlay import Overlay
from penstock.state.store import Position
from penstock.topology.graph import Topology
from tests.unit.runner import AnyCluster

BAD = 99


class Open(msgspec.Struct):
    """A Struct that can be changed."""

    n: int
    seen: list[int]


@dataclasses.dataclass
class Data:
    """A dataclass that can be changed."""

    n: int
    seen: list[int]


TYPES: dict[str, tuple[Any, Callable[[int], Any]]] = {
    "dict": (dict[str, Any], lambda n: {"n": n, "seen": []}),
    "Struct": (Open, lambda n: Open(n, [])),
    "dataclass": (Data, lambda n: Data(n, [])),
    "list": (list[Any], lambda n: [n, []]),
}


def parts(value: Any) -> tuple[int, list[int]]:
    """The number and the list of a value of any type."""
    if isinstance(value, dict):
        return value["n"], value["seen"]
    return tuple(value) if isinstance(value, list) else (value.n, value.seen)


def put(value: Any, n: int) -> Any:
    """Change the number in place."""
    if isinstance(value, dict):
        value["n"] = n
    elif isinstance(value, list):
        value[0] = n
    else:
        value.n = n
    return value


def change_first(so_far: Any, value: Any) -> Any:
    """Change the accumulator in place, deeply; then fail where the value is bad."""
    (total, seen), (n, _) = parts(so_far), parts(value)
    seen.append(n)
    put(so_far, total * 2 + n)
    if n == BAD:
        raise RuntimeError("bad")
    return so_far


def change_second(so_far: Any, value: Any) -> Any:
    """Change the value in place, deeply, and return it."""
    (total, _), (n, seen) = parts(so_far), parts(value)
    seen.append(total)
    put(value, total * 2 + n)
    if n == BAD:
        raise RuntimeError("bad")
    return value


def keep_second(so_far: Any, value: Any) -> Any:
    """Hand the value's own list to the accumulator, which is changed by the next call."""
    (total, seen), (n, kept) = parts(so_far), parts(value)
    seen.append(total)
    kept.append(n)
    if n == BAD:
        raise RuntimeError("bad")
    return put(value, total + n) if n % 2 else put(so_far, total + n)


FUNCTIONS = (change_first, change_second, keep_second)
OPERATORS = ("reduce", "aggregate")


class Machine:
    """One task with an aggregation and a sibling, and the fold over copies that it has to match."""

    def __init__(self, operator: str, kind: str, f: Callable[[Any, Any], Any]) -> None:
        self.f, self.operator = f, operator
        self.type, self.make = TYPES[kind]
        topology = self._topology()
        self.store = MemoryStore()
        self.overlay = Overlay(topology.stores[0], self.store)
        self.task = Task(topology, topology.sub_topologies[0], 0, {"s": self.overlay}, AnyCluster())
        self.committed: Any = None
        self.now: Any = None
        self.offset = 0
        self.calls_left = -1
        self.siblings: list[Any] = []
        self.due: list[Any] = []

    def _topology(self) -> Topology:
        app = ps.App("app")
        stream = app.stream("in", key=str, value=self.type)
        grouped = stream.group_by_key()
        if self.operator == "reduce":
            grouped.reduce(self._flaky, name="s")
        else:
            grouped.aggregate(lambda: self.make(0), self._flaky, name="s", value=self.type)
        stream.to("sibling")
        return app.topology()

    def _flaky(self, so_far: Any, value: Any) -> Any:
        result = self.f(so_far, value)
        self.calls_left -= 1
        if self.calls_left == 0:
            raise RuntimeError("once, after all was changed")
        return result

    def process(self, numbers: list[int], *, failing_call: int = -1) -> None:
        """Process one chunk; a bad number fails it, and so aborts the batch.

        With `failing_call` that call of the function fails, once: the chunk is run again.
        """
        self.calls_left = failing_call
        values = [self.make(n) for n in numbers]
        raw = [msgspec.json.encode(value) for value in values]
        try:
            self.task.process(
                Fetched(
                    "in",
                    0,
                    [b"k"] * len(raw),
                    raw,
                    [0] * len(raw),
                    list(range(self.offset, self.offset + len(raw))),
                    None,
                    self.offset + len(raw),
                )
            )
        except DataError:
            self.abort()
            return
        for value in values:
            self.due.append(msgspec.to_builtins(value))
            self.now = self._folded(value)
        self.offset += len(raw)

    def commit(self) -> None:
        """Commit the batch."""
        self.task.flush()
        for out in self.task.outputs:
            if out.topic == "sibling":
                self.siblings += [json.loads(value) for value in out.values if value]
        self.task.outputs = []
        self.overlay.commit(Position(self.offset, "t", 0))
        self.committed = copy.deepcopy(self.now)
        assert self.siblings == self.due
        self.check_store()

    def abort(self) -> None:
        """Abort the batch."""
        self.task.discard({})
        self.now = copy.deepcopy(self.committed)
        self.due = self.due[: len(self.siblings)]
        self.check_store()
        assert self.overlay.get(b"k") == (None if self.committed is None else (self.committed, 0))

    def check_store(self) -> None:
        """The store holds what was committed."""
        found = [msgspec.json.decode(data[8:], type=self.type) for _, data in self.store.scan()]
        assert found == ([] if self.committed is None else [self.committed])

    def _folded(self, value: Any) -> Any:
        value = copy.deepcopy(value)
        if self.now is None and self.operator == "reduce":
            return value
        before = self.make(0) if self.now is None else copy.deepcopy(self.now)
        return self.f(before, value)


NUMBERS = st.lists(st.integers(0, 5) | st.just(BAD), min_size=1, max_size=4)
STEPS = st.lists(
    st.one_of(st.sampled_from(["commit", "abort"]), NUMBERS, st.tuples(NUMBERS, st.integers(1, 4))),
    max_size=12,
)


def run(machine: Machine, steps: list[Any]) -> None:
    """Do the steps; each one checks what it must have left."""
    for step in steps:
        if isinstance(step, list):
            machine.process(step)
        elif isinstance(step, tuple):
            machine.process(step[0], failing_call=step[1])
        elif step == "commit":
            machine.commit()
        else:
            machine.abort()
    machine.commit()


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("f", FUNCTIONS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_changes_in_place_reach_nobody(operator, kind, f, steps):
    """After rollbacks, aborts and commits all is as if nobody had changed anything in place."""
    run(Machine(operator, kind, f), steps)


ROLLED_BACK = [[1, 2], "commit", ([3, 4], 2), "commit"]


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("kind", TYPES)
def test_without_copies_a_rollback_fails_the_check(operator, kind, monkeypatch):
    """With copying switched off in the overlay, a rollback leaves what was changed."""
    run(Machine(operator, kind, change_first), ROLLED_BACK)
    monkeypatch.setattr(penstock.state.overlay, "is_immutable", lambda serde: True)
    with pytest.raises(AssertionError):
        run(Machine(operator, kind, change_first), ROLLED_BACK)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("kind", TYPES)
def test_without_forgetting_an_abort_fails_the_check(operator, kind, monkeypatch):
    """With an overlay that keeps its entries, an abort leaves what was changed."""
    aborted = [[1, 2], "commit", [3], "abort", [4], "commit"]
    run(Machine(operator, kind, change_first), aborted)
    monkeypatch.setattr(Overlay, "_forget", lambda self, keys: None)
    with pytest.raises(AssertionError):
        run(Machine(operator, kind, change_first), aborted)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("kind", TYPES)
def test_without_copies_the_sibling_sees_changes(operator, kind, monkeypatch):
    """With copying switched off in the task, the sibling's output is changed."""
    run(Machine(operator, kind, change_second), [[1, 2, 3], "commit"])
    monkeypatch.setattr(penstock.engine.steps, "is_immutable", lambda serde: True)
    with pytest.raises(AssertionError):
        run(Machine(operator, kind, change_second), [[1, 2, 3], "commit"])


def test_every_update_hands_out_copies():
    """The values of every update are what each was, not what the accumulator became."""
    app = ps.App("app")
    grouped = app.stream("in", key=str, value=int).group_by_key()

    def add(so_far: list[int], n: int) -> list[int]:
        so_far.append(n)
        return so_far

    grouped.aggregate(list, add, name="s", value=list[int], emit="every_update").to("out")
    topology = app.topology()
    task = Task(
        topology,
        topology.sub_topologies[0],
        0,
        {"s": Overlay(topology.stores[0], MemoryStore())},
        AnyCluster(),
    )
    raw = [n.to_bytes(8, "big") for n in (1, 2, 3)]
    task.process(Fetched("in", 0, [b"k"] * 3, raw, [0] * 3, [0, 1, 2], None, 3))
    assert task.outputs[0].values == [b"[1]", b"[1,2]", b"[1,2,3]"]


@pytest.mark.parametrize("kind", TYPES)
def test_a_reader_of_a_store_gets_a_copy(kind):
    """Changing what a store handed out changes neither the store nor the next answer."""
    machine = Machine("reduce", kind, change_first)
    run(machine, [[1, 2]])
    found = machine.overlay.get(b"k")
    assert found is not None
    put(found[0], 77)
    assert machine.overlay.get(b"k") == (machine.committed, 0)


def test_types_that_can_be_changed_are_not_shared():
    """Only primitives count as immutable."""
    for type, _ in TYPES.values():
        assert not is_immutable(ps.serde.json(type))
