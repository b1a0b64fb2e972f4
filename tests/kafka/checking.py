"""What a run has left in the cluster and on disk, and whether it is exact.

A reader takes a whole topic as it stands; a checker compares what was read and raises an
AssertionError with the coordinates of what is wrong. `test_checking.py` holds a broken
history, and a run that is broken for real, against each of them.

Counts are checked by their updates: coalescing may skip some, but per key they rise strictly
and the last is the recount.
"""

import shutil
import struct
import tempfile
import time
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    OffsetSpec,
    ResourceType,
)

from penstock.state.rocksdb import RocksMemory, RocksStore
from penstock.state.store import Position
from tests.kafka.apps import ending

READ_TIMEOUT_S = 30.0
COORDINATOR_TIMEOUT_S = 5.0
Partition = tuple[str, int]


class Record(NamedTuple):
    """A record as it stands in a topic."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int = 0
    headers: list[tuple[str, bytes | None]] | None = None

    @property
    def at(self) -> str:
        return f"{self.topic}/{self.partition} offset {self.offset}"


class History(NamedTuple):
    """Topics as they stood: their records, by partition in the order of offsets.

    Attributes:
        records: of all partitions, one after the other.
        ends: where each partition ended for the reader, markers stepped over.

    """

    records: list[Record]
    ends: dict[Partition, int]

    def of(self, topic: str, partition: int) -> list[Record]:
        return [r for r in self.records if (r.topic, r.partition) == (topic, partition)]


# Reading


@lru_cache(maxsize=8)
def admin(servers: str) -> AdminClient:
    return AdminClient(
        {"bootstrap.servers": servers, "reconnect.backoff.max.ms": 500, "log_level": 0}
    )


def partitions_of(servers: str, topics: Iterable[str]) -> list[Partition]:
    found = admin(servers).list_topics(timeout=READ_TIMEOUT_S).topics
    return [(topic, number) for topic in topics for number in sorted(found[topic].partitions)]


def topics(servers: str) -> set[str]:
    return set(admin(servers).list_topics(timeout=READ_TIMEOUT_S).topics)


def config_of(servers: str, topic: str) -> dict[str, str]:
    """Look up the settings of a topic."""
    asked = ConfigResource(ResourceType.TOPIC, topic)
    found = admin(servers).describe_configs([asked])[asked].result()
    return {name: entry.value for name, entry in found.items()}


@contextmanager
def member(servers: str, group: str, topic: str) -> Iterator[None]:
    """Let a plain consumer be a member of a group."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": group, "log_level": 0})
    assigned: list[object] = []
    consumer.subscribe([topic], on_assign=lambda _, found: assigned.append(found))
    deadline = time.monotonic() + READ_TIMEOUT_S
    while not assigned:
        assert time.monotonic() < deadline, f"the consumer did not join {group}"
        consumer.poll(0.1)
    try:
        yield
    finally:
        consumer.close()


def configure(servers: str, topic: str, config: Mapping[str, str]) -> None:
    """Change settings of a topic, and wait until the broker says so too."""
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in config.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    admin(servers).incremental_alter_configs([resource])[resource].result()
    deadline = time.monotonic() + READ_TIMEOUT_S
    while True:
        found = config_of(servers, topic)
        if all(found[name] == value for name, value in config.items()):
            return
        assert time.monotonic() < deadline, f"{topic} is not configured as {config}"
        time.sleep(0.02)


def delete_records(servers: str, before: Mapping[Partition, int]) -> None:
    """Delete the beginning of partitions, also of compacted topics.

    The broker refuses that for a moment after it says that a topic is not only compacted:
    its logs learn of a change after its metadata.
    """
    wanted = [TopicPartition(topic, number, offset) for (topic, number), offset in before.items()]
    deadline = time.monotonic() + READ_TIMEOUT_S
    while wanted:
        left = []
        for at, future in admin(servers).delete_records(wanted).items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.POLICY_VIOLATION:
                    raise
                left.append(at)
        assert time.monotonic() < deadline, f"{left} may not be deleted"
        wanted = left


def read(servers: str, *topics: str, isolation: str = "read_committed") -> History:
    """Read whole topics, up to the end of each partition."""
    partitions = partitions_of(servers, topics)
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": f"reader-{uuid.uuid4()}",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": isolation,
            "fetch.queue.backoff.ms": 10,
            "fetch.wait.max.ms": 10,  # the end of a partition shows after such a wait
        }
    )
    try:
        # Without it half of the readers wait 1 s for metadata.
        consumer.list_topics(timeout=READ_TIMEOUT_S)
        consumer.assign([TopicPartition(t, p, OFFSET_BEGINNING) for t, p in partitions])
        return _drain(consumer, partitions)
    finally:
        consumer.close()


def _drain(consumer: Consumer, partitions: Sequence[Partition]) -> History:
    records: dict[Partition, list[Record]] = {at: [] for at in partitions}
    ends: dict[Partition, int] = {}
    deadline = time.monotonic() + READ_TIMEOUT_S
    while len(ends) < len(partitions):
        assert time.monotonic() < deadline, f"no end of {set(partitions) - set(ends)}"
        for message in consumer.consume(10_000, 0.05):
            at = (message.topic(), message.partition())
            error = message.error()
            if error is None:
                records[at].append(_record(message))
            elif error.code() == KafkaError._PARTITION_EOF:
                ends[at] = message.offset()
            else:
                assert error.retriable() or not error.fatal(), f"{at}: {error}"
    return History([record for at in partitions for record in records[at]], ends)


def _record(message: Any) -> Record:
    return Record(
        message.topic(),
        message.partition(),
        message.offset(),
        message.key(),
        message.value(),
        message.timestamp()[1],
        message.headers(),
    )


def committed(servers: str, group: str, topics: Sequence[str]) -> dict[Partition, int]:
    """Read the offsets that a group has committed, waiting for pending transactions."""
    found = _committed(servers, group, topics)
    return {(at.topic, at.partition): at.offset for at in found if at.offset >= 0}


def metadata(servers: str, group: str, topics: Sequence[str]) -> dict[Partition, str]:
    """Read what stands beside the offsets that a group has committed."""
    found = _committed(servers, group, topics)
    return {(at.topic, at.partition): at.metadata or "" for at in found}


def _committed(servers: str, group: str, topics: Sequence[str]) -> list[TopicPartition]:
    """Ask for committed offsets.

    Through a consumer that joins nothing: the admin client's list_consumer_group_offsets ends
    the process with a segmentation fault when the group's coordinator is away (librdkafka
    2.16.0, rd_kafka_handle_OffsetFetch calls rd_kafka_cgrp_op without a group).
    """
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": group,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "reconnect.backoff.max.ms": 500,
            "log_level": 0,
        }
    )
    try:
        wanted = [TopicPartition(*at) for at in partitions_of(servers, topics)]
        return list(consumer.committed(wanted, COORDINATOR_TIMEOUT_S))
    finally:
        consumer.close()


def ends(
    servers: str, topics: Iterable[str], isolation: IsolationLevel = IsolationLevel.READ_COMMITTED
) -> dict[Partition, int]:
    """Look up where topics end: the last stable offset for readers of committed records."""
    return _offsets(servers, topics, OffsetSpec.latest(), isolation)


def starts(servers: str, topics: Iterable[str]) -> dict[Partition, int]:
    """Look up where topics begin."""
    return _offsets(servers, topics, OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED)


def _offsets(
    servers: str, topics: Iterable[str], spec: OffsetSpec, isolation: IsolationLevel
) -> dict[Partition, int]:
    wanted = {TopicPartition(t, p): spec for t, p in partitions_of(servers, topics)}
    if not wanted:
        return {}
    futures = admin(servers).list_offsets(
        wanted, isolation_level=isolation, request_timeout=READ_TIMEOUT_S
    )
    return {(at.topic, at.partition): future.result().offset for at, future in futures.items()}


# What has to come out


def counted(inputs: Iterable[Record]) -> dict[bytes, list[bytes]]:
    """Recount inputs: every count that each key goes through."""
    totals = Counter(r.key for r in inputs if r.key is not None and r.value is not None)
    return {key: [long(n) for n in range(1, total + 1)] for key, total in totals.items()}


def by_ending(records: Iterable[Record]) -> list[Record]:
    """Return records under the key that the regrouping applications give them."""
    return [r._replace(key=ending((r.value or b"").decode()).encode()) for r in records]


def folded(
    inputs: Iterable[Record], decode: Callable[[bytes], Any], f: Callable[[Any, Any], Any],
    encode: Callable[[Any], bytes],
) -> dict[bytes, list[bytes]]:  # fmt: skip
    """Fold inputs of one topic by key: every result that each key goes through."""
    states: dict[bytes, list[Any]] = defaultdict(list)
    for record in inputs:
        if record.key is not None and record.value is not None:
            before, value = states[record.key], decode(record.value)
            before.append(f(before[-1], value) if before else value)
    return {key: list(map(encode, values)) for key, values in states.items()}


def fold_of(changelog: Iterable[Record]) -> dict[bytes, bytes]:
    """Fold a changelog: what a store that follows it holds."""
    found: dict[bytes, bytes] = {}
    for record in changelog:
        assert record.key is not None
        if record.value is None:
            found.pop(record.key, None)
        else:
            found[record.key] = stamped(record.timestamp, record.value)
    return found


def stamped(timestamp: int, value: bytes) -> bytes:
    """Return what a store holds of a value: its timestamp in eight bytes, then itself."""
    return long(timestamp) + value


def long(number: int) -> bytes:
    """Return an integer as it stands in topics and stores."""
    return struct.pack(">q", number)


# Checkers


def check_updates(expected: Mapping[bytes, Sequence[bytes]], outputs: Iterable[Record]) -> None:
    """Each key's outputs go through the expected states, forwards only, up to the last."""
    for key, at in check_begun(expected, outputs).items():
        states = expected[key]
        last = states[at - 1] if at else None
        assert last == states[-1], (
            f"{key!r} ended with {_shown(last)}, not with {_shown(states[-1])}"
        )


def check_begun(
    expected: Mapping[bytes, Sequence[bytes]], outputs: Iterable[Record]
) -> dict[bytes, int]:
    """Each key's outputs go through the expected states, forwards only; return how far."""
    reached = dict.fromkeys(expected, 0)
    for record in outputs:
        assert record.key in expected, f"{record.at}: nobody sent the key {record.key!r}"
        states, start = expected[record.key], reached[record.key]
        before = _shown(states[start - 1]) if start else "nothing"
        assert record.value in states[start:], (
            f"{record.at}: {record.key!r} went from {before} to {_shown(record.value)};"
            f" the last is to be {_shown(states[-1])}"
        )
        reached[record.key] = states.index(record.value, start) + 1
    return reached


def check_every_update(
    expected: Mapping[bytes, Sequence[bytes]], outputs: Iterable[Record]
) -> None:
    """Each key's outputs are the expected states, all of them, in their order."""
    found: dict[bytes, list[bytes]] = defaultdict(list)
    for record in outputs:
        states, before = expected.get(record.key or b"", []), found[record.key or b""]
        needed = states[len(before)] if len(before) < len(states) else None
        assert record.value == needed, (
            f"{record.at}: {record.key!r} is {_shown(record.value)}, and should be"
            f" {_shown(needed)} after {len(before)} updates"
        )
        before.append(record.value or b"")
    for key, states in expected.items():
        missing = len(states) - len(found[key])
        assert not missing, f"{key!r} lacks its last {missing} updates"


def check_timestamps(inputs: Iterable[Record], outputs: Iterable[Record]) -> None:
    """A count of n has the largest timestamp of its key's first n records."""
    latest: dict[bytes | None, list[int]] = defaultdict(list)
    for record in inputs:
        seen = latest[record.key]
        seen.append(max(record.timestamp, seen[-1]) if seen else record.timestamp)
    for record in outputs:
        count = struct.unpack(">q", record.value or b"")[0]
        needed = latest[record.key][count - 1]
        assert record.timestamp == needed, (
            f"{record.at}: count {count} of {record.key!r} has timestamp {record.timestamp},"
            f" the largest contributor has {needed}"
        )


def check_mapped(
    inputs: Iterable[Record], outputs: Iterable[Record], f: Callable[[bytes], bytes]
) -> None:
    """Each input is there once, mapped, and each input partition in its order."""
    origins: dict[tuple[bytes | None, bytes], deque[Record]] = defaultdict(deque)
    for record in inputs:  # some may be equal: a producer may have repeated itself
        origins[record.key, f(record.value or b"")].append(record)
    last: dict[tuple[Partition, Partition], Record] = {}
    for record in outputs:
        identity = (record.key, record.value or b"")
        assert identity in origins, f"{record.at}: nobody sent {identity}"
        assert origins[identity], f"{record.at}: {identity} is there twice"
        origin = origins[identity].popleft()
        ends = ((origin.topic, origin.partition), (record.topic, record.partition))
        before = last.get(ends)
        assert before is None or before.offset < origin.offset, (
            f"{record.at}: its origin {origin.at} comes behind {before and before.at}"
        )
        last[ends] = origin
    lost = [left[0].at for left in origins.values() if left]
    assert not lost, f"{len(lost)} records are lost, such as {lost[0]}"


def check_store(
    state_dir: Path, application: str, store: str, changelog: History, *, complete: bool = True
) -> None:
    """The stores of stopped workers are the fold of their changelog up to their positions.

    A partition may have several, where a worker did not get the one that all share: the last
    that was written to is the one that has to be complete.

    Args:
        state_dir: the root of all state.
        application: the application id.
        store: its name.
        changelog: what readers of committed records see of its changelog.
        complete: whether it has to reflect the whole changelog, as after a clean stop.

    """
    for (topic, partition), end in changelog.ends.items():
        records, reached = changelog.of(topic, partition), {}
        for folder in copies(state_dir / application / store / str(partition)):
            held, position = stored(folder) if folder.exists() else ({}, None)
            offset = reached[folder] = position.offset if position else 0
            assert offset <= end, f"{folder} reflects {offset}, {topic}/{partition} ends at {end}"
            _check_equal(folder, held, fold_of(r for r in records if r.offset < offset))
        folder, offset = max(reached.items(), key=lambda found: found[1])
        behind = [record for record in records if record.offset >= offset]
        assert not (complete and behind), f"{folder} reflects {offset}, and misses {behind[0].at}"


def copies(folder: Path) -> list[Path]:
    """Return the folder of a store, and those beside it that single workers have used."""
    beside = folder.parent.glob(f"{folder.name}.*")
    return [folder, *(path for path in beside if path.is_dir() and ".aside-" not in path.name)]


def stored(folder: Path) -> tuple[dict[bytes, bytes], Position | None]:
    """Read a store that no process has open, without touching it."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = shutil.copytree(folder, Path(scratch) / "copy")
        store = RocksStore(copy, RocksMemory(8 * 1024 * 1024))
        try:
            return dict(store.scan()), store.position()
        finally:
            store.close()


def _check_equal(folder: Path, held: dict[bytes, bytes], needed: dict[bytes, bytes]) -> None:
    for key in held.keys() | needed.keys():
        assert held.get(key) == needed.get(key), (
            f"{folder}: {key!r} is {_shown(held.get(key))}, the changelog says"
            f" {_shown(needed.get(key))}"
        )


def check_committed(servers: str, group: str, inputs: Sequence[str]) -> None:
    """The group has committed each input up to its end."""
    found = committed(servers, group, inputs)
    for at, end in ends(servers, inputs).items():
        assert found.get(at) == end, (
            f"{group} has committed {found.get(at)} of {at[0]}/{at[1]}, which ends at {end}"
        )


def all_committed(servers: str, group: str, topics: Sequence[str]) -> bool:
    """Whether the group has committed each topic up to its end.

    The ends are looked up last: where one topic feeds another, that one has all by then. Some of it
    may still wait for the marker of its transaction, which has the offsets already.
    """
    found = committed(servers, group, topics)
    last = ends(servers, topics, IsolationLevel.READ_UNCOMMITTED)
    return all(found.get(at) == end for at, end in last.items())


def check_nothing_open(servers: str, topics: Sequence[str]) -> None:
    """No transaction is open."""
    for at, (stable, end) in open_transactions(servers, topics).items():
        raise AssertionError(f"a transaction is open in {at[0]}/{at[1]} from {stable} to {end}")


def open_transactions(servers: str, topics: Sequence[str]) -> dict[Partition, tuple[int, int]]:
    """Look up where transactions are open: from the last stable offset to the end."""
    stable = ends(servers, topics)
    last = ends(servers, topics, IsolationLevel.READ_UNCOMMITTED)
    return {at: (stable[at], end) for at, end in last.items() if stable[at] != end}


def _shown(value: bytes | None) -> str:
    if value and value[0] == 0 and len(value) in (8, 16):
        return " at ".join(str(n) for (n,) in reversed(list(struct.iter_unpack(">q", value))))
    return repr(value)
