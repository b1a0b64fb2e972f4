"""The brokers go, and come back: nothing is lost, nothing is there twice, and it is said why it waits.

Three nodes with replication 3 and two replicas in sync at least, the transaction log too; two
workers share the work, through a repartition topic, and each of their counts is in the output.
Nodes are killed or stopped in order, one after the other and all at once; leaders move; replicas
in sync are too few; the cluster comes later than its workers.
PENSTOCK_SEED repeats a run.
"""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.testing.kafka_server import KafkaServer
from tests.chaos.nodes import ALL, Nodes
from tests.chaos.sampling import sample
from tests.chaos.test_failpoints import Doomed
from tests.kafka import checking
from tests.kafka.conftest import BROKER, ApplicationFactory, applications
from tests.kafka.feeding import Load, endless_words

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

PER_SECOND = 1_000
SHORTAGE_S = 30.0


class Workers(Doomed):
    """Two workers, with a load that a cluster can hold back for a while."""

    def load(self, first: int = 0) -> Load:
        words = endless_words(first=first)
        return Load(self.first.servers, {self.first.inputs[0]: words}, PER_SECOND)

    def pids(self) -> list[int]:
        return [worker.pid for worker in self.workers]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Nodes]:
    """Three nodes for all tests of this file."""
    with KafkaServer(nodes=3, settings=BROKER) as server:
        yield Nodes(server)


@pytest.fixture
def nodes(cluster: Nodes) -> Iterator[Nodes]:
    """Three nodes; those that are down are started again behind the test."""
    yield cluster
    cluster.heal()


@pytest.fixture
def make(cluster: Nodes, tmp_path: Path) -> Iterator[ApplicationFactory]:
    with applications(cluster.servers, tmp_path) as make:
        yield make


def team(make: ApplicationFactory, protocol: str = "classic", **options: Any) -> Workers:
    kafka = options.pop("kafka", {}) | {"protocol": protocol}
    state = {"flush_interval_ms": 200, "lock_timeout_ms": 500}
    return Workers(make, 2, name="every-update", kafka=kafka, state=state, **options)


def stop_one(nodes: Nodes, workers: Workers, draw: random.Random) -> None:
    """It stays away, and what it has led is led by the others."""
    nodes.stop(draw.choice(ALL))


def kill_one(nodes: Nodes, workers: Workers, draw: random.Random) -> None:
    node = draw.choice(ALL)
    nodes.kill(node)
    workers.wait_for_progress()  # by the two that are left
    nodes.heal()


def kill_in_turn(nodes: Nodes, workers: Workers, draw: random.Random) -> None:
    for node in draw.sample(ALL, len(ALL)):
        nodes.kill(node)
        time.sleep(draw.uniform(0, 1))
        nodes.heal()
        workers.wait_for_progress()


def stop_in_turn(nodes: Nodes, workers: Workers, draw: random.Random) -> None:
    """Leaders move twice for each: away from it, and back, though no broker is away then."""
    for node in draw.sample(ALL, len(ALL)):
        nodes.stop(node)
        workers.wait_for_progress()
        nodes.heal()
        moved = nodes.elect()
        print(f"{moved} leaders have moved back to node {node}")
        assert moved, "no leader has moved: that was no test"
        workers.wait_for_progress()


def kill_all(nodes: Nodes, workers: Workers, draw: random.Random) -> None:
    for _ in range(2):
        time.sleep(draw.uniform(0, 1))
        nodes.kill(*ALL)
        nodes.heal()
        workers.wait_for_progress()


def stop_all(nodes: Nodes, workers: Workers, draw: random.Random) -> None:
    for _ in range(2):
        time.sleep(draw.uniform(0, 1))
        nodes.stop(*ALL)
        nodes.heal()
        workers.wait_for_progress()


Way = Callable[[Nodes, Workers, random.Random], None]
WAYS = [stop_one, kill_one, kill_in_turn, stop_in_turn, kill_all, stop_all]
CASES = [
    *((way, "classic") for way in WAYS),
    *((way, "consumer") for way in WAYS),
]


@sample("way, protocol", CASES)
def test_nodes_that_go_and_come_back_leave_everything_exact(
    way: Way, protocol: str, nodes: Nodes, make: ApplicationFactory, draw: random.Random
) -> None:
    """With default timeouts: no worker ends by it."""
    workers = team(make, protocol)
    with workers.load():
        workers.start()
        workers.wait_for_progress()
        pids = workers.pids()
        way(nodes, workers, draw)
        workers.wait_for_progress()
    assert workers.pids() == pids, "a worker has ended, and was started again"
    workers.end()


@pytest.mark.full
@pytest.mark.parametrize("away", [(3,), (2, 3)])
def test_too_few_replicas_in_sync_are_named_and_survived(
    away: tuple[int, ...], nodes: Nodes, make: ApplicationFactory
) -> None:
    """For 30 s; of three nodes that all have to have the outputs, one is too many."""
    workers = team(make)
    lack_replicas(nodes, workers, away)
    workers.end()


def lack_replicas(nodes: Nodes, workers: Workers, away: tuple[int, ...]) -> None:
    app = workers.first
    if len(away) == 1:
        for output in app.outputs:
            checking.configure(app.servers, output, {"min.insync.replicas": "3"})
    with workers.load():
        workers.start()
        workers.wait_for_progress()
        began = time.monotonic()
        for node in away:  # one after the other: who stays learns that they are gone
            nodes.stop(node)
        missing = ", ".join(map(str, away))
        workers.wait_until(
            lambda: workers.said(f"Start the missing brokers: {missing}.") > 0,
            "what is wrong is said",
        )
        assert workers.said("replicas in sync, and min.insync.replicas is") > 0
        time.sleep(max(0.0, began + SHORTAGE_S - time.monotonic()))
        nodes.heal()
        workers.wait_for_progress()


@pytest.mark.full
def test_a_cluster_that_comes_later_is_waited_for(nodes: Nodes, make: ApplicationFactory) -> None:
    workers = team(make)
    with workers.load():
        workers.start()
        workers.wait_for_progress()
        for worker in workers.workers:
            worker.stop()
    nodes.stop(*ALL)
    for worker in workers.workers:
        worker.start()
        worker.wait_for(f"No Kafka at {nodes.servers} yet: ")
    nodes.start(1, 2)  # enough of them
    pids = workers.pids()
    workers.wait_until_all_run()
    with workers.load(first=50_000_000):
        workers.wait_for_progress()
        nodes.heal()
        workers.wait_for_progress()
    assert workers.pids() == pids, "a worker has ended, and was started again"
    workers.end()
