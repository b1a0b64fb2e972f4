"""The consumer of the simulation: fetches, and what is asked of the group.

No call waits for records: time stands still unless somebody moves it.

Source: librdkafka, rdkafka_partition.c.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    OFFSET_INVALID,
    KafkaError,
    Message,
    TopicPartition,
)

from penstock.testing.sim.coordinator import Partition
from penstock.testing.sim.faults import error, timed_out
from penstock.testing.sim.log import Entry
from penstock.testing.sim.membership import Callback, Kind
from penstock.testing.sim.process import Fate, Process
from penstock.testing.sim.topics import ClusterInfo

if TYPE_CHECKING:
    from penstock.testing.sim.broker import SimBroker

CREATE_TIME = 1


@dataclass
class _Fetching:
    """Where a partition is read."""

    position: int
    told_end: int = -1
    failed: bool = False


class SimConsumer:
    """A client with the names, arguments and errors of confluent_kafka's Consumer."""

    def __init__(self, broker: "SimBroker", process: Process, config: Mapping[str, Any]) -> None:
        self._broker = broker
        self._process = process
        self._group = broker.group(str(config["group.id"]))
        self._reset = str(config.get("auto.offset.reset", "latest"))
        self._committed_only = config.get("isolation.level", "read_committed") == "read_committed"
        self._tells_ends = bool(config.get("enable.partition.eof", False))
        self._membership = broker.membership(self, self._group, config)
        self._fetching: dict[Partition, _Fetching] = {}
        self._paused: set[Partition] = set()  # outlasts what is read, as the real client's does

    # Membership

    def subscribe(
        self,
        topics: Sequence[str],
        on_assign: Callback | None = None,
        on_revoke: Callback | None = None,
        on_lost: Callback | None = None,
    ) -> None:
        """Join the group for these topics, or join it again if a new one has to be looked up.

        While one of them does not exist, it is looked up again and again, and nothing else done.
        """
        self._process.call("subscribe")
        callbacks: dict[Kind, Callback | None] = {
            "assign": on_assign, "revoke": on_revoke, "lost": on_lost or on_revoke,
        }  # fmt: skip
        self._broker.remember(self)
        self._membership.subscribe(topics, callbacks)

    def memberid(self) -> str | None:
        """Return the id that the group knows this member by; None before it has one."""
        return self._membership.metadata.member or None

    def consumer_group_metadata(self) -> bytes:
        """Return by what a transaction's offsets are accepted."""
        return json.dumps(self._membership.metadata).encode()

    def close(self) -> None:
        """Give everything back, and leave the group or not, as the protocol has it."""
        self._process.call("close")
        self._membership.close()
        self._broker.forget(self)

    def background(self) -> None:
        """Do what the client's own threads would do now."""
        process = self._process
        if not process.alive:
            self._broker.forget(self)
        elif not process.stopped:
            self._membership.background()

    # Assignment

    def assign(self, positions: Iterable[TopicPartition]) -> None:
        """Read exactly these partitions."""
        self._process.call("assign")
        self._fetching = {}
        self._add(positions)

    def incremental_assign(self, positions: Iterable[TopicPartition]) -> None:
        """Read these partitions too.

        Raises:
            KafkaException: if one is read already.
        """
        self._process.call("incremental_assign")
        positions = list(positions)
        for at in positions:
            if (at.topic, at.partition) in self._fetching:
                raise error(KafkaError._CONFLICT, f"{at.topic}/{at.partition} is assigned already")
        self._add(positions)

    def incremental_unassign(self, positions: Iterable[TopicPartition]) -> None:
        """Read these partitions no more.

        Raises:
            KafkaException: if one is not read.
        """
        self._process.call("incremental_unassign")
        for at in positions:
            if self._fetching.pop((at.topic, at.partition), None) is None:
                raise error(KafkaError._INVALID_ARG, f"{at.topic}/{at.partition} is not assigned")

    def seek(self, position: TopicPartition) -> None:
        """Go on from an offset.

        Raises:
            KafkaException: if the partition is not read.
        """
        self._process.call("seek")
        found = self._find(position)
        found.position, found.told_end, found.failed = position.offset, -1, False

    def offsets_for_times(
        self, positions: Iterable[TopicPartition], timeout: float = -1
    ) -> list[TopicPartition]:
        """Ask for offsets: what matters here is that it is asked for."""
        self._process.call("offsets_for_times")
        return list(positions)

    def pause(self, positions: Iterable[TopicPartition]) -> None:
        """Fetch no more of these partitions for the moment."""
        for at in positions:
            self._find(at)
            self._paused.add((at.topic, at.partition))

    def resume(self, positions: Iterable[TopicPartition]) -> None:
        """Fetch of these partitions again."""
        for at in positions:
            self._find(at)
            self._paused.discard((at.topic, at.partition))

    def position(self, positions: Iterable[TopicPartition]) -> list[TopicPartition]:
        """Return the offsets that are fetched next."""
        found = [(at, self._fetching.get((at.topic, at.partition))) for at in positions]
        return [
            TopicPartition(at.topic, at.partition, of.position if of else OFFSET_INVALID)
            for at, of in found
        ]

    def _add(self, positions: Iterable[TopicPartition]) -> None:
        for at in positions:
            self._fetching[at.topic, at.partition] = _Fetching(self._begin(at))

    def _begin(self, at: TopicPartition) -> int:
        log = self._broker.log((at.topic, at.partition))
        if at.offset >= 0:
            return at.offset
        if at.offset == OFFSET_BEGINNING:
            return log.start
        if at.offset == OFFSET_END:
            return log.end
        committed = self._group.committed.get((at.topic, at.partition), (-1, None))[0]
        if committed >= 0:
            return committed
        return {"earliest": log.start, "latest": log.end}.get(self._reset, -1)

    def _find(self, at: TopicPartition) -> _Fetching:
        found = self._fetching.get((at.topic, at.partition))
        if found is None:
            raise error(KafkaError._STATE, f"{at.topic}/{at.partition} is not assigned")
        return found

    # Fetching

    def poll(self, timeout: float = -1) -> Message | None:
        """Return a record, or an event in its place; None where there is nothing now."""
        self._process.call("poll")
        told = self._membership.serve()
        if told is not None:
            return told
        return next(iter(self._fetch(1)), None)

    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[Message]:
        """Return what there is, at most so many."""
        self._process.call("consume")
        told = self._membership.serve()
        if told is not None:
            return [told]
        draw = self._broker.draw
        return self._fetch(draw.randint(0, num_messages) if draw and num_messages else num_messages)

    def _fetch(self, limit: int) -> list[Message]:
        found: list[Message] = []
        read = [(at, of) for at, of in self._fetching.items() if not of.failed]
        sources = [(at, of) for at, of in read if at not in self._paused]
        if self._broker.draw:
            self._broker.draw.shuffle(sources)
        for at, fetching in sources:
            if len(found) < limit:
                found += self._read(at, fetching, limit - len(found))
        return found

    def _read(self, at: Partition, fetching: _Fetching, limit: int) -> list[Message]:
        log = self._broker.log(at)
        if self._broker.clock.now() < log.held_until:
            return []
        if not log.start <= fetching.position <= log.end:
            fetching.failed = True
            text = f"fetch failed due to requested offset not available: {fetching.position}"
            return [_event(at, fetching.position, KafkaError(KafkaError._AUTO_OFFSET_RESET, text))]
        entries, behind = log.read(fetching.position, limit, committed=self._committed_only)
        fetching.position = behind
        found = [_message(at, entry) for entry in entries]
        at_end = behind == (log.stable_end if self._committed_only else log.end)
        if self._tells_ends and at_end and len(found) < limit and fetching.told_end != behind:
            fetching.told_end = behind
            end = KafkaError(KafkaError._PARTITION_EOF, "no more messages")
            found.append(_event(at, behind, end))
        return found

    # What the cluster knows

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> ClusterInfo:
        """Return metadata of all topics."""
        self._process.call("list_topics")
        return self._broker.cluster()

    def committed(
        self, positions: Iterable[TopicPartition], timeout: float = 60.0
    ) -> list[TopicPartition]:
        """Return committed offsets, stable ones for a reader of committed records.

        Raises:
            KafkaException: if a transaction has offsets of these partitions in it for as long
                as the timeout.
        """
        if self._process.call("committed") is Fate.LOST_REQUEST:
            self._process.wait(timeout)
            raise timed_out("no answer about committed offsets")
        wanted = [(at.topic, at.partition) for at in positions]
        if self._committed_only and self._group.unstable(wanted):
            self._process.wait(timeout)
            if self._group.unstable(wanted):
                raise timed_out("a transaction that is open has offsets of these partitions")
        found = self._group.committed
        return [
            TopicPartition(*at, *found[at]) if at in found else TopicPartition(*at, OFFSET_INVALID)
            for at in wanted
        ]

    def commit(
        self, *, offsets: Iterable[TopicPartition], asynchronous: bool = True
    ) -> list[TopicPartition]:
        """Commit offsets.

        Raises:
            KafkaException: if this is no member of the present generation.
        """
        self._process.call("commit")
        positions = list(offsets)
        self._group.commit(
            self._membership.metadata,
            {(at.topic, at.partition): (at.offset, at.metadata or "") for at in positions},
        )
        return positions

    def get_watermark_offsets(
        self, at: TopicPartition, timeout: float = -1, cached: bool = False
    ) -> tuple[int, int]:
        """Return where a partition begins and ends."""
        log = self._broker.log((at.topic, at.partition))
        return log.start, log.stable_end if self._committed_only else log.end


def _message(at: Partition, entry: Entry) -> Message:
    row = entry.row
    assert row is not None  # markers are not read
    return Message(
        topic=at[0],
        partition=at[1],
        offset=entry.offset,
        key=row.key,
        value=row.value,
        timestamp=(CREATE_TIME, row.timestamp),
        headers=cast("list[tuple[str, str | bytes | None]] | None", row.headers),
    )


def _event(at: Partition, offset: int, problem: KafkaError) -> Message:
    return Message(topic=at[0], partition=at[1], offset=offset, error=problem)
