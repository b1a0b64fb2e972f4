"""What is said of a cluster that does not acknowledge records, and when."""

import logging

import pytest

from penstock.runtime.faults import Abortable
from penstock.runtime.producer import SLOW_S, TransactionalProducer
from penstock.runtime.shortage import Shortage, shortage
from penstock.testing.sim import Fate, SimBroker
from penstock.testing.sim.process import Process
from penstock.topics.admin import Admin, Replicas

ALL = frozenset({1, 2, 3})
WHOLE = Replicas(1, ALL, ALL)
NEEDED = {"counts": 2, "log": 3, "free": 1}
HEALTHY = "Each partition has a leader and enough replicas in sync"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({}, HEALTHY),
        ({("counts", 0): WHOLE, ("log", 0): WHOLE}, HEALTHY),
        ({("counts", 0): Replicas(1, {1, 2}, ALL)}, HEALTHY),
        ({("free", 0): Replicas(1, {1}, ALL), ("unknown", 0): Replicas(1, {1}, ALL)}, HEALTHY),
        ({("log", 0): Replicas(1, {1}, {1})}, HEALTHY),  # a topic of one replica demands one
        (
            {("counts", 0): Replicas(1, {1}, ALL), ("counts", 2): Replicas(1, {1}, ALL)},
            "counts/0,2: 1 of 3 replicas in sync, and min.insync.replicas is 2."
            " Start the missing brokers: 2, 3.",
        ),
        (
            {
                ("counts", 0): Replicas(1, {1, 3}, ALL),
                ("log", 0): Replicas(1, {1, 3}, ALL),
                ("log", 1): Replicas(3, {1, 3}, ALL),
                ("log", 2): Replicas(-1, {2}, ALL),
            },
            "log/0,1: 2 of 3 replicas in sync, and min.insync.replicas is 3; log/2: no leader."
            " Start the missing brokers: 2.",
        ),
        (
            {("counts", 0): Replicas(-1, frozenset(), {2, 3})},
            "counts/0: no leader. Start the missing brokers: 2, 3.",
        ),
        (
            {("b", 1): Replicas(-1, {2}, {2}), ("a", 0): Replicas(-1, {1}, {1})},
            "a/0 b/1: no leader. Start the missing brokers: 1, 2.",
        ),
    ],
)
def test_what_is_lacking_is_named(found: dict[tuple[str, int], Replicas], said: str) -> None:
    assert shortage(found, NEEDED).startswith(said)


class Lines:
    """What is told of flushes, and the end of each."""

    def __init__(self, lost: int, of: str = "flush") -> None:
        """Let the calls of one kind lose so many requests: a flush takes half a second by each."""
        self.told: list[tuple[int, float]] = []
        broker = SimBroker()
        broker.create_topic("out", 1)
        left = iter(range(lost))

        def happens(_process: Process, call: str) -> Fate:
            lost = call == of and next(left, None) is not None
            return Fate.LOST_REQUEST if lost else Fate.DONE

        process = broker.process("worker", happens)
        self.producer = TransactionalProducer(
            {"transactional.id": "counts"},
            transaction_timeout_ms=15_000,
            request_timeout_ms=5_000,
            clients=broker.clients(process),
            slow=lambda records, seconds: self.told.append((records, seconds)),
        )
        self.producer.init(10_000)
        self.producer.begin()
        self.producer._producer.produce("out", b"1")


@pytest.mark.parametrize(("lost", "lines"), [(0, 0), (1, 0), (3, 1)])
def test_a_producer_that_waits_for_its_start_says_so_once(
    lost: int, lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A try takes two seconds."""
    Lines(lost, "init_transactions")
    told = [line for line in caplog.messages if "counts cannot start yet" in line]
    assert len(told) == lines
    assert all(line.endswith("Trying for up to 10 s.") for line in told)


@pytest.mark.parametrize(("lost", "told"), [(0, []), (5, []), (8, [(1, SLOW_S)])])
def test_a_flush_that_takes_long_is_told_once(lost: int, told: list[tuple[int, float]]) -> None:
    lines = Lines(lost)
    lines.producer.flush()
    assert lines.told == told


def test_a_flush_that_never_ends_is_told_once_and_fails() -> None:
    lines = Lines(1_000)
    with pytest.raises(Abortable, match="1 records were not acknowledged within 15 s"):
        lines.producer.flush()
    assert lines.told == [(1, SLOW_S)]


def test_what_is_told_has_the_records_the_time_and_the_cause(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker = SimBroker()
    broker.create_topic("counts", 2)
    admin = Admin({"bootstrap.servers": "sim"}, timeout_ms=1_000, client=broker.clients().admin)
    with caplog.at_level(logging.WARNING):
        Shortage(admin, {"counts": 2, "not there": 1}).tell(17, 3.0)
    assert caplog.messages[0].startswith("The brokers have not acknowledged 17 records for 3 s. ")
    assert HEALTHY in caplog.messages[0]
    assert admin.replicas(["counts"]) == {
        ("counts", 0): Replicas(1, frozenset({1}), frozenset({1})),
        ("counts", 1): Replicas(1, frozenset({1}), frozenset({1})),
    }


def test_a_cluster_that_says_nothing_is_told_too(caplog: pytest.LogCaptureFixture) -> None:
    admin = Admin({"bootstrap.servers": "127.0.0.1:1"}, timeout_ms=100)
    with caplog.at_level(logging.WARNING):
        Shortage(admin, {"counts": 2}).tell(17, 3.0)
    assert "Listing topics failed at 127.0.0.1:1" in caplog.messages[0]
