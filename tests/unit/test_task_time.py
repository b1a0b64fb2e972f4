"""How far time has come for a task: what moves it, what it waits for, what survives what."""

import pytest

import penstock as ps
from penstock.engine import task as engine
from penstock.engine.assignment import LeadMap
from penstock.engine.task import Task
from penstock.engine.task_time import SEEN_TIME, TASK_TIME
from penstock.operators.source import Fetched
from penstock.state.memory import MemoryStore
from penstock.state.overlay import Overlay
from penstock.state.store import Position
from penstock.topology.graph import Topology
from tests.unit.runner import AnyCluster

REPARTITION = "app-by-value-repartition"


def windows_behind() -> Topology:
    """A count in windows behind a repartition topic."""
    app = ps.App("app")
    words = app.stream("in", key=str, value=str).group_by(same, key=str, name="by-value")
    words.window(ps.tumbling("10ms")).count(name="n").to("out", output_mode="append")
    return app.topology()


def windows_before() -> Topology:
    """A count in windows on an input, its results in windows behind a repartition topic."""
    app = ps.App("app")
    words = app.stream("in", key=str, value=str).group_by_key()
    results = words.window(ps.tumbling("10ms")).count(name="n").to_stream(output_mode="append")
    again = results.group_by(str, key=str, name="by-value").window(ps.tumbling("10ms"))
    again.count(name="m").to("out", output_mode="append")
    return app.topology()


def same(word: str) -> str:
    return word


class Opened:
    """A task over stores that outlast it."""

    def __init__(self, topology: Topology, number: int) -> None:
        self.topology = topology
        self.part = topology.sub_topologies[number]
        self.stores = {store.name: MemoryStore() for store in self.part.stores}
        self.clocks: dict[str, int] = {}
        self.offset = 0
        self.open()

    def open(self) -> None:
        """Open it anew, with what was committed."""
        overlays = {of.name: Overlay(of, self.stores[of.name]) for of in self.part.stores}
        self.task = Task(self.topology, self.part, 0, overlays, AnyCluster())
        self.task.clocks = dict(self.clocks)

    def process(self, *times: int) -> None:
        (topic,) = self.part.topics
        offsets = list(range(self.offset, self.offset + len(times)))
        self.offset += len(times)
        column = [b"k"] * len(times)
        self.task.process(
            Fetched(topic, 0, column, column, list(times), offsets, None, self.offset)
        )

    def commit(self) -> list[int]:
        """Flush and commit; return the times of what was handed on."""
        self.task.flush()
        outputs, self.task.outputs = self.task.outputs, []
        self.clocks = dict(self.task.clocks)
        for overlay in self.task.overlays.values():
            overlay.commit(Position(1, "t", 0))
        return [at for out in outputs if out.store is None for at in out.timestamps]


def test_windows_of_the_open_batch_close_when_time_comes_in_it() -> None:
    """Time may be told while a batch is open: what has come in it counts."""
    opened = Opened(windows_behind(), 1)
    opened.process(1)
    opened.task.time.reach(20)
    assert opened.commit() == [1]


def test_what_is_due_is_due_again_after_an_abort() -> None:
    opened = Opened(windows_behind(), 1)
    opened.process(1)
    opened.commit()
    opened.task.time.reach(20)
    assert opened.task.time.is_due(0)
    opened.task.flush()
    opened.task.discard(opened.clocks)
    assert opened.task.clocks == opened.clocks
    assert opened.task.time.is_due(0), "others have committed that time: it stays"
    assert opened.commit() == [1]
    assert not opened.task.time.is_due(0)


def test_time_of_records_that_were_aborted_is_forgotten() -> None:
    opened = Opened(windows_before(), 0)
    opened.process(1)
    opened.commit()
    opened.process(1_000)
    opened.task.flush()
    opened.task.discard(opened.clocks)
    assert not opened.task.time.is_due(0)
    assert opened.commit() == []
    assert opened.clocks == {SEEN_TIME: 1, TASK_TIME: 1, "n": 1}


def test_a_task_that_died_between_two_slices_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """No record need come for that, and nobody is told a time that it has not come to."""
    monkeypatch.setattr(engine, "CLOSED_AT_ONCE", 1)
    opened = Opened(windows_before(), 0)
    opened.process(1, 11, 21, 95)
    assert opened.commit() == [1]
    assert opened.clocks[SEEN_TIME] == 95
    assert opened.clocks[TASK_TIME] == 20, "the next result is from 10 on"
    opened.open()
    found = []
    while opened.task.time.is_due(0):
        found += opened.commit()
    assert found == [11, 21]
    assert opened.clocks[TASK_TIME] == 95


def test_time_is_handed_on_where_there_is_nothing_else_to_do() -> None:
    """A task between two repartition topics tells those behind it how far it has come."""
    app = ps.App("app")
    words = app.stream("in", key=str, value=str).group_by(same, key=str, name="a")
    again = words.count(name="counts").to_stream().filter(bool).group_by(str, key=str, name="b")
    again.window(ps.tumbling("10ms")).count(name="n").to("out", output_mode="append")
    opened = Opened(app.topology(), 1)
    opened.process(1)
    opened.commit()
    opened.task.time.reach(20)
    assert opened.task.time.is_due(0)
    opened.commit()
    assert opened.clocks[TASK_TIME] == 20
    assert not opened.task.time.is_due(0)


def test_a_record_that_was_undone_deletes_no_session() -> None:
    """The session that it would have changed has closed since: nothing takes its result away."""
    app = ps.App("app", on_error="skip")
    words = app.stream("in", key=str, value=str).rekey(same, key=str).repartition(name="by-value")
    words.group_by_key().window(ps.session("5ms")).count(name="n").to("updates")
    words.map_record(at_two_fails, key=str, value=str).to("elsewhere")
    opened = Opened(app.topology(), 1)
    for at in (1, 2):
        opened.process(at)
        opened.commit()
    opened.task.time.reach(40)
    opened.commit()
    opened.process(50)
    opened.task.flush()
    updates = [of for out in opened.task.outputs if out.topic == "updates" for of in out.values]
    assert len(updates) == 1
    assert updates[0] is not None


def at_two_fails(record: ps.Record[str, str]) -> tuple[str, str]:
    if record.timestamp == 2:
        raise ValueError("no such luck")
    return record.key, record.value


def test_what_is_merged_with_a_repartitioned_stream_does_not_move_its_time() -> None:
    app = ps.App("app")
    words = app.stream("in", key=str, value=str).rekey(same, key=str).repartition(name="by-value")
    both = words.merge(app.stream("direct", key=str, value=str))
    both.group_by_key().window(ps.tumbling("10ms")).count(name="n").to("out", output_mode="append")
    topology = app.topology()
    (part,) = [part for part in topology.sub_topologies if part.stores]
    overlays = {of.name: Overlay(of, MemoryStore()) for of in part.stores}
    task = Task(topology, part, 0, overlays, AnyCluster())
    task.process(Fetched("direct", 0, [b"k"], [b"v"], [1_000], [0], None, 1))
    task.process(Fetched(REPARTITION, 0, [b"k"], [b"v"], [1], [0], None, 1))
    task.flush()
    assert not task.take_tally().late


def test_inputs_are_ordered_for_those_who_go_by_their_time() -> None:
    """Else one input that is ahead would make the other one late, far behind the topic."""
    app = ps.App("app")
    words = app.stream(["a", "b"], key=str, value=str).group_by(same, key=str, name="by-value")
    words.window(ps.tumbling("10ms")).count(name="n").to("out")
    leads = LeadMap(app.topology(), {"a": 1, "b": 1, REPARTITION: 1}).leads
    assert leads["a"].ordered
