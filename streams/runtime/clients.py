"""Clients: what a worker reaches the cluster and the clock by.

One narrow seam: production takes the defaults, the simulation its own. Nothing else in
`runtime/` makes a client, reads a clock or waits.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from penstock.runtime.clock import now_ms
from penstock.runtime.faults import bounded


def _hear(producer: Producer) -> None:
    producer.poll(0)


@dataclass(frozen=True, kw_only=True)
class Clients:
    """The classes of the Kafka client, and time.

    Attributes:
        consumer: makes a consumer of librdkafka settings.
        producer: makes a producer of them.
        admin: makes an admin client of them.
        now: monotonic seconds.
        now_ms: the wall clock.
        sleep: waits for seconds.
        bounded: makes a call that may never return, as `faults.bounded` does.
        hear: lets a producer tell what has become of its connections.
    """

    consumer: Callable[[dict[str, Any]], Any] = Consumer
    producer: Callable[[dict[str, Any]], Any] = Producer
    admin: Callable[[dict[str, Any]], Any] = AdminClient
    now: Callable[[], float] = time.monotonic
    now_ms: Callable[[], int] = now_ms
    sleep: Callable[[float], None] = time.sleep
    bounded: Callable[[Callable[[], None], float, str], None] = bounded
    hear: Callable[[Any], object] = _hear
