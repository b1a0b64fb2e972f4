"""The settings of the Kafka clients of a worker: measured ones, the user's, and Penstock's own.

Later ones win: what the user gives beats what was measured, and what exactly-once rests on beats
both. (Of those the user's are refused, see `settings.OWNED`.)
"""

import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from penstock.engine.assignment import LeadMap
from penstock.secret import check_brokers, without_secrets

if TYPE_CHECKING:
    from penstock.app import App

_kafka_log = logging.getLogger("penstock.kafka")

DEFAULT_BROKERS = "localhost:9092"
ROUTINE = "GETPID "  # a producer that waits for its coordinator, as at each first start
REPEAT_S = 60.0  # what a client repeats is told as often
MOST_LINES = 100  # that are remembered
HEARTBEAT_MS = 300  # so long may pass until the others hear that a worker has left

_VARYING = re.compile(r" \(after \d+ms in state [^)]*\)")


class ClientConfigs:
    """Make the settings of each client of an application's worker."""

    def __init__(self, app: "App") -> None:
        self._app = app
        self._kafka = app.settings.kafka

    def common(self) -> dict[str, Any]:
        """Return what all clients have."""
        kafka = self._kafka
        brokers = self._app.brokers or os.environ.get("PENSTOCK_BROKERS") or DEFAULT_BROKERS
        return {
            # A broker that comes up, or comes back, is found within a second; by default in ten.
            "reconnect.backoff.max.ms": 1_000,
            **kafka.client,
            "bootstrap.servers": check_brokers(brokers),
            "enable.metrics.push": False,
            "logger": _ClientLog(kafka.client, kafka.consumer, kafka.producer),
        }

    def inputs(self, identity: str, leads: LeadMap) -> dict[str, Any]:
        """Return those of the consumer that reads the inputs; `identity` is the worker's."""
        kafka = self._kafka
        config = {
            **self.common(),
            # The first two decide the speed: 0.4 M records/s without, 1.6 to 2.3 M with them.
            "fetch.queue.backoff.ms": 10,
            # An input is known to be at its end that long after its last record.
            "fetch.wait.max.ms": 100,
            "queued.min.messages": 200_000,
            "queued.max.messages.kbytes": 65_536,
            # Brokers hand out what is on their disks without a look. It costs nothing that can be
            # measured: 0.85 s of CPU for a million records with it, 0.87 s without.
            "check.crcs": True,
            **kafka.consumer,
            "group.id": self._app.id,
            "client.id": f"{self._app.id}-{leads.fingerprint}",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "max.poll.interval.ms": kafka.max_poll_interval_ms,
            "group.protocol": kafka.protocol,
        }
        if kafka.protocol == "classic":
            # Three in a session; the client's own is one in 3 s, however short the session.
            config.setdefault(
                "heartbeat.interval.ms", min(HEARTBEAT_MS, kafka.session_timeout_ms // 3)
            )
            config |= {
                "session.timeout.ms": kafka.session_timeout_ms,
                "partition.assignment.strategy": "cooperative-sticky",
            }
            if not self._app.settings.worker.leave:
                config["group.instance.id"] = f"{identity}-{leads.fingerprint}"
        return config

    def memory(self) -> dict[str, Any]:
        """Return those of the consumer that looks up what was committed, before it joins.

        A worker that was killed may have left a transaction open: what was committed before it
        is told at once, and those who go on from there wait for its end.
        """
        return {
            **self.common(),
            "group.id": self._app.id,
            "isolation.level": "read_uncommitted",
        }

    def restore(self) -> dict[str, Any]:
        """Return those of the consumer that reads changelogs."""
        return {
            **self.common(),
            "fetch.queue.backoff.ms": 10,
            # At the end of a changelog the broker keeps a fetch waiting this long.
            "fetch.wait.max.ms": 10,
            "queued.min.messages": 500_000,
            "queued.max.messages.kbytes": 65_536,
            "group.id": f"{self._app.id}-restore",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "check.crcs": True,
        }

    def telemetry(self) -> dict[str, Any]:
        """Return those of the producer that writes progress, which nothing waits for."""
        return {
            **self.common(),
            "client.id": f"{self._app.id}-progress",
            "linger.ms": 20,
            "acks": 1,
            "message.timeout.ms": 30_000,
            "queue.buffering.max.messages": 1_000,
        }

    def following(self) -> dict[str, Any]:
        """Return those of the consumer that reads what workers say of themselves."""
        return {
            **self.common(),
            "client.id": f"{self._app.id}-workers",
            "group.id": f"{self._app.id}-workers",  # which it never joins
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "queued.max.messages.kbytes": 1_024,
        }

    def producer(self, identity: str, batch_bytes: int) -> dict[str, Any]:
        """Return those of the producer."""
        kafka = self._kafka
        config = {
            **self.common(),
            "linger.ms": 5,
            "batch.num.messages": 10_000,
            "batch.size": min(900_000, batch_bytes),
            # The client's largest: sizes are checked against each topic's own limit.
            "message.max.bytes": 1_000_000_000,
            "queue.buffering.max.messages": 1_000_000,
            # A transaction takes 5 ms with this and 103 ms with the default.
            "retry.backoff.ms": 1,
            "retry.backoff.max.ms": 50,
            **kafka.producer,
            "enable.idempotence": True,
        }
        if self._app.guarantee == "exactly_once":
            config |= {
                "transactional.id": f"{self._app.id}-{identity}",
                "transaction.timeout.ms": kafka.transaction_timeout_ms,
            }
        return config


class _ClientLog:
    """The log of the Kafka clients: without secrets, and as information at most.

    The client reports every connection that it will try again as an error. What stops the
    application is an error of ours. While a broker is away it does so twenty times a second: what
    it repeats is told once a minute, and in between to those who debug.

    Args:
        settings: those of all clients.
        now: monotonic seconds.
    """

    def __init__(
        self, *settings: Mapping[str, Any], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._now = now
        self._told: dict[str, float] = {}

    def log(self, level: int, message: str, *args: object) -> None:
        """Take a line of the client, which calls nothing else."""
        line = without_secrets(message % args, *self._settings)
        quiet = line.startswith(ROUTINE) or self._is_repeated(line)
        _kafka_log.log(min(level, logging.DEBUG if quiet else logging.INFO), "%s", line)

    def _is_repeated(self, line: str) -> bool:
        what, now = _VARYING.sub("", line), self._now()
        if now - self._told.get(what, -REPEAT_S) < REPEAT_S:
            return True
        if len(self._told) >= MOST_LINES:
            self._told.clear()
        self._told[what] = now
        return False
