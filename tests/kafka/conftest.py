"""What every test against the real broker starts from: one server, topics, applications."""

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from penstock.testing.kafka_server import KafkaServer
from penstock.topics.admin import Admin
from tests.kafka.workers import Application

# Pages speak of topics with plain names; each test of one begins and ends without them.
OF_PAGES = [
    "orders",
    "orders-again",
    "orders-avro",
    "orders-dead",
    "views",
    "lines",
    "spent-per-customer",
]
# Under KIP-848 a dead member is missed after the broker's time, as soon as under the classic one.
BROKER = {"group.consumer.session.timeout.ms": "2000"}


class TopicFactory(Protocol):
    def __call__(self, name_prefix: str, partitions: int = 4, **config: object) -> str: ...


class ApplicationFactory(Protocol):
    def __call__(
        self, name: str, inputs: str | Sequence[str], outputs: str | Sequence[str], **options: Any
    ) -> Application: ...


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaServer]:
    """One node with quick groups, transactions and compaction, shared by the whole run."""
    with KafkaServer(settings=BROKER) as server:
        yield server


@pytest.fixture
def topic(kafka: KafkaServer) -> TopicFactory:
    """Make topics with unique names: topic("orders", partitions=2, retention_ms=-1)."""

    def create(name_prefix: str, partitions: int = 4, **config: object) -> str:
        name = f"{name_prefix}-{uuid.uuid4().hex[:8]}"
        create_topic(kafka.bootstrap_servers, name, partitions, **config)
        return name

    return create


@pytest.fixture
def no_topics(kafka: KafkaServer) -> Iterator[None]:
    """A cluster without the topics that pages speak of, before the test and behind it."""
    admin = Admin({"bootstrap.servers": kafka.bootstrap_servers}, timeout_ms=10_000)
    admin.delete(OF_PAGES)
    yield
    admin.delete(OF_PAGES)


@pytest.fixture
def application(kafka: KafkaServer, tmp_path: Path) -> Iterator[ApplicationFactory]:
    """Make applications of `apps.py`; their workers end with the test."""
    with applications(kafka.bootstrap_servers, tmp_path) as make:
        yield make


@contextmanager
def applications(servers: str, folder: Path) -> Iterator[ApplicationFactory]:
    """Make applications whose workers end with the context."""
    made: list[Application] = []

    def make(
        name: str, inputs: str | Sequence[str], outputs: str | Sequence[str], **options: Any
    ) -> Application:
        inputs = [inputs] if isinstance(inputs, str) else inputs
        outputs = [outputs] if isinstance(outputs, str) else outputs
        made.append(Application(servers, folder, name, inputs, outputs, **options))
        return made[-1]

    try:
        yield make
    finally:
        for application in made:
            application.close()


def create_topic(servers: str, name: str, partitions: int, **config: object) -> None:
    """Create a topic and wait until every partition has a leader."""
    settings = {key.replace("_", "."): str(value) for key, value in config.items()}
    admin = AdminClient({"bootstrap.servers": servers})  # its futures end with it: keep it
    new = NewTopic(name, num_partitions=partitions, config=settings)
    admin.create_topics([new])[name].result(timeout=30)
    deadline = time.monotonic() + 30
    while not _has_leaders(admin, name, partitions):
        assert time.monotonic() < deadline, f"{name} has no leaders"
        time.sleep(0.01)


def _has_leaders(admin: AdminClient, name: str, partitions: int) -> bool:
    """Whether brokers are known to lead the partitions, and know it themselves."""
    metadata = admin.list_topics(name, timeout=10).topics[name].partitions
    if len(metadata) != partitions or any(p.leader < 0 for p in metadata.values()):
        return False
    asked = {TopicPartition(name, number): OffsetSpec.latest() for number in metadata}
    try:
        for found in admin.list_offsets(asked).values():
            found.result(timeout=10)
    except KafkaException:  # not its leader yet, or of an epoch that it does not know yet
        return False
    return True
