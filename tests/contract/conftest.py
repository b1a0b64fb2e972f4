"""The clusters that hold one contract: SimBroker and Apache Kafka."""

from typing import Any

import pytest

from tests.contract.cluster import Cluster, RealCluster, SimulatedCluster
from tests.kafka.conftest import kafka

__all__ = ["kafka"]  # a fixture


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
