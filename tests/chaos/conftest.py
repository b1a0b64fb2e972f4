"""Chaos has brokers of its own: some tests kill them."""

import os
import random
import secrets
from collections.abc import Iterator

import pytest

from penstock.testing.kafka_server import PORTS, KafkaServer
from tests.chaos.proxy import Proxy
from tests.kafka.conftest import application, kafka, topic

__all__ = ["application", "kafka", "topic"]  # fixtures


@pytest.fixture(params=["classic", "consumer"])
def protocol(request: pytest.FixtureRequest) -> str:
    """The group's protocol."""
    name: str = request.param
    return name


@pytest.fixture
def own_kafka() -> Iterator[KafkaServer]:
    """A broker that a test may stop and kill."""
    with KafkaServer() as server:
        yield server


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    """A proxy with a broker behind it."""
    port = secrets.choice(PORTS)
    with Proxy(port) as proxy:
        advertised = {"advertised.listeners": f"BROKER://127.0.0.1:{proxy.port}"}
        with KafkaServer(port=port, settings=advertised):
            yield proxy


@pytest.fixture
def draw() -> random.Random:
    """The test's chance; PENSTOCK_SEED repeats a run."""
    seed = int(os.environ.get("PENSTOCK_SEED") or secrets.randbelow(1_000_000))
    print(f"PENSTOCK_SEED={seed}")
    return random.Random(seed)
