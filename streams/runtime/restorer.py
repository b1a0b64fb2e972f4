"""The restore consumer: reads changelogs from where a store is to where they end.

It belongs to no group, reads committed records only and checks their checksums: what it
reads becomes state. Stores are written in slices, so that other tasks go on meanwhile. The log
says how far they are, where it takes longer, and what it took.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from penstock.engine.restore import Restore, RestoreProgress
from penstock.errors import BrokerError
from penstock.operators.source import total_bytes
from penstock.runtime.clients import Clients
from penstock.runtime.consumer import runs
from penstock.runtime.message import Message
from penstock.secret import revealed
from penstock.state.changelog import stored
from penstock.state.disk import LocalStore
from penstock.state.rows import rows_after
from penstock.state.store import Position

log = logging.getLogger("penstock")

RECORDS_PER_READ = 20_000
BYTES_PER_READ = 16 * 1024 * 1024
KEYS_PER_WRITE = 20_000
MOST_WAITING_BYTES = 32 * 1024 * 1024  # of all stores together
BYTES_PER_KEY = 150  # beside the value
FIRST_BYTES = 16 * 1024  # a record may have, until some have come
LOAD_RECORDS = 100_000  # from here on it pays to open a store for writing only
WAIT_S = 0.02
METADATA_S = 2.0
TELL_S = 3.0  # what is restored sooner is told once, at its end


@dataclass
class Restoring:
    """A store that is being restored.

    Attributes:
        state: how far it is.
        store: where the records go.
        topic_id: identity of its changelog.
        waiting: what was read and is not written yet, by key.
        dated_ms: since when deletions may be missing in what is restored so far: that of what was
            there before, or of the beginning.
        loading: whether the store is open for writing only.
        rows: how many keys it has; None where nobody counts: a store that is open for writing
            only cannot be asked.
    """

    state: Restore
    store: LocalStore
    topic_id: str
    waiting: dict[bytes, bytes | None] = field(default_factory=dict[bytes, bytes | None])
    dated_ms: int = 0
    loading: bool = False
    rows: int | None = None


class Restorer:
    """Restore stores from their changelogs.

    Args:
        config: librdkafka settings.
        clients: the Kafka client's classes, and time.
        finished: told of what was restored, where the disk did not have all of it.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        clients: Clients,
        finished: Callable[[RestoreProgress], None] = lambda _: None,
    ) -> None:
        self._config = dict(config)
        self._finished = finished
        self._clients = clients
        self._client: Consumer | None = None
        self._at: dict[tuple[str, int], Restoring] = {}
        self._together: dict[tuple[str, int], Restore] = {}  # since it was last idle
        self._waiting_bytes = 0  # at most: what was replaced counts until it is written
        self._bytes_each = FIRST_BYTES
        self._began = self._told = 0.0

    @property
    def busy(self) -> bool:
        """Whether any store is still to be restored."""
        return bool(self._at)

    @property
    def progress(self) -> RestoreProgress | None:
        """How far the stores are; None where none is to be restored."""
        return self._progress(self._clients.now()) if self._at else None

    def add(self, restoring: Restoring) -> None:
        """Begin to restore a store."""
        state = restoring.state
        if not self._at:
            self._together = {}
            self._began = self._told = self._clients.now()
        self._together[state.topic, state.partition] = state
        position = restoring.store.position()
        restoring.rows = position.rows if position else 0
        restoring.dated_ms = position.written_ms if position else self._clients.now_ms()
        restoring.loading = state.remaining > LOAD_RECORDS
        if restoring.loading:
            restoring.rows = None
            restoring.store.load()
        client = self._client
        if client is None:
            made: Consumer = self._clients.consumer(revealed(self._config))
            self._client = client = made
            with suppress(KafkaException):  # without it half of them wait 1.0 s for metadata
                client.list_topics(state.topic, METADATA_S)
        self._at[state.topic, state.partition] = restoring
        client.incremental_assign([TopicPartition(state.topic, state.partition, state.start)])

    def drop(self, topic: str, partition: int) -> None:
        """Forget a store that is complete, or not ours any more."""
        dropped = self._at.pop((topic, partition), None)
        if dropped and not dropped.state.done:
            del self._together[topic, partition]
        if dropped and self._client:
            self._client.incremental_unassign([TopicPartition(topic, partition)])

    def work(self, slice_ms: int, wait_s: float = WAIT_S) -> bool:
        """Restore for about slice_ms, or until nothing has come for wait_s.

        Returns:
            whether something has come.

        Raises:
            BrokerError: if a changelog cannot be read.
            StateError: if a store cannot be written.
        """
        if not self._at:
            return False
        came = False
        until = self._clients.now() + slice_ms / 1000
        while self._at and self._client and self._clients.now() < until:
            messages = cast("list[Message]", self._client.consume(self._at_once(), wait_s))
            if not messages:
                break
            came = True
            for run in runs(messages, [(m.topic(), m.partition()) for m in messages]):
                restoring = self._at.get((str(run[0].topic()), run[0].partition()))
                if restoring:
                    self._apply(restoring, run)
            for at in [at for at, restoring in self._at.items() if restoring.state.done]:
                self.drop(*at)
        self._tell()
        return came

    def close(self) -> None:
        """Let go of the consumer."""
        if self._client:
            self._client.close()

    def _apply(self, restoring: Restoring, messages: list[Message]) -> None:
        state = restoring.state
        events = [message for message in messages if message.error()]
        records = [m for m in messages if not m.error()] if events else messages
        if records:
            values = [message.value() for message in records]
            restoring.waiting.update(
                stored(
                    [message.key() for message in records],  # type: ignore[misc]  # none is null
                    values,
                    [message.timestamp()[1] for message in records],
                )
            )
            weight = total_bytes(values)
            self._bytes_each = weight // len(records)
            self._waiting_bytes += weight + BYTES_PER_KEY * len(records)
            state.applied(len(records), records[-1].offset() + 1)
        for event in events:
            problem = event.error()
            if problem and problem.code() != KafkaError._PARTITION_EOF:
                raise _unreadable(state, problem)
            state.reached(event.offset())
        if self._waiting_bytes >= MOST_WAITING_BYTES:
            self._write_all()
        if state.done or len(restoring.waiting) >= KEYS_PER_WRITE:
            self._write(restoring)
        if state.done and restoring.loading:
            restoring.store.loaded()

    def _tell(self) -> None:
        """Say in the log how far it is: from time to time, and at the end."""
        now = self._clients.now()
        if not self._at:
            found = self._progress(now)
            if found.records:  # else the disk had all of it
                log.info("Restored %s.", _finished(found))
                self._finished(found)
        elif now - self._told >= TELL_S:
            self._told = now
            log.info("Restoring %s.", _unfinished(self._progress(now)))

    def _progress(self, now: float) -> RestoreProgress:
        return RestoreProgress.of(self._together.values(), now - self._began)

    def _at_once(self) -> int:
        """How many records to read: fewer where those before were large."""
        large = BYTES_PER_READ // max(1, self._bytes_each)
        return max(1, min(RECORDS_PER_READ, large))

    def _write_all(self) -> None:
        for restoring in self._at.values():
            if restoring.waiting:
                self._write(restoring)
        self._waiting_bytes = 0

    def _write(self, restoring: Restoring) -> None:
        if restoring.rows is not None:
            restoring.rows = rows_after(restoring.store, restoring.waiting, restoring.rows)
        state = restoring.state
        # Killed before its end and again, a restore would else grow no older than its last part.
        dated_ms = self._clients.now_ms() if state.done else restoring.dated_ms
        position = Position(state.next_offset, restoring.topic_id, dated_ms, restoring.rows)
        restoring.store.write(restoring.waiting.items(), position)
        restoring.waiting = {}


def _finished(found: RestoreProgress) -> str:
    return f"{_names(found.complete)}: {_pace(found)}"


def _unfinished(found: RestoreProgress) -> str:
    left_s = found.seconds_left
    time = "unknown" if left_s is None else timedelta(seconds=round(left_s))
    return f"{_names(found.left)}: {_pace(found)}, at most {found.remaining} left, time left {time}"


def _pace(found: RestoreProgress) -> str:
    return (
        f"{found.records} records in {found.seconds:.1f} s"
        f" ({found.records_per_second:.0f} records/s)"
    )


def _names(partitions: Iterable[tuple[str, int]]) -> str:
    """Name stores with their partitions.

    >>> _names([("counts", 3), ("counts", 0), ("sums", 3)])
    'counts/0,3 sums/3'
    """
    stores = groupby(sorted(partitions), key=lambda at: at[0])
    return " ".join(f"{name}/{','.join(str(n) for _, n in found)}" for name, found in stores)


def _unreadable(state: Restore, problem: KafkaError) -> BrokerError:
    return BrokerError(
        f"The changelog {state.topic}/{state.partition} cannot be read at offset"
        f" {state.next_offset}: {problem.str()}. Without it the store {state.store} cannot be"
        " restored. Check the topic; the worker has committed nothing of this partition.",
        topic=state.topic,
        partition=state.partition,
        offset=state.next_offset,
        store=state.store,
    )
