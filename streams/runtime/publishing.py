"""Publishing: progress, events and alerts to topics, from a thread of its own.

Telemetry may be lost, data may not: nothing here is part of a transaction, nothing waits for it,
and a topic that is gone, full or forbidden costs a warning.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import msgspec
from confluent_kafka import KafkaError, KafkaException

from penstock.errors import PenstockError
from penstock.query.events import Told
from penstock.runtime.clients import Clients
from penstock.secret import revealed

log = logging.getLogger("penstock")

MOST_WAITING = 1_000
POLL_S = 0.5
CLOSE_S = 1.0
WARN_S = 60.0

Row = tuple[str, bytes, bytes]  # topic, key, value


class Publisher:
    """Write what a monitor tells to a topic, and what alerts say to theirs.

    Args:
        topic: the topic of progress.
        config: librdkafka settings of a producer.
        make: makes the topic where it is not there.
        clients: the Kafka client's classes, and time.
    """

    def __init__(
        self,
        topic: str,
        config: Mapping[str, Any],
        make: Callable[[], None],
        clients: Clients,
    ) -> None:
        self._topic = topic
        self._config = config
        self._make = make
        self._clients = clients
        self._waiting: deque[Told | Row] = deque(maxlen=MOST_WAITING)
        self._awake = threading.Event()
        self._closed = False
        self._warned = -WARN_S
        self._thread = threading.Thread(target=self._run, name="penstock-progress", daemon=True)
        self._thread.start()

    def take(self, told: Told) -> None:
        """Write progress or an event, soon; the oldest of what waits goes where that is much."""
        self._waiting.append(told)
        self._awake.set()

    def write(self, topic: str, key: bytes, value: bytes) -> None:
        """Write a record to any topic, soon."""
        self._waiting.append((topic, key, value))
        self._awake.set()

    def close(self) -> None:
        """Write what waits, in bounded time."""
        self._closed = True
        self._awake.set()
        self._thread.join(2 * CLOSE_S)

    def _run(self) -> None:
        try:
            self._make()
        except PenstockError as error:
            self._warn(str(error))
        try:
            producer: Any = self._clients.producer(revealed(self._config))
        except KafkaException as error:
            self._warn(error.args[0].str())
            return
        while not self._closed:
            self._awake.wait(POLL_S)
            self._awake.clear()
            self._write(producer)
            producer.poll(0)
        self._write(producer)
        producer.flush(CLOSE_S)

    def _write(self, producer: Any) -> None:
        while self._waiting:
            told = self._waiting.popleft()
            topic, key, value = told if isinstance(told, tuple) else self._row(told)
            try:
                with suppress(BufferError):  # the broker is away: it is in the log already
                    producer.produce(topic, value, key, on_delivery=self._delivered)
            except KafkaException as error:
                self._warn(error.args[0].str(), topic)

    def _row(self, told: Told) -> Row:
        key = msgspec.json.encode([str(told.id), told.instance_id])
        return self._topic, key, told.to_json().encode()

    def _delivered(self, error: KafkaError | None, message: Any) -> None:
        if error is not None and not self._closed:
            self._warn(error.str(), message.topic())

    def _warn(self, why: str, topic: str | None = None) -> None:
        now = self._clients.now()
        if now - self._warned >= WARN_S:
            self._warned = now
            what = "Progress" if topic in (None, self._topic) else "Alerts"
            log.warning(
                "%s cannot be written to %s: %s Processing goes on; what was not written is lost.",
                what,
                topic or self._topic,
                why if why.endswith(".") else f"{why}.",
            )
