"""Time that goes on in silence, on a simulated cluster: only when the inputs are at their ends."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import msgspec
import pytest

import penstock as ps
from penstock.runtime.run import Running
from penstock.runtime.worker import Worker
from penstock.testing.sim import Crash, Fate, Process, SimBroker, SimDisk
from penstock.testing.sim.producer import SimProducer
from tests.sim.judging import read

STEP_S = 0.05
AT = 1_700_000_000_000


def windows(app: ps.App) -> None:
    stream = app.stream("in", key=str, value=str).with_watermark("0s", idle="2s")
    counts = stream.group_by_key().window(ps.tumbling("1s"), late="late").count(name="n")
    counts.to("out", output_mode="append")


def regrouped(app: ps.App) -> None:
    stream = app.stream("in", key=str, value=str).with_watermark("0s", idle="2s")
    grouped = stream.group_by(str, key=str, name="by").window(ps.tumbling("1s"), late="late")
    grouped.count(name="n").to("out", output_mode="append")


class OneWorker:
    """A cluster with one input of two partitions, and a worker that may be killed."""

    def __init__(self, declare: Callable[[ps.App], None]) -> None:
        self.broker = SimBroker()
        for topic in ("in", "out", "late"):
            self.broker.create_topic(topic, 2)
        self.disk = SimDisk()
        self.lost: set[str] = set()
        self._declare = declare
        self._process: Process | None = None
        self._worker: Worker | None = None
        self.start()

    def start(self) -> None:
        app = ps.App("silent")
        self._declare(app)
        self._process = self.broker.process("worker", self._fate)
        running = Running(app, clients=self.broker.clients(self._process))
        self._worker = running.worker("slot", self.disk.mount(self._process))
        self._worker.start()

    def kill(self) -> None:
        assert self._process
        self._process.kill()
        with suppress(Crash):
            self.work(STEP_S)

    def work(self, seconds: float) -> None:
        """Let the worker work for so long."""
        assert self._worker
        end = self.broker.clock.now() + seconds
        while self.broker.clock.now() < end:
            self._worker.step()
            self.broker.advance(STEP_S)

    def send(self, value: str, at: int, partition: int = 0) -> None:
        producer = SimProducer(self.broker, self.broker.process("writer"), {})
        producer.produce("in", value, f"k{partition}", partition, timestamp=AT + at)
        producer.flush()

    @contextmanager
    def transaction(self, value: str, at: int, partition: int = 0) -> Iterator[None]:
        """Keep a transaction with a record open, and commit it."""
        config = {"transactional.id": "writer", "transaction.timeout.ms": 600_000}
        producer = SimProducer(self.broker, self.broker.process("writer"), config)
        producer.init_transactions()
        producer.begin_transaction()
        producer.produce("in", value, f"k{partition}", partition, timestamp=AT + at)
        producer.flush()
        yield
        producer.commit_transaction()

    def closed(self) -> list[tuple[int, int]]:
        """Starts and counts of the windows that are closed."""
        rows = [
            (msgspec.json.decode(row.key or b""), row.value) for row in read(self.broker, "out")
        ]
        return sorted(
            (key["start"] - AT, int.from_bytes(value or b"", "big")) for key, value in rows
        )

    def _fate(self, _: Process, what: str) -> Fate:
        return Fate.LOST_REQUEST if what in self.lost else Fate.DONE


both = pytest.mark.parametrize("declare", [windows, regrouped])


@both
def test_windows_close_when_nothing_has_come_for_long_enough(
    declare: Callable[[ps.App], None],
) -> None:
    world = OneWorker(declare)
    world.send("a", 300)
    world.work(1.9)
    assert world.closed() == []
    world.work(4)
    assert world.closed() == [(0, 1)]
    world.send("a", 200)  # behind what was closed
    world.work(8)
    assert world.closed() == [(0, 1)]
    assert len(read(world.broker, "late")) == 1


@both
def test_an_open_transaction_is_no_silence(declare: Callable[[ps.App], None]) -> None:
    """However long it takes: what it holds may belong to the windows."""
    world = OneWorker(declare)
    world.send("a", 300)
    world.work(1)
    with world.transaction("a", 200):
        world.work(20)
        assert world.closed() == []
    world.work(1)
    assert world.closed() == []
    world.work(8)
    assert world.closed() == [(0, 2)]


def test_an_open_transaction_holds_those_back_that_share_a_topic_behind() -> None:
    """Its task has read all that it may, and is not at its end."""
    world = OneWorker(regrouped)
    world.send("a", 300)
    world.send("b", 300, partition=1)
    world.work(1)
    with world.transaction("a", 200):
        world.work(20)
        assert world.closed() == []
    world.work(8)
    assert world.closed() == [(0, 1), (0, 2)]


def test_the_cluster_is_asked_before_anything_closes() -> None:
    """Where it does not answer, time stands still."""
    world = OneWorker(windows)
    world.send("a", 300)
    world.work(1)
    world.lost = {"list_offsets"}
    world.work(8)
    assert world.closed() == []
    world.lost = set()
    world.work(3)
    assert world.closed() == [(0, 1)]


@both
def test_silence_begins_anew_behind_a_kill(declare: Callable[[ps.App], None]) -> None:
    """Each window closes once."""
    world = OneWorker(declare)
    world.send("a", 300)
    world.send("b", 600, partition=1)
    world.work(1.5)
    world.kill()
    world.broker.advance(50)
    world.start()
    world.work(1.5)
    assert world.closed() == []
    world.work(8)
    expected = [(0, 1), (0, 1)]
    assert world.closed() == expected
    world.kill()
    world.broker.advance(50)
    world.start()
    world.work(8)
    assert world.closed() == expected


@pytest.mark.parametrize("look_s", [0.1, 0.7])
def test_time_stays_where_it_is_while_records_come(
    look_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where all of them are committed whenever anybody looks."""
    monkeypatch.setattr("penstock.runtime.silence.LOOK_S", look_s)
    world = OneWorker(windows)
    for number in range(10):
        world.send("a", 10 * number)
        world.work(1)
    assert world.closed() == []
    world.work(4)
    assert world.closed() == [(0, 10)]


def test_nothing_is_committed_when_nothing_can_be_open_any_more() -> None:
    world = OneWorker(regrouped)
    world.send("a", 300)
    world.work(20)
    assert world.closed() == [(0, 1)]
    before = [log.end for topic in world.broker.topics.values() for log in topic.partitions]
    offsets = dict(world.broker.group("silent").committed)
    world.work(20)
    assert before == [log.end for t in world.broker.topics.values() for log in t.partitions]
    assert offsets == world.broker.group("silent").committed
