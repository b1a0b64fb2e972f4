"""The consumer of the simulation: a group's member in the background, fetches in the foreground.

Rule 1: callbacks run inside `poll`, `consume` and `close` only. Until one has run, the member
        does not join again; it keeps sending heartbeats.
Rule 2: the application's silence for longer than `max.poll.interval.ms` loses the assignment;
        a dynamic member leaves by itself then, a static one just falls silent.
Rule 3: no call waits for records: time stands still unless somebody moves it.

Source: librdkafka, rdkafka_cgrp.c and rdkafka_partition.c.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    OFFSET_INVALID,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from penstock.testing.sim.faults import error, timed_out
from penstock.testing.sim.groups import GroupMetadata, Joining, Partition
from penstock.testing.sim.log import Entry
from penstock.testing.sim.process import Fate, Process
from penstock.testing.sim.topics import ClusterInfo

if TYPE_CHECKING:
    from penstock.testing.sim.broker import SimBroker

Callback: TypeAlias = Callable[[Any, list[TopicPartition]], object]
CREATE_TIME = 1


class _State(Enum):
    """How far the membership has come."""

    OUT = "not in the group"
    JOINING = "waiting for an assignment"
    STEADY = "in the group; a callback may wait"


@dataclass
class _Fetching:
    """Where a partition is read."""

    position: int
    told_end: int = -1
    failed: bool = False


@dataclass(frozen=True)
class _Rebalance:
    """A callback that waits: `assign`, `revoke` or `lost`."""

    kind: str
    partitions: frozenset[Partition]


class SimConsumer:
    """A client with the names, arguments and errors of confluent_kafka's Consumer."""

    def __init__(self, broker: "SimBroker", process: Process, config: Mapping[str, Any]) -> None:
        self._broker = broker
        self._process = process
        self._group = broker.group(str(config["group.id"]))
        self._instance: str | None = config.get("group.instance.id")
        self._session_s = int(config.get("session.timeout.ms", 45_000)) / 1000
        self._max_poll_s = int(config.get("max.poll.interval.ms", 300_000)) / 1000
        self._reset = str(config.get("auto.offset.reset", "latest"))
        self._committed_only = config.get("isolation.level", "read_committed") == "read_committed"
        self._tells_ends = bool(config.get("enable.partition.eof", False))
        self._topics: tuple[str, ...] = ()
        self._callbacks: dict[str, Callback | None] = {}
        self._member = ""
        self._generation = -1
        self._owned: frozenset[Partition] = frozenset()
        self._state = _State.OUT
        self._must_join = False
        self._fatal: KafkaError | None = None
        self._waiting: deque[_Rebalance | KafkaError] = deque()
        self._running = False
        self._after_revoke: frozenset[Partition] = frozenset()
        self._polled = broker.clock.now()
        self._exceeded = False
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
        """Join the group for these topics, or join it again if they are others than before.

        A name that begins with `^` is a pattern; here it matches nothing.
        """
        self._process.call("subscribe")
        before, self._topics = self._topics, tuple(sorted(topics))
        self._must_join = self._must_join or bool(before and before != self._topics)
        self._callbacks = {"assign": on_assign, "revoke": on_revoke, "lost": on_lost or on_revoke}
        self._polled = self._broker.clock.now()
        self._broker.settle()

    def consumer_group_metadata(self) -> bytes:
        """Return by what a transaction's offsets are accepted."""
        return json.dumps(self._metadata()).encode()

    def close(self) -> None:
        """Give everything back; a dynamic member leaves the group."""
        self._process.call("close")
        calls = [of for of in self._waiting if isinstance(of, _Rebalance)]
        self._waiting.clear()
        for rebalance in calls:
            self._run(rebalance)
        if self._owned and not self._fatal:
            self._run(_Rebalance("revoke", self._owned))
        self._topics, self._owned = (), frozenset()
        if self._member and self._instance is None:
            self._group.leave(self._member)
        self._member = ""
        self._broker.forget(self)

    def background(self) -> None:
        """Do what the client's own threads would do now."""
        if not self._process.alive:
            self._broker.forget(self)
        if not self._process.running or not self._topics or self._fatal:
            return
        if self._broker.clock.now() - self._polled > self._max_poll_s:
            self._exceed()
            return
        try:
            if self._state is _State.STEADY:
                self._must_join = self._group.heartbeat(self._metadata()) or self._must_join
            self._progress()
        except KafkaException as problem:
            self._put_out(problem.args[0])

    @property
    def _rebalancing(self) -> bool:
        """Whether a callback has still to run, or to come to its end."""
        return self._running or any(isinstance(of, _Rebalance) for of in self._waiting)

    def _progress(self) -> None:
        wants = self._state is _State.OUT or (self._must_join and self._state is _State.STEADY)
        if wants and not self._rebalancing:
            self._must_join, self._state = False, _State.JOINING
            self._member = self._group.join(self._what_to_join_with())
        if self._state is not _State.JOINING:
            return
        found = self._group.assignment(self._member)
        if found is None:
            self._group.heartbeat(self._metadata())
            return
        self._generation, assigned = found
        self._state = _State.STEADY
        added, revoked = assigned - self._owned, self._owned - assigned
        if revoked:
            self._after_revoke = added
            self._enqueue("revoke", revoked)
        else:
            self._enqueue("assign", added)

    def _enqueue(self, kind: str, partitions: frozenset[Partition]) -> None:
        """Let a callback wait; what the member has changes at once."""
        self._owned = self._owned | partitions if kind == "assign" else self._owned - partitions
        self._waiting.append(_Rebalance(kind, partitions))

    def _exceed(self) -> None:
        if self._exceeded:
            return
        self._exceeded = True
        text = f"Application maximum poll interval ({self._max_poll_s:g} s) exceeded"
        self._waiting.append(KafkaError(KafkaError._MAX_POLL_EXCEEDED, text))
        if self._instance is None and self._member:
            self._group.leave(self._member)
        self._member = ""
        self._lose()

    def _put_out(self, problem: KafkaError) -> None:
        if problem.code() == KafkaError.FENCED_INSTANCE_ID:
            # It keeps what it has, and goes on reading it; no callback tells of the loss.
            self._fatal = problem
            self._waiting.append(KafkaError(KafkaError._FATAL, problem.str()))
            return
        if problem.code() == KafkaError.UNKNOWN_MEMBER_ID:
            self._member = ""
        self._lose()

    def _lose(self) -> None:
        """Give up the membership, unless a callback is still to run: then it is found out again."""
        if self._rebalancing:
            return
        self._state, self._must_join = _State.OUT, False
        if self._owned:
            self._enqueue("lost", self._owned)

    def _what_to_join_with(self) -> Joining:
        return Joining(
            self._member,
            self._instance,
            self._topics,
            self._owned,
            self._generation,
            self._session_s,
            self._max_poll_s,
        )

    def _metadata(self) -> GroupMetadata:
        return GroupMetadata(self._group.name, self._generation, self._member, self._instance)

    def _serve(self) -> KafkaError | None:
        """Run the callbacks that wait, up to an error that the application has to be told."""
        self._polled, self._exceeded = self._broker.clock.now(), False
        self._broker.settle()
        while self._waiting:
            waiting = self._waiting.popleft()
            if isinstance(waiting, KafkaError):
                return waiting
            self._run(waiting)
            self._polled, self._exceeded = self._broker.clock.now(), False
            self._broker.settle()
        return None

    def _run(self, rebalance: _Rebalance) -> None:
        callback = self._callbacks.get(rebalance.kind)
        positions = [TopicPartition(*at) for at in sorted(rebalance.partitions)]
        self._running = True
        try:
            if callback:
                callback(self, positions)
            elif rebalance.kind == "assign":
                self.incremental_assign(positions)
            else:
                self.incremental_unassign(positions)
        finally:
            self._running = False
        if rebalance.kind == "revoke":
            self._must_join = True
            if self._after_revoke:
                self._enqueue("assign", self._after_revoke)
                self._after_revoke = frozenset()

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
        problem = self._serve()
        if problem:
            return Message(error=problem)
        return next(iter(self._fetch(1)), None)

    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[Message]:
        """Return what there is, at most so many."""
        self._process.call("consume")
        problem = self._serve()
        if problem:
            return [Message(error=problem)]
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
            self._metadata(),
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
