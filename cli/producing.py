"""Make events from a template and send them to a topic: what `penstock produce` does.

Rule 1. A record counts as sent once the broker has acknowledged it. Only failures are
        reported back (`delivery.report.only.error`), so that success costs no Python call;
        a flush that leaves nothing behind makes silence mean success.
Rule 2. A record that fails ends the run: the summary says how many failed and why.
Rule 3. The partition is the one that Java's default partitioner gives the key. Records
        without a key fill one partition per block, in turn.
Rule 4. A record's timestamp is the `now_ms` of its template.

The topic comes from `target`; templates and pacing are pure (`templates`, `pacing`), and
the terminal is `produce`'s business. Importing this module loads confluent-kafka.
"""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, Message, Producer, murmur2

from penstock.cli.cluster import CONNECT_TIMEOUT_S, client_config
from penstock.cli.pacing import Pace, Schedule
from penstock.cli.target import Target
from penstock.cli.templates import Block, Template
from penstock.errors import BrokerError
from penstock.runtime.clock import now_ms

DELIVERY_TIMEOUT_S = 30.0
BLOCK_ROWS = 5_000
BLOCK_BYTES = 1_000_000
DISTINCT_KEYS_LIMIT = 2_000_000  # about 130 bytes each; beyond it they are not counted


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run has sent.

    Attributes:
        topic: where to.
        records: how many the broker has acknowledged.
        bytes: of their keys and values, as sent, before compression.
        seconds: from the first record to the last acknowledgement.
        keys: distinct keys; 0 for a template without a key, None above 2,000,000.
        first_timestamp: of the first record, in milliseconds; None without a record.
        last_timestamp: of the last record, in milliseconds; None without a record.
        partitions: acknowledged records of every partition of the topic.
        failed: records that were not acknowledged; after a timeout some may be in the topic.
        failure: why the first of them failed; "" if none did.
    """

    topic: str
    records: int
    bytes: int
    seconds: float
    keys: int | None
    first_timestamp: int | None
    last_timestamp: int | None
    partitions: Mapping[int, int]
    failed: int
    failure: str

    @property
    def rate(self) -> float:
        """Acknowledged records per second."""
        return self.records / self.seconds if self.seconds else 0.0

    def raise_for_failed(self) -> None:
        """Raise if a record was lost.

        Raises:
            BrokerError: if any record failed.
        """
        if self.failed:
            raise BrokerError(
                f"{self.failed:,} records for topic {self.topic} were not acknowledged, and"
                f" {self.records:,} were. The first failed with: {self.failure}. Check the"
                " brokers and the topic's limits, then produce again.",
                topic=self.topic,
            )


def produce_events(
    target: Target,
    template: Template,
    *,
    pace: Pace = Pace(),  # noqa: B008 - frozen
    stop: threading.Event | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Summary:
    """Send events until the pace is served, `stop` is set or a record fails; then flush.

    Returns once every record is acknowledged or has failed, which takes up to 30 seconds
    more if the brokers do not answer: look at `failed`, or call `raise_for_failed`.

    Args:
        target: what `find_topic` returned.
        template: makes the events; it goes on where it stands.
        pace: how fast and how much; without it, as fast as it goes until `stop`.
        stop: ends the run at the next block.
        on_progress: called with the records sent so far, after every block.
    """
    run = _Run(target, template)
    start_s = time.monotonic()
    schedule = Schedule(pace, block_rows=run.block_rows, start_s=start_s)
    stop = stop or threading.Event()
    while not (stop.is_set() or run.failed or schedule.finished(now_s := time.monotonic())):
        if rows := schedule.due(now_s):
            run.send(rows)
            schedule.sent += rows
        if on_progress:
            on_progress(schedule.sent)
        if not schedule.due(now_s := time.monotonic()) and not schedule.finished(now_s):
            stop.wait(schedule.wait_s(now_s))
    run.flush()
    return run.summary(time.monotonic() - start_s)


class KeyPartitions(dict[bytes, int]):
    """The partition of each key, computed once per key; so it knows the distinct keys too."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count
        self.overflowed = False

    def __missing__(self, key: bytes) -> int:
        partition = murmur2(key, self._count)
        if len(self) < DISTINCT_KEYS_LIMIT:
            self[key] = partition
        else:
            self.overflowed = True
        return partition

    def distinct(self) -> int | None:
        """Count the keys seen; None if they were too many to remember."""
        return None if self.overflowed else len(self)


class _Run:
    """One producer and what it has sent."""

    def __init__(self, target: Target, template: Template) -> None:
        self._target = target
        self._template = template
        self._partition_of = KeyPartitions(target.partitions)
        self._turns = itertools.cycle(range(target.partitions))
        self._per_partition = Counter(dict.fromkeys(range(target.partitions), 0))
        self._bytes = 0
        self._first_timestamp: int | None = None
        self._last_timestamp: int | None = None
        self._broker_error = ""
        self.failed = 0
        self._failure = ""
        self.block_rows = max(1, min(BLOCK_ROWS, BLOCK_BYTES // max(template.row_bytes, 1)))
        self._producer = Producer(
            {
                **client_config(target.brokers),
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 5,
                "batch.num.messages": 10_000,
                "batch.size": 900_000,
                "queue.buffering.max.messages": 1_000_000,
                "compression.type": "lz4",
                "message.timeout.ms": int(DELIVERY_TIMEOUT_S * 1000),
                # Costs nothing to speak of: 0.63 us of this thread per record, as without any
                # report, and 0.87 with a Python call for each (147 bytes, a broker beside it).
                "delivery.report.only.error": True,
                "on_delivery": self._on_lost,
                "error_cb": self._on_error,
            }
        )
        # A producer whose first look finds no connection sleeps 0.5 s: wait for one here. If
        # none comes, the records fail and say why.
        with suppress(KafkaException):
            self._producer.list_topics(target.topic, timeout=CONNECT_TIMEOUT_S)

    def send(self, rows: int) -> None:
        """Send the next rows of the template, all with the same timestamp."""
        now = now_ms()
        block = self._template.block(rows, now)
        partitions = self._partitions(block)
        accepted = self._produce(block, partitions, now)
        self._count(block, partitions, accepted)
        if self._first_timestamp is None:
            self._first_timestamp = now
        self._last_timestamp = now
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until every record is acknowledged or has failed."""
        if self._producer.flush(DELIVERY_TIMEOUT_S + 5):
            self._producer.purge()  # whatever is left fails now, and is counted
            self._producer.flush(5)

    def summary(self, seconds: float) -> Summary:
        """Sum the run up."""
        return Summary(
            topic=self._target.topic,
            records=sum(self._per_partition.values()),
            bytes=self._bytes,
            seconds=seconds,
            keys=self._partition_of.distinct(),
            first_timestamp=self._first_timestamp,
            last_timestamp=self._last_timestamp,
            partitions=dict(sorted(self._per_partition.items())),
            failed=self.failed,
            failure=self._failure,
        )

    def _partitions(self, block: Block) -> list[int]:
        if block.keys is None:
            return [next(self._turns)] * len(block.values)
        return list(map(self._partition_of.__getitem__, block.keys))

    def _produce(self, block: Block, partitions: list[int], now: int) -> int:
        """Hand a block to the producer; return how many records it took."""
        # Hot path, 0.63 us per record: positional arguments, one call per record.
        produce, topic = self._producer.produce, self._target.topic
        keys = block.keys or itertools.repeat(None)
        rows = iter(zip(block.values, keys, partitions, strict=False))
        try:
            for value, key, partition in rows:
                try:
                    produce(topic, value, key, partition, None, None, now)
                except BufferError:
                    self._produce_when_room(value, key, partition, now)
        except KafkaException as error:
            self._lose(f"{error.args[0].str()} (partition {partition})")  # pyright: ignore[reportPossiblyUnboundVariable]
            return len(block.values) - 1 - sum(1 for _ in rows)
        return len(block.values)

    def _produce_when_room(self, value: bytes, key: bytes | None, partition: int, now: int) -> None:
        """Wait for the full queue to drain: a record in it fails after 30 s at the latest."""
        while True:
            self._producer.poll(0.01)
            try:
                self._producer.produce(self._target.topic, value, key, partition, None, None, now)
            except BufferError:
                continue
            return

    def _count(self, block: Block, partitions: list[int], accepted: int) -> None:
        values, keys = block.values, block.keys or []
        if accepted < len(values):
            values, keys, partitions = values[:accepted], keys[:accepted], partitions[:accepted]
        self._bytes += sum(map(len, values)) + sum(map(len, keys))
        self._per_partition.update(partitions)

    def _on_lost(self, error: KafkaError, message: Message) -> None:
        """Take a record that was not acknowledged out of the counts."""
        partition = message.partition() or 0  # None only before a record has one
        reason = f"{error.str()} (partition {partition})"
        seen = f"; last error of a broker: {self._broker_error}" if self._broker_error else ""
        self._lose(reason + seen)
        self._per_partition[partition] -= 1
        self._bytes -= len(message.value() or b"") + len(message.key() or b"")

    def _lose(self, reason: str) -> None:
        self.failed += 1
        self._failure = self._failure or reason

    def _on_error(self, error: KafkaError) -> None:
        self._broker_error = error.str()
