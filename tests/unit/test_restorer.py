"""The restore consumer on a simulated cluster: what it says while it restores."""

import logging

import pytest

from penstock.engine.restore import Restore
from penstock.runtime import restorer
from penstock.runtime.clients import Clients
from penstock.runtime.restorer import Restorer, Restoring
from penstock.state.store import Position
from penstock.testing.sim import Fate, SimBroker, SimDisk
from penstock.testing.sim.producer import SimProducer

TOPIC = "app-counts-changelog"
CONFIG = {"group.id": "nobody", "enable.partition.eof": True}
RECORDS = 1_000
PER_READ = 100


class Cluster:
    """A changelog of two partitions with equal records, read by a process."""

    def __init__(self, seconds_per_read):
        self.broker = SimBroker()
        self.broker.create_topic(TOPIC, 2)
        self._seconds_per_read = seconds_per_read
        process = self.broker.process("worker", self._happens)
        self.disk = SimDisk().mount(process)
        self.restorer = Restorer(CONFIG, self.broker.clients(process))
        self.producer = SimProducer(self.broker, self.broker.process(), {})

    def _happens(self, _process, what):
        if what == "consume":
            self.broker.advance(self._seconds_per_read)
        return Fate.DONE

    def write(self, partition, records):
        """Write records, over a few keys."""
        for number in range(records):
            self.producer.produce(TOPIC, b"v", b"%d" % (number % 10), partition)
        self.producer.flush()

    def add(self, partition, end, position=None):
        """Begin to restore a partition, from a position if there is one."""
        store = self.open(partition)
        if position:
            store.write([], position)
        state = Restore("counts", TOPIC, partition, 0, end)
        self.restorer.add(Restoring(state, store, "id"))
        return state

    def open(self, partition):
        """Open a partition of the store."""
        return self.disk.place("app", "counts", partition).open()

    def restore(self):
        """Work in slices until all is restored."""
        while self.restorer.busy:
            self.restorer.work(50)


@pytest.fixture
def said(caplog):
    """What the log has said, when asked."""
    caplog.set_level(logging.INFO, "penstock")
    return lambda: caplog.messages


def test_a_short_restore_is_one_line(said, monkeypatch):
    """The worker's stores together, at their end."""
    monkeypatch.setattr(restorer, "RECORDS_PER_READ", PER_READ)
    cluster = Cluster(0.1)
    for partition in (0, 1):
        cluster.write(partition, RECORDS)
        cluster.add(partition, RECORDS)
    cluster.restore()
    [line] = said()
    assert line.startswith(f"Restored counts/0,1: {2 * RECORDS} records in 2.")


def test_a_long_restore_is_told_every_few_seconds(said, monkeypatch):
    """Which partitions, how much, how fast, how much is left, and for how long."""
    monkeypatch.setattr(restorer, "RECORDS_PER_READ", PER_READ)
    cluster = Cluster(1.0)
    cluster.write(0, RECORDS)
    cluster.add(0, RECORDS)
    cluster.restore()
    assert [line.split(":")[0] for line in said()] == ["Restoring counts/0"] * 3 + [
        "Restored counts/0"
    ]
    how_far = "300 records in 3.0 s (100 records/s), at most 700 left, time left 0:00:07."
    assert said()[0] == f"Restoring counts/0: {how_far}"


def test_progress_is_there_while_it_restores(monkeypatch):
    """And nothing before and after."""
    monkeypatch.setattr(restorer, "RECORDS_PER_READ", PER_READ)
    cluster = Cluster(1.0)
    assert cluster.restorer.progress is None
    cluster.write(0, RECORDS)
    cluster.add(0, RECORDS)
    cluster.restorer.work(50)
    found = cluster.restorer.progress
    assert (found.left, found.records, found.remaining) == ((("counts", 0),), 100, 900)
    cluster.restore()
    assert cluster.restorer.progress is None


def test_what_was_given_up_is_not_told(said, monkeypatch):
    """Neither among what is left nor at the end; and the next restore begins at nothing."""
    monkeypatch.setattr(restorer, "RECORDS_PER_READ", PER_READ)
    cluster = Cluster(1.0)
    for partition in (0, 1):
        cluster.write(partition, RECORDS)
    cluster.add(0, RECORDS)
    cluster.restorer.work(50)
    cluster.restorer.drop(TOPIC, 0)
    assert cluster.restorer.progress is None
    cluster.add(1, RECORDS)
    cluster.restore()
    assert said()[-1].startswith(f"Restored counts/1: {RECORDS} records in 1")
    assert not any("counts/0" in line for line in said())


def test_time_left_of_an_open_transaction_is_that_of_its_offsets(said):
    """What stands before it is read; the restore waits, and says so, until it has ended."""
    cluster = Cluster(1.0)
    cluster.write(0, RECORDS)
    other = SimProducer(cluster.broker, cluster.broker.process(), {"transactional.id": "t"})
    other.init_transactions()
    other.begin_transaction()
    other.produce(TOPIC, b"v", b"open", 0)
    other.flush()
    state = cluster.add(0, RECORDS + 1)
    for _ in range(4):
        cluster.restorer.work(50)
    assert (state.records, state.done) == (RECORDS, False)
    assert "at most 1 left, time left 0:00:00." in said()[-1]
    other.abort_transaction()
    cluster.restore()
    assert said()[-1].startswith(f"Restored counts/0: {RECORDS} records in ")


@pytest.mark.parametrize("before", [None, Position(0, "id", 5)])
def test_a_part_is_as_old_as_what_it_began_with(before, monkeypatch):
    """Else it would be believed for ever where each restore is killed: only the end is of now."""
    monkeypatch.setattr(restorer, "RECORDS_PER_READ", PER_READ)
    monkeypatch.setattr(restorer, "KEYS_PER_WRITE", 1)
    cluster = Cluster(1.0)
    cluster.write(0, RECORDS)
    began_ms = cluster.broker.clock.now_ms()
    cluster.add(0, RECORDS, before)
    cluster.restorer.work(50)
    part = cluster.open(0).position()
    assert (part.offset, part.written_ms) == (PER_READ, before.written_ms if before else began_ms)
    cluster.restore()
    whole = cluster.open(0).position()
    assert whole.offset == RECORDS
    assert whole.written_ms > began_ms + 5_000


@pytest.mark.parametrize(("most", "least"), [(1, 2 * RECORDS // PER_READ), (10**9, 2)])
def test_what_waits_to_be_written_is_bounded_in_bytes(most, least, monkeypatch):
    """Of all stores together; each write costs, so there is none before it has to be."""
    monkeypatch.setattr(restorer, "RECORDS_PER_READ", PER_READ)
    monkeypatch.setattr(restorer, "MOST_WAITING_BYTES", most)
    written = []
    write = Restorer._write
    monkeypatch.setattr(
        Restorer, "_write", lambda self, of: written.append(len(of.waiting)) or write(self, of)
    )
    cluster = Cluster(0.1)
    states = []
    for partition in (0, 1):
        cluster.write(partition, RECORDS)
        states.append(cluster.add(partition, RECORDS))
    cluster.restore()
    assert least <= len([keys for keys in written if keys]) <= least + 1
    assert all(state.done for state in states)
    for partition in (0, 1):
        assert len(list(cluster.disk.place("app", "counts", partition).open().scan())) == 10


def test_a_cluster_that_is_away_when_it_begins_is_waited_for(monkeypatch):
    """The client finds it when it is back."""
    monkeypatch.setattr(restorer, "METADATA_S", 0.1)
    config = {"bootstrap.servers": "127.0.0.1:1", "group.id": "nobody", "log_level": 0}
    store = SimDisk().mount(SimBroker().process()).place("app", "counts", 0).open()
    alone = Restorer(config, Clients())
    alone.add(Restoring(Restore("counts", TOPIC, 0, 0, 10), store, "id"))
    alone.work(50)
    assert alone.busy
    alone.close()
