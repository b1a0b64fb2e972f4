"""How far time has come for those who write repartition topics, and what that says to readers."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

import penstock as ps
from penstock.engine.assignment import LeadMap, count_partitions
from penstock.engine.metadata import BatchId, Metadata, short_hash
from penstock.engine.task_time import TASK_TIME
from penstock.errors import BrokerError
from penstock.runtime.tasks import OwnedTask
from penstock.runtime.upstream import SHARE, SILENT_S, Upstream

IDLE_S = 3.0
FIRST, LAST = "app-first-repartition", "app-last-repartition"
Partition = tuple[str, int]


@dataclass
class Cluster:
    """Committed offsets with metadata, and topics' ends; it stands for coordinator and admin."""

    committed_: dict[Partition, tuple[int, str | None]] = field(default_factory=dict)
    ends_: dict[Partition, int] = field(default_factory=dict)
    starts_: dict[Partition, int] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    now: float = 100.0
    takes_s: float = 0.0
    answers: bool = True
    failure: BrokerError | None = None
    batches: int = 0

    def commit(self, at: Partition, offset: int, clock: int = -1) -> None:
        self.batches += 1
        memory = Metadata(BatchId(1, self.batches), clocks={short_hash(TASK_TIME): clock})
        self.committed_[at] = offset, memory.encode()

    def committed(self, inputs: Iterable[Partition], timeout_s: float) -> Any:
        self.calls.append("committed")
        if not self.answers:
            self.now += timeout_s
            return None
        return {at: self.committed_.get(at, (-1, None)) for at in inputs}

    def ends(self, wanted: Iterable[Partition]) -> dict[Partition, int]:
        self.calls.append("ends")
        self.now += self.takes_s
        if self.failure:
            raise self.failure
        return {at: self.ends_.get(at, 0) for at in wanted}

    def stable_ends(self, wanted: Iterable[Partition]) -> dict[Partition, int]:
        return {at: self.ends_.get(at, 0) for at in wanted}

    def starts(self, wanted: Iterable[Partition]) -> dict[Partition, int]:
        return {at: self.starts_.get(at, 0) for at in wanted}

    def close(self) -> None:
        self.calls.append("close")


class Reached:
    """A task as far as it is told how far time has come."""

    def __init__(self) -> None:
        self.clock: int | None = None
        self.time = self

    def reach(self, clock: int) -> None:
        self.clock = clock


class World:
    """An application with an input of two partitions, and one or two repartition topics."""

    def __init__(self, *, twice: bool = False, before: bool = False, empty: bool = False) -> None:
        app = ps.App("app")
        stream: Any = app.stream("in", key=str, value=str)
        if before:
            windows = stream.group_by_key().window(ps.tumbling("10ms"), grace="5ms")
            stream = windows.count(name="b").to_stream(output_mode="append").map(str, value=str)
        if twice:
            stream = stream.rekey(same, key=str).repartition(name="first").filter(bool)
        stream = stream.rekey(same, key=str).repartition(name="last")
        if empty:
            nothing: Any = app.stream("empty", key=str, value=str).rekey(same, key=str)
            if twice:
                nothing = nothing.repartition(name="empty").filter(bool).rekey(same, key=str)
            stream = stream.merge(nothing.repartition(name="other"))
        grouped = stream.group_by_key().window(ps.tumbling("10ms"))
        grouped.count(name="n").to("out", output_mode="append")
        topology = app.topology()
        counts = {"in": 2, "empty": 2, "out": 1}
        self.leads = LeadMap(topology, counts | count_partitions(topology, counts))
        self.cluster = Cluster()
        self.upstream = Upstream(
            topology, self.leads, self.cluster, lambda: self.cluster, IDLE_S, lambda: self.cluster.now
        )  # fmt: skip
        self.tasks: list[OwnedTask] = []

    def own(self, topic: str, partition: int, offset: int = 0) -> OwnedTask:
        """Let the worker run a task."""
        owned = OwnedTask(self.leads.leads[topic], partition, task=Reached())  # type: ignore[arg-type]
        owned.offsets = {(topic, partition): offset}
        self.tasks.append(owned)
        return owned

    def look(self, *, after_s: float = 1.0, times: int = 1) -> None:
        for _ in range(times):
            self.cluster.now += after_s
            self.upstream.look(self.tasks)  # asks
            self.upstream.look(self.tasks)  # and lets those who have read go on

    def wait(self, seconds: int) -> None:
        self.look(times=seconds)


def same(text: str) -> str:
    return text


def clock_of(owned: OwnedTask) -> int | None:
    task: Any = owned.task
    return task.clock


def test_the_slowest_counts() -> None:
    world = World()
    world.cluster.ends_ = {("in", 0): 9, ("in", 1): 9}
    world.cluster.commit(("in", 0), 5, clock=100)
    world.cluster.commit(("in", 1), 5, clock=50)
    mine = world.own(LAST, 0)
    world.look()
    assert clock_of(mine) == 50


def test_results_of_windows_are_late_by_design() -> None:
    world = World(before=True)
    world.cluster.ends_ = {("in", 0): 9, ("in", 1): 9}
    world.cluster.commit(("in", 0), 5, clock=100)
    world.cluster.commit(("in", 1), 5, clock=50)
    mine = world.own(LAST, 0)
    world.look()
    assert clock_of(mine) == 35


def test_time_goes_on_when_what_is_in_front_of_it_is_committed() -> None:
    """Each task for itself: one that has much to read holds no other one back."""
    world = World()
    for number in range(2):
        world.cluster.commit(("in", number), 5, clock=100)
        world.cluster.ends_ |= {("in", number): 9, (LAST, number): 7}
    behind, done = world.own(LAST, 0, 6), world.own(LAST, 1, 7)
    world.look()
    assert (clock_of(behind), clock_of(done)) == (None, 100)
    world.cluster.ends_[LAST, 0] = 1_000  # of what comes later nobody has said anything yet
    for number in range(2):
        world.cluster.commit(("in", number), 6, clock=110)
    world.look()
    assert (clock_of(behind), clock_of(done)) == (None, 110)
    behind.offsets[LAST, 0] = 7
    world.look()
    assert clock_of(behind) == 100


def test_the_ends_are_looked_up_behind_the_times() -> None:
    """What is written in between only makes the task wait for longer."""
    world = World()
    world.own(LAST, 0)
    world.look()
    assert world.cluster.calls == ["committed", "ends"]


def test_a_task_that_is_new_here_waits_for_a_look_of_its_own() -> None:
    """It has still to read what others of this worker have read."""
    world = World()
    for number in range(2):
        world.cluster.commit(("in", number), 5, clock=100)
        world.cluster.ends_ |= {("in", number): 9, (LAST, number): 7}
    world.own(LAST, 0, 0)
    world.look()
    new = world.own(LAST, 1, 0)
    world.wait(3)
    assert clock_of(new) is None
    new.offsets[LAST, 1] = 7
    world.wait(3)
    assert clock_of(new) == 100


def test_who_is_at_its_end_and_silent_holds_nobody_back() -> None:
    world = World()
    world.cluster.ends_ = {("in", 0): 9, ("in", 1): 5}
    world.cluster.commit(("in", 0), 5, clock=100)
    world.cluster.commit(("in", 1), 5, clock=50)
    mine = world.own(LAST, 0)
    world.wait(2)
    assert clock_of(mine) == 50
    world.wait(3)
    assert clock_of(mine) == 100


def test_who_has_something_to_read_holds_back_however_long_it_is_silent() -> None:
    """Its worker is paused, slow, or being started again."""
    world = World()
    world.cluster.ends_ = {("in", 0): 9, ("in", 1): 6}
    world.cluster.commit(("in", 0), 5, clock=100)
    world.cluster.commit(("in", 1), 5, clock=50)
    mine = world.own(LAST, 0)
    world.wait(60)
    assert clock_of(mine) == 50


def test_who_still_commits_holds_back_at_its_end() -> None:
    """It writes the results of windows, slice by slice; its offset stays where it is."""
    world = World()
    world.cluster.ends_ = {("in", 0): 9, ("in", 1): 5}
    world.cluster.commit(("in", 0), 5, clock=100)
    mine = world.own(LAST, 0)
    for _ in range(10):
        world.cluster.commit(("in", 1), 5, clock=50)
        world.wait(1)
    assert clock_of(mine) == 50


def test_where_all_are_at_their_ends_the_newest_counts() -> None:
    world = World()
    world.cluster.ends_ = {("in", 0): 5, ("in", 1): 5}
    world.cluster.commit(("in", 0), 5, clock=100)
    world.cluster.commit(("in", 1), 5, clock=50)
    mine = world.own(LAST, 0)
    world.wait(5)
    assert clock_of(mine) == 100


@pytest.mark.parametrize(("end", "clock"), [(0, 100), (4, 100), (5, -1)])
def test_a_partition_that_nobody_has_committed_yet(end: int, clock: int) -> None:
    """It holds back for a moment if it is empty, deleted records included, else until it is."""
    world = World()
    world.cluster.ends_ = {("in", 0): 9, ("in", 1): end}
    world.cluster.starts_ = {("in", 1): min(4, end)}
    world.cluster.commit(("in", 0), 5, clock=100)
    mine = world.own(LAST, 0)
    world.wait(2)
    assert clock_of(mine) == -1
    world.wait(5)
    assert clock_of(mine) == clock


def test_who_reads_a_repartition_topic_itself_holds_back_until_it_has_come_to_the_end() -> None:
    """It may be at its end, waiting for time, with results to come: its worker only stalls."""
    world = World(twice=True)
    for number, clock in ((0, 100), (1, 50)):
        world.cluster.ends_ |= {("in", number): 5, (FIRST, number): 3}
        world.cluster.commit(("in", number), 5, clock=100)
        world.cluster.commit((FIRST, number), 3, clock=clock)
    mine = world.own(LAST, 0)
    world.wait(60)
    assert clock_of(mine) == 50
    world.cluster.commit((FIRST, 1), 3, clock=100)
    world.wait(1)
    assert clock_of(mine) == 100


@pytest.mark.parametrize("between", [False, True])
def test_an_input_without_records_holds_no_other_one_back(between: bool) -> None:
    """Two inputs are merged behind repartition topics of their own; one is always empty."""
    world = World(empty=True, twice=between)
    world.cluster.ends_ = {("in", 0): 9, ("in", 1): 9, (FIRST, 0): 9, (FIRST, 1): 9}
    for number in range(2):
        world.cluster.commit(("in", number), 5, clock=100)
        world.cluster.commit((FIRST, number), 5, clock=100)
    mine = world.own(LAST, 0)
    mine.offsets |= {("app-other-repartition", 0): 0}
    world.wait(2)
    assert clock_of(mine) == -1
    world.wait(5)
    assert clock_of(mine) == 100


def test_partitions_that_come_later_count_too() -> None:
    world = World()
    world.cluster.ends_ = {("in", number): 9 for number in range(3)}
    for number, clock in enumerate((100, 50, 20)):
        world.cluster.commit(("in", number), 5, clock=clock)
    world.upstream.grow({"in": 3})
    mine = world.own(LAST, 0)
    world.look()
    assert clock_of(mine) == 20


@pytest.mark.parametrize("kind", ["silent", "refuses", "strange metadata"])
def test_what_cannot_be_looked_up_is_no_error(kind: str, caplog: Any) -> None:
    """Time stands still meanwhile, which is told once when it lasts, and goes on afterwards."""
    world = World()
    world.cluster.ends_ = {("in", number): 9 for number in range(2)}
    for number in range(2):
        world.cluster.commit(("in", number), 5, clock=100)
    good = dict(world.cluster.committed_)
    if kind == "silent":
        world.cluster.answers = False
    elif kind == "refuses":
        world.cluster.failure = BrokerError("no such luck")
    else:
        world.cluster.committed_["in", 1] = 5, "of-somebody-else"
    mine = world.own(LAST, 0)
    with caplog.at_level(logging.WARNING, "penstock"):
        world.wait(int(SILENT_S))
        assert not caplog.messages
        world.wait(60)
    assert clock_of(mine) is None
    assert len(caplog.messages) == 1
    assert "how far time has come" in caplog.messages[0]
    world.cluster.answers, world.cluster.failure, world.cluster.committed_ = True, None, good
    world.wait(60)
    assert clock_of(mine) == 100


@pytest.mark.parametrize("takes_s", [0.0, 0.01, 0.4])
def test_looks_take_a_small_share_of_the_time(takes_s: float) -> None:
    world = World()
    world.cluster.takes_s = takes_s
    world.own(LAST, 0)
    began = world.cluster.now
    world.look(after_s=0.02, times=5_000)
    spent = world.cluster.calls.count("ends") * takes_s
    assert spent <= (world.cluster.now - began) / SHARE + 2 * takes_s


def test_a_look_that_stalls_once_stops_time_for_a_moment_only() -> None:
    """The whole process stood still in the middle of it, say."""
    world = World()
    world.cluster.ends_ = {("in", number): 9 for number in range(2)}
    for number in range(2):
        world.cluster.commit(("in", number), 5, clock=100)
    mine = world.own(LAST, 0)
    world.look()
    world.cluster.takes_s = 14.0
    world.look()
    world.cluster.takes_s = 0.0
    for number in range(2):
        world.cluster.commit(("in", number), 6, clock=110)
    world.wait(2)
    assert clock_of(mine) == 110


def test_who_reads_no_repartition_topic_asks_nobody() -> None:
    world = World()
    world.own("in", 0)
    world.wait(5)
    assert world.cluster.calls == []


def test_the_reader_is_closed() -> None:
    world = World()
    world.own(LAST, 0)
    world.look()
    world.upstream.close()
    assert world.cluster.calls[-1] == "close"
