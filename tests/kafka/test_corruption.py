"""Bytes that have changed on a broker's disk: never state, never a record that is processed.

Brokers hand batches out as they are on their disks, without a look at the checksum; who reads
them has to look, and the Kafka client does so only if it is told to.
"""

import uuid
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from penstock.testing.kafka_server import KafkaServer
from tests.kafka.conftest import ApplicationFactory, TopicFactory
from tests.kafka.feeding import Row, feed

pytestmark = pytest.mark.kafka

RIGHT, WRONG = b"9171717", b"9171718"  # as wrong as can be: nobody else would notice


def flip(kafka: KafkaServer, topic: str, old: bytes, new: bytes) -> None:
    """Change bytes in the only segment of a topic's first partition."""
    segment = Path(kafka.data) / "node-1" / "data" / f"{topic}-0" / f"{0:020}.log"
    data = segment.read_bytes()
    assert data.count(old) == 1
    assert len(old) == len(new)
    with segment.open("r+b") as file:
        file.seek(data.index(old))
        file.write(new)


def read(servers: str, topic: str, *, check: bool) -> bytes:
    """Read a topic's first record or error with the Kafka client alone."""
    config = {"bootstrap.servers": servers, "group.id": str(uuid.uuid4()), "check.crcs": check}
    consumer = Consumer(config | {"enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        message = consumer.poll(30)
        assert message is not None
        problem = message.error()
        return problem.str().encode() if problem else message.value() or b""
    finally:
        consumer.close()


def test_a_changed_changelog_is_never_restored(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    """The worker stops and names where; once the bytes are right again, it goes on."""
    app = application("reduce", topic("in", 1), topic("out", 1))
    feed(app.servers, app.inputs[0], [Row("k", b'{"amount":%s}' % RIGHT)])
    app.run_through()
    changelog = app.changelog("totals")
    app.forget_stores()
    flip(kafka, changelog, RIGHT, WRONG)
    assert WRONG in read(app.servers, changelog, check=False), "the control: nobody else looks"
    assert b"CRC" in read(app.servers, changelog, check=True)
    text = app.start().fails()
    assert "BrokerError" in text.rstrip().splitlines()[-1]
    assert f"The changelog {changelog}/0 cannot be read at offset 0" in text
    flip(kafka, changelog, WRONG, RIGHT)
    app.run_through()
    app.check_store("totals")


def test_a_changed_input_is_never_processed(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    """Nor skipped: the worker stops before it and names it."""
    app = application("map", topic("in", 1), topic("out", 1))
    feed(app.servers, app.inputs[0], [Row("k", "word-1")])
    feed(app.servers, app.inputs[0], [Row("k", RIGHT)])
    flip(kafka, app.inputs[0], RIGHT, WRONG)
    text = app.start().fails()
    last = text.rstrip().splitlines()[-1]
    assert f"{app.inputs[0]}/0" in last
    assert "offset 1" in last
    assert "BrokerError" in last
    assert not [record for record in app.read_output() if (record.value or b"") == WRONG.upper()]
    flip(kafka, app.inputs[0], WRONG, RIGHT)
    app.run_through()
    app.check_map()
