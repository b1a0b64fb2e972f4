"""The clusters that hold one contract: SimBroker and Apache Kafka."""

from collections.abc import Iterator
from typing import Any

import pytest

from penstock.testing.kafka_server import KafkaServer
from tests.contract.cluster import Cluster, RealCluster, SimulatedCluster


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaServer]:
    """A broker with the times of the simulated one."""
    with KafkaServer() as server:
        yield server


@pytest.fixture(params=["sim", pytest.param("kafka", marks=pytest.mark.kafka)])
def cluster(request: Any) -> Any:
    """A cluster whose clients end with the test."""
    made: Cluster
    if request.param == "sim":
        made = SimulatedCluster()
    else:
        made = RealCluster(request.getfixturevalue("kafka").bootstrap_servers)
    yield made
    made.close()


@pytest.fixture(params=["classic", "consumer"])
def protocol(request: Any, cluster: Cluster) -> str:
    """The group protocol that members speak: both, one after the other."""
    cluster.protocol = request.param
    return cluster.protocol


@pytest.fixture
def consumer_protocol(cluster: Cluster) -> None:
    """Let members speak the consumer protocol (KIP-848)."""
    cluster.protocol = "consumer"
