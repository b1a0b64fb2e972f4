"""What Penstock's own clients make of a cluster, on SimBroker and Apache Kafka alike."""

import pytest

from penstock.operators.sink import Outgoing
from penstock.runtime.faults import Unknown
from penstock.runtime.producer import TransactionalProducer
from tests.contract.cluster import Cluster


def transactional(cluster: Cluster, name: str) -> TransactionalProducer:
    producer = TransactionalProducer(
        {**cluster.config, "transactional.id": name, "retry.backoff.ms": 5},
        transaction_timeout_ms=10_000,
        request_timeout_ms=5_000,
        clients=cluster.clients,
    )
    producer.init(10_000)
    return producer


@pytest.mark.parametrize("store", [None, "counts"])
def test_a_fenced_producer_is_of_unknown_fate(cluster: Cluster, store: str | None) -> None:
    """Whatever notices it first, with a callback waiting or without: it has to be replaced."""
    topic, name = cluster.topic(), cluster.unique("producer")
    zombie = transactional(cluster, name)
    transactional(cluster, name)
    zombie.begin()
    with pytest.raises(Unknown, match="_FENCED"):
        zombie.produce(Outgoing(topic, [b"k"], [b"v"], [0], [1], store=store))
        zombie.flush()
    with pytest.raises(Unknown):
        zombie.commit()
    zombie.renew(10_000)
    zombie.begin()
    zombie.produce(Outgoing(topic, [b"k"], [b"v"], [0], [1], store=store))
    zombie.flush()
    zombie.commit()
