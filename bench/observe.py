"""What both engines are judged by, from outside: the broker's log and a read_committed reader.

`committed()` reads the group's commits out of `__consumer_offsets` after the run: when the
broker took each one, and how many input records it covers. Only commits of committed
transactions show, and nothing is read while the engine works. `Tail` is a reader that stands at
the end of a topic and sees what becomes visible, `Outputs` one that notes when; `audit`
recounts an output.
"""

import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import msgspec
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from bench import RunFailedError
from bench.topics import COUNT

OFFSETS_TOPIC = "__consumer_offsets"
OFFSET_COMMIT_KEYS = (0, 1)  # versions of the key that hold a commit, not a member
READY_SECONDS = 30
READER = {
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "auto.offset.reset": "earliest",
    "enable.partition.eof": True,
    "group.id": "bench-reader",  # required by the client; nothing is ever committed to it
}


@dataclass(frozen=True)
class Commit:
    """One commit: when the broker took it, and the input records behind it, all partitions."""

    time_ms: int
    records: int


def end_offsets(brokers: str, topic: str) -> dict[int, int]:
    """Where each partition ends; nothing of a topic that does not exist yet.

    A new topic's partitions have no leader for some milliseconds: asked again, for 30 s at most.
    """
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            return ask_end_offsets(brokers, topic)
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def ask_end_offsets(brokers: str, topic: str) -> dict[int, int]:
    consumer = Consumer({"bootstrap.servers": brokers, **READER})
    try:
        found = consumer.list_topics(timeout=10).topics
        return {
            p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1]
            for p in (found[topic].partitions if topic in found else ())
        }
    finally:
        consumer.close()


def committed(brokers: str, group: str, topic: str, since: dict[int, int]) -> list[Commit]:
    """The group's commits on a topic, oldest first, after the given offsets of the log."""
    offsets: dict[int, int] = {}
    found: list[Commit] = []
    for message in read_to_end(brokers, OFFSETS_TOPIC, since):
        place = parse_commit_key(message.key() or b"")
        value = message.value()
        if value is None or place is None or place[:2] != (group, topic):
            continue
        offsets[place[2]] = struct.unpack_from(">q", value, 2)[0]  # behind a 2-byte version
        time_ms = message.timestamp()[1]
        if found and found[-1].time_ms == time_ms:
            found.pop()
        found.append(Commit(time_ms, sum(offsets.values())))
    return found


def parse_commit_key(key: bytes) -> tuple[str, str, int] | None:
    """Group, topic and partition of an OffsetCommitKey (Kafka's own schema), else None."""
    if len(key) < 2 or struct.unpack_from(">h", key)[0] not in OFFSET_COMMIT_KEYS:
        return None
    at, texts = 2, []
    for _ in range(2):
        (size,) = struct.unpack_from(">h", key, at)
        texts.append(key[at + 2 : at + 2 + size].decode())
        at += 2 + size
    return texts[0], texts[1], struct.unpack_from(">i", key, at)[0]


def committed_records(admin: AdminClient, group: str, topic: str) -> int:
    """The records that a group has committed by now: for waiting, not for measuring."""
    asked = ConsumerGroupTopicPartitions(group)
    try:
        answer = admin.list_consumer_group_offsets([asked])[group].result(10)
    except KafkaException:  # the group is not there yet, or its coordinator is loading
        return 0
    return sum(max(at.offset, 0) for at in answer.topic_partitions if at.topic == topic)


def read_to_end(brokers: str, topic: str, since: dict[int, int] | None = None) -> Iterator[Message]:
    """Every committed record of a topic, from the given offsets or its start to its end."""
    starts = since or dict.fromkeys(end_offsets(brokers, topic), 0)
    consumer = Consumer({"bootstrap.servers": brokers, **READER})
    try:
        consumer.assign([TopicPartition(topic, p, start) for p, start in starts.items()])
        left = set(starts)
        while left:
            for message in consumer.consume(10_000, 0.2):
                error = message.error()
                if error is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    left.discard(message.partition())
                else:
                    raise KafkaException(error)
    finally:
        consumer.close()


def audit_map(brokers: str, topic: str) -> tuple[int, int]:
    """Recount a map's output: records, and the sum of the field that it changed."""
    decode = msgspec.json.Decoder(Cents).decode
    records = total = 0
    for message in read_to_end(brokers, topic):
        records += 1
        total += decode(message.value() or b"").cents
    return records, total


def audit_counts(brokers: str, topic: str) -> int:
    """Recount a count's output: the sum of every key's last value, deleted ones left out."""
    last = {message.key(): message.value() for message in read_to_end(brokers, topic)}
    return sum(COUNT.unpack(value)[0] for value in last.values() if value is not None)


class Columns(msgspec.Struct):
    n: int


def audit_agg(brokers: str, topic: str) -> int:
    """Recount an agg's output: the sum of every key's last number of records."""
    last = {message.key(): message.value() for message in read_to_end(brokers, topic)}
    return sum(msgspec.json.decode(value or b"", type=Columns).n for value in last.values())


class Cents(msgspec.Struct):
    cents: int


@dataclass(frozen=True)
class Seen:
    """A record of an output, and when a reader saw it (monotonic seconds)."""

    at: float
    partition: int
    key: bytes
    value: bytes


class Tail:
    """A read_committed reader at the end of a topic, ready before the worker starts.

    Its settings add next to nothing to a latency: the broker answers a fetch as soon as a
    transaction's records become visible, and 10 ms later at the latest.
    """

    def __init__(self, brokers: str, topic: str) -> None:
        fast = {"fetch.wait.max.ms": 10, "fetch.queue.backoff.ms": 1, "fetch.error.backoff.ms": 10}
        ends = [TopicPartition(topic, p, end) for p, end in end_offsets(brokers, topic).items()]
        self.partitions = len(ends)
        self._consumer = Consumer({"bootstrap.servers": brokers, **READER, **fast})
        self._consumer.list_topics(topic, timeout=10)  # else metadata may take its time
        self._consumer.assign(ends)
        self._wait_until_ready(topic, {end.partition for end in ends})

    def _wait_until_ready(self, topic: str, partitions: set[int]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while partitions:
            message = self._consumer.poll(0.5)
            error = message.error() if message else None
            if message and error and error.code() == KafkaError._PARTITION_EOF:
                partitions.discard(message.partition())
            if time.monotonic() > deadline:
                self._consumer.close()
                raise RunFailedError(f"no answer from {topic}, partitions {sorted(partitions)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def next(self) -> Seen | None:
        """The next record, or None after 50 ms."""
        message = self._consumer.poll(0.05)
        now = time.monotonic()
        if message is None or message.error():
            return None
        return Seen(now, message.partition() or 0, message.key() or b"", message.value() or b"")


class Outputs:
    """Notes in the background when each partition of a topic brings something.

    Attributes:
        times: per partition, in order, monotonic seconds; they grow while it is open.
    """

    def __init__(self, brokers: str, topic: str) -> None:
        self._tail = Tail(brokers, topic)
        self.times: list[list[float]] = [[] for _ in range(self._tail.partitions)]
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        with self._tail as tail:
            while not self._closed.is_set():
                if seen := tail.next():
                    self.times[seen.partition].append(seen.at)
