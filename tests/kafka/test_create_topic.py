"""`penstock topics --create`: topics are made once, with the partitions that were asked for."""

import uuid

import pytest

from penstock.cli.cluster import connect
from penstock.testing.kafka_server import KafkaServer
from tests.kafka.commands import call, objects, refusal

pytestmark = pytest.mark.kafka


def test_topics_are_created_once_and_shown(kafka: KafkaServer) -> None:
    servers, name = kafka.bootstrap_servers, f"made-{uuid.uuid4().hex[:8]}"
    found = objects("topics", name, f"{name}-2", "--create", "3", brokers=servers)
    assert {(at["name"], at["partitions"]) for at in found[0]} == {(name, 3), (f"{name}-2", 3)}
    call("topics", name, f"{name}-3", "--create", "5", brokers=servers)
    topics = connect(servers).topics()
    assert (topics[name], topics[f"{name}-3"]) == (3, 5)


def test_a_name_that_kafka_refuses_is_refused(kafka: KafkaServer) -> None:
    said = refusal("topics", "a/b", "--create", "2", brokers=kafka.bootstrap_servers)
    assert "a/b" in said
