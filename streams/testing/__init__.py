"""For tests of applications: a driver without a broker, and a real Kafka without a container."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.testing.driver import TestDriver as TestDriver
    from penstock.testing.driver import TestTopic as TestTopic
    from penstock.testing.kafka_server import KafkaServer as KafkaServer

_HOMES = {
    "KafkaServer": "penstock.testing.kafka_server",
    "TestDriver": "penstock.testing.driver",
    "TestTopic": "penstock.testing.driver",
}

__all__ = ["KafkaServer", "TestDriver", "TestTopic"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'penstock.testing' has no attribute {name!r}")
