"""Records to a topic, and what the brokers have said of each of them.

Rule 1. A record counts once the broker has acknowledged it: reports are counted, not what was
        handed over. After a flush every record has a report.
Rule 2. The partition is the one that Java's default partitioner gives the key. Records without
        a key go round.
Rule 3. The producer is idempotent: what the client sends again after a lost connection is in the
        topic once, and in its order.

Importing this module loads confluent-kafka.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer, murmur2

from penstock.cli.cluster import CONNECT_TIMEOUT_S, client_config
from penstock.cli.events.disorder import Kind
from penstock.cli.events.protocol import Key, Rows
from penstock.cli.events.summary import Acknowledged
from penstock.cli.target import Target

DELIVERY_TIMEOUT_S = 30.0
DISTINCT_KEYS_LIMIT = 2_000_000  # about 130 bytes each; beyond it they are not counted
_BATCH_BYTES = 900_000
_BATCH_OVERHEAD = 1_000  # headers of a batch, generously
_CLIENT_MAX_BYTES = 1_000_000

Report = Callable[[KafkaError | None, Message], None]


class KeyPartitions(dict[Key, int]):
    """The partition of each key, computed once per key; so it knows the distinct keys too.

    Records without a key take the partitions in turn.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count
        self._turns = itertools.cycle(range(count))
        self.overflowed = False

    def __missing__(self, key: Key) -> int:
        if key is None:
            return next(self._turns)
        partition = murmur2(key, self._count)
        if len(self) < DISTINCT_KEYS_LIMIT:
            self[key] = partition
        else:
            self.overflowed = True
        return partition

    def of(self, rows: Rows) -> list[int]:
        """Return the partitions of events."""
        if rows.keys is None:
            return list(itertools.islice(self._turns, len(rows.values)))
        return list(map(self.__getitem__, rows.keys))

    def distinct(self) -> int | None:
        """Count the keys seen; None if they were too many to remember."""
        return None if self.overflowed else len(self)


class Reports(dict[int, Report]):
    """What is called with each report on records of one kind, by partition."""

    def __init__(self, on_lost: Callable[[KafkaError, Message], None]) -> None:
        super().__init__()
        self._on_lost = on_lost
        self._tallies: dict[int, Callable[[], Acknowledged]] = {}

    def __missing__(self, partition: int) -> Report:
        self[partition], self._tallies[partition] = _tally(self._on_lost)
        return self[partition]

    def acknowledged(self) -> dict[int, Acknowledged]:
        """Return what was acknowledged, by partition."""
        return {partition: read() for partition, read in self._tallies.items()}


def _tally(
    on_lost: Callable[[KafkaError, Message], None],
) -> tuple[Report, Callable[[], Acknowledged]]:
    # Hot path: called for each record. A closure that counts and keeps two messages costs 0.2 us,
    # most of it the client's making of the message.
    count = 0
    first: Any = None
    last: Any = None

    def report(error: KafkaError | None, message: Message) -> None:
        nonlocal count, first, last
        if error is None:
            count += 1
            last = message
            if first is None:
                first = message
        else:
            on_lost(error, message)

    def read() -> Acknowledged:
        return Acknowledged(count, first.offset(), last.offset()) if count else Acknowledged()

    return report, read


class Sender:
    """A producer, and what has become of the records that it was given.

    Args:
        target: where they go.
        prompt: whether each record is sent at once, instead of a few milliseconds later with
            others.
        count_keys: whether records are counted by key.
    """

    def __init__(self, target: Target, *, prompt: bool = False, count_keys: bool = False) -> None:
        self._target = target
        self._reports = {kind: Reports(self._on_lost) for kind in Kind}
        self._broker_error = ""
        self.bytes = 0
        self.key_counts: Counter[Key] | None = Counter() if count_keys else None
        self.first_timestamp: int | None = None
        self.last_timestamp: int | None = None
        self.failed = 0
        self.failure = ""
        self._producer = Producer(
            {
                **client_config(target.brokers),
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 0 if prompt else 5,
                "batch.num.messages": 10_000,
                # A batch that is too large is refused, and with it records that are not.
                "batch.size": max(1, min(_BATCH_BYTES, target.max_bytes - _BATCH_OVERHEAD)),
                "message.max.bytes": max(_CLIENT_MAX_BYTES, target.max_bytes),
                "queue.buffering.max.messages": 1_000_000,
                "compression.type": "lz4",
                "message.timeout.ms": int(DELIVERY_TIMEOUT_S * 1000),
                "error_cb": self._on_error,
            }
        )
        # A producer whose first look finds no connection sleeps 0.5 s: wait for one here. If
        # none comes, the records fail and say why.
        with suppress(KafkaException):
            self._producer.list_topics(target.topic, timeout=CONNECT_TIMEOUT_S)

    def send(self, rows: Rows, partitions: Sequence[int], kinds: Sequence[Kind] | None) -> None:
        """Send records; kinds is None where all are clean."""
        if not rows.values:
            return
        reports: list[Report]
        if kinds is None:
            reports = list(map(self._reports[Kind.CLEAN].__getitem__, partitions))
        else:
            reports = [self._reports[k][p] for k, p in zip(kinds, partitions, strict=True)]
        self._note(rows, self._produce(rows, partitions, reports))
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until every record is acknowledged or has failed."""
        if self._producer.flush(DELIVERY_TIMEOUT_S + 5):
            self._producer.purge()  # whatever is left fails now, and is counted
            self._producer.flush(5)

    def kinds(self) -> dict[Kind, int]:
        """Return how many records of each kind are acknowledged."""
        return {
            kind: sum(at.records for at in reports.acknowledged().values())
            for kind, reports in self._reports.items()
        }

    def partitions(self) -> dict[int, Acknowledged]:
        """Return what is acknowledged in each partition of the topic."""
        found: dict[int, list[Acknowledged]] = {n: [] for n in range(self._target.partitions)}
        for reports in self._reports.values():
            for number, at in reports.acknowledged().items():
                found[number].append(at)
        return {number: _together(of) for number, of in found.items()}

    def _produce(self, rows: Rows, partitions: Sequence[int], reports: Sequence[Report]) -> int:
        """Hand records to the producer; return how many it took."""
        # Hot path: positional arguments, one call per record, the rows of one zip.
        produce, none = self._producer.produce, itertools.repeat(None)
        records = zip(
            itertools.repeat(self._target.topic),
            rows.values,
            rows.keys or none,
            partitions,
            reports,
            none,
            rows.times,
            strict=False,
        )
        record: tuple[Any, ...] = ()
        try:
            for record in records:
                try:
                    produce(*record)
                except BufferError:
                    self._produce_when_room(record)
        except KafkaException as error:
            self._lose(error.args[0], record[1], record[2], record[3])
            return len(rows.values) - 1 - sum(1 for _ in records)
        return len(rows.values)

    def _produce_when_room(self, record: tuple[Any, ...]) -> None:
        """Wait for the full queue to drain: a record in it fails after 30 s at the latest."""
        while True:
            self._producer.poll(0.01)
            with suppress(BufferError):
                self._producer.produce(*record)
                return

    def _note(self, rows: Rows, accepted: int) -> None:
        values, keys, times = rows.values, rows.keys or [], rows.times
        if accepted < len(values):
            values, keys, times = values[:accepted], keys[:accepted], times[:accepted]
        self.bytes += sum(map(len, values)) + sum(map(len, filter(None, keys)))
        if self.key_counts is not None:
            self.key_counts.update(keys or {None: len(values)})
        if times:
            known = (self.first_timestamp, self.last_timestamp)
            self.first_timestamp = min(times) if known[0] is None else min(known[0], min(times))
            self.last_timestamp = max(times) if known[1] is None else max(known[1], max(times))

    def _on_lost(self, error: KafkaError, message: Message) -> None:
        """Take a record that was not acknowledged out of what was noted."""
        value, key = message.value() or b"", message.key()
        self.bytes -= len(value) + len(key or b"")
        if self.key_counts is not None:
            self.key_counts[key] -= 1
        self._lose(error, value, key, message.partition() or 0)

    def _lose(self, error: KafkaError, value: bytes, key: Key, partition: int) -> None:
        self.failed += 1
        if self.failure:
            return
        at, size = f"partition {partition}", len(value) + len(key or b"")
        if error.code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE):
            at += f", a record of {size:,} bytes; max.message.bytes is {self._target.max_bytes:,}"
        self.failure = f"{error.str()} ({at})"
        if self._broker_error:
            self.failure += f"; last error of a broker: {self._broker_error}"

    def _on_error(self, error: KafkaError) -> None:
        self._broker_error = error.str()


def _together(parts: Sequence[Acknowledged]) -> Acknowledged:
    firsts = [at.first for at in parts if at.first is not None]
    lasts = [at.last for at in parts if at.last is not None]
    return Acknowledged(
        sum(at.records for at in parts), min(firsts, default=None), max(lasts, default=None)
    )
