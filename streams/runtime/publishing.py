"""Publishing: progress and events to the progress topic, from a thread of its own.

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


class ProgressTopic:
    """Write what a monitor tells to a topic.

    Args:
        topic: its name.
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
        self._waiting: deque[Told] = deque(maxlen=MOST_WAITING)
        self._awake = threading.Event()
        self._closed = False
        self._warned = -WARN_S
        self._thread = threading.Thread(target=self._run, name="penstock-progress", daemon=True)
        self._thread.start()

    def take(self, told: Told) -> None:
        """Write something, soon; the oldest of what waits is dropped where that is much."""
        self._waiting.append(told)
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
            key = msgspec.json.encode([str(told.id), told.instance_id])
            with suppress(BufferError):  # the broker is away: it is in the log already
                producer.produce(self._topic, told.to_json(), key, on_delivery=self._delivered)

    def _delivered(self, error: KafkaError | None, _: object) -> None:
        if error is not None and not self._closed:
            self._warn(error.str())

    def _warn(self, why: str) -> None:
        now = self._clients.now()
        if now - self._warned >= WARN_S:
            self._warned = now
            log.warning(
                "Progress cannot be written to %s: %s. Processing goes on; what was not written"
                " is lost.",
                self._topic,
                why,
            )
