"""Announcing where a cluster does not answer: a warning, and nothing that waits."""

import logging
import time
import uuid

import pytest

import penstock as ps
from penstock.errors import BrokerError
from penstock.query.monitor import Monitor
from penstock.query.peers import Peers
from penstock.runtime.announcing import announce, peers_of
from penstock.runtime.client_configs import ClientConfigs
from penstock.runtime.clients import Clients
from penstock.topics.internal import workers_topic


class Forbidden:
    """An admin client that may not do anything."""

    def topics(self) -> dict[str, int]:
        raise BrokerError("Topic authorization failed.")


def test_a_cluster_that_refuses_costs_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    app = ps.App("shop", brokers="127.0.0.1:1")
    app.stream("in", key=str, value=int).group_by_key().count(name="counts")
    monitor = Monitor(app.topology(), uuid.uuid4())
    monitor.instance_id = "me"
    clients = Clients()
    peers: Peers = peers_of(monitor, None, clients)
    with caplog.at_level(logging.WARNING, "penstock"):
        announcing = announce(
            monitor,
            peers,
            ("127.0.0.1", 8321),
            ClientConfigs(app),
            Forbidden(),  # type: ignore[arg-type]
            clients,
        )
        time.sleep(0.5)
        began = time.monotonic()
        announcing.close()
    assert time.monotonic() - began < 4
    [warning] = [record.getMessage() for record in caplog.records]
    assert "shop-workers: Topic authorization failed" in warning
    assert monitor.holdings.owner(("counts", 0)) is None


def test_the_topic_of_the_workers_keeps_what_each_has_said_last() -> None:
    topic = workers_topic("shop")
    assert (topic.name, topic.partitions) == ("shop-workers", 1)
    assert "compact" in topic.config["cleanup.policy"]
