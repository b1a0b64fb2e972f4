"""`penstock topics --create`: a topic is made once, with the partitions that were asked for."""

import uuid

import pytest
from typer.testing import CliRunner

from penstock.cli.cluster import connect
from penstock.cli.main import app as commands
from penstock.testing.kafka_server import KafkaServer
from tests.kafka.commands import call, objects, refusal

pytestmark = pytest.mark.kafka


def test_a_topic_is_created_and_shown(kafka: KafkaServer) -> None:
    servers, name = kafka.bootstrap_servers, f"made-{uuid.uuid4().hex[:8]}"
    found = objects("topics", "--create", name, "--partitions", "3", brokers=servers)
    assert [(at["name"], at["partitions"], at["records"]) for at in found[0]] == [(name, 3, 0)]
    other = f"{name}-2"
    call("topics", "--create", other, brokers=servers)
    assert connect(servers).topics()[other] == 4


def test_one_that_is_there_stays_as_it_is(kafka: KafkaServer) -> None:
    servers, name = kafka.bootstrap_servers, f"made-{uuid.uuid4().hex[:8]}"
    call("topics", "--create", name, "--partitions", "2", brokers=servers)
    done = CliRunner().invoke(
        commands, ["topics", "--create", name, "--partitions", "5", "--brokers", servers]
    )
    assert done.exit_code == 0
    assert f"{name} exists already, with 2 partitions" in done.stderr
    assert connect(servers).topics()[name] == 2


def test_a_name_that_kafka_refuses_is_refused(kafka: KafkaServer) -> None:
    assert "a/b" in refusal("topics", "--create", "a/b", brokers=kafka.bootstrap_servers)
    done = CliRunner().invoke(commands, ["topics", "--partitions", "5"])
    assert done.exit_code == 2
    assert "--create" in done.stderr
