"""What tests write into topics: plain records, transactions of all fates, and load.

    python feeding.py SERVERS TIMEOUT_MS TOPIC KEY=VALUE ...

as a program writes records in a transaction and dies in the middle of it.
"""

import itertools
import os
import random
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple

from confluent_kafka import Producer

from penstock.runtime.clock import now_ms

TIMEOUT_S = 30.0
BEGIN_MS = now_ms() - 3_600_000  # old enough to be distinct, young enough not to be retired


class Row(NamedTuple):
    """A record to be written; a partition of -1 is the key's."""

    key: str | bytes | None
    value: str | bytes | None
    timestamp: int = 0
    headers: Sequence[tuple[str, bytes | None]] | None = None
    partition: int = -1


def words(count: int, *, keys: int = 100, seed: int = 1, first: int = 0) -> list[Row]:
    """Make rows with distinct values over some keys, one per millisecond from BEGIN_MS on."""
    return list(islice(endless_words(keys=keys, seed=seed, first=first), count))


def endless_words(*, keys: int = 100, seed: int = 1, first: int = 0) -> Iterator[Row]:
    """Make such rows for ever."""
    draw = random.Random(seed + first)
    for number in itertools.count(first):
        at = BEGIN_MS + number % 1_000_000  # the broker takes none from the next hour
        yield Row(f"key-{draw.randrange(keys)}", f"word-{number}", at)


def feed(servers: str, topic: str, rows: Iterable[Row], **config: Any) -> None:
    """Write rows and wait until they are acknowledged."""
    failed: list[str] = []
    producer = _producer(servers, failed, **config)
    producer.list_topics(topic, timeout=TIMEOUT_S)  # unconnected, it sleeps 0.5 s at first
    _produce(producer, topic, rows)
    _flush(producer)
    assert not failed, failed[0]


def feed_transaction(servers: str, topic: str, rows: Iterable[Row], *, commit: bool = True) -> None:
    """Write rows in a transaction, which is committed or aborted."""
    with open_transaction(servers, topic, rows, commit=commit):
        pass


def feed_transactions(servers: str, topic: str, rows: Iterable[Row]) -> None:
    """Write rows, each in a transaction of its own."""
    producer = _transactional(servers)
    for row in rows:
        producer.begin_transaction()
        _produce(producer, topic, [row])
        producer.commit_transaction(TIMEOUT_S)


@contextmanager
def open_transaction(
    servers: str, topic: str, rows: Iterable[Row], *, commit: bool = False
) -> Iterator[None]:
    """Write rows in a transaction that is open until the context ends."""
    producer = _transactional(servers)
    producer.begin_transaction()
    _produce(producer, topic, rows)
    _flush(producer)
    try:
        yield
    finally:
        if commit:
            producer.commit_transaction(TIMEOUT_S)
        else:
            producer.abort_transaction(TIMEOUT_S)


def abandon_transaction(
    servers: str, topic: str, rows: Iterable[Row], timeout_ms: int = 4_000
) -> None:
    """Let a process write rows in a transaction and die before its end."""
    pairs = [f"{row.key}={row.value}" for row in rows]
    command = [sys.executable, __file__, servers, str(timeout_ms), topic, *pairs]
    dead = subprocess.run(command, check=False, timeout=TIMEOUT_S, capture_output=True)
    assert dead.returncode == ABANDONED, dead.stderr.decode()


class Load:
    """Write rows to topics at a rate from a thread of its own, until it is stopped.

    Args:
        servers: the cluster.
        rows: by topic; the topics take turns until one has none left.
        per_second: records per second, of all topics together.

    """

    def __init__(self, servers: str, rows: Mapping[str, Iterable[Row]], per_second: int) -> None:
        self._failed: list[str] = []
        self._producer = _producer(servers, self._failed)
        self._rows = {topic: iter(of) for topic, of in rows.items()}
        self._pause_s = TURN * len(rows) / per_second
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def going(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """Write no more, and wait until all that was written is acknowledged."""
        self._ended.set()
        self._thread.join()
        _flush(self._producer)
        assert not self._failed, self._failed[0]

    def _run(self) -> None:
        due = time.monotonic()
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            for topic, rows in self._rows.items():
                turn = list(islice(rows, TURN))
                if not turn:
                    return
                _produce(self._producer, topic, turn)
            due += self._pause_s


TURN = 10
ABANDONED = 17
DEFAULTS = {
    "linger.ms": 2,
    "retry.backoff.ms": 10,
    "partitioner": "murmur2_random",
    "enable.idempotence": True,  # a broker that dies must not double what it got
    "log_level": 2,
}


def _producer(servers: str, failed: list[str], **config: Any) -> Producer:
    """Make a producer that collects the errors of records that it could not deliver."""

    def note(error: object, _message: object) -> None:
        if error is not None:
            failed.append(str(error))

    return Producer({"bootstrap.servers": servers, **DEFAULTS, **config, "on_delivery": note})


def _transactional(servers: str, **config: Any) -> Producer:
    identity = {"transactional.id": f"feeding-{uuid.uuid4()}"}
    producer = Producer({"bootstrap.servers": servers, **DEFAULTS, **identity, **config})
    producer.init_transactions(TIMEOUT_S)
    return producer


def _produce(producer: Producer, topic: str, rows: Iterable[Row]) -> None:
    for key, value, timestamp, headers, partition in rows:
        producer.produce(
            topic, value, key, partition, timestamp=timestamp, headers=headers and list(headers)
        )
        producer.poll(0)


def _flush(producer: Producer) -> None:
    left = producer.flush(TIMEOUT_S)
    assert left == 0, f"{left} records are not acknowledged"


def _abandon(servers: str, timeout_ms: int, topic: str, pairs: Iterable[str]) -> None:
    producer = _transactional(servers, **{"transaction.timeout.ms": timeout_ms})
    producer.begin_transaction()
    _produce(producer, topic, [Row(*pair.split("=", 1)) for pair in pairs])
    _flush(producer)
    os._exit(ABANDONED)


if __name__ == "__main__":
    _abandon(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:])
