"""The restore consumer: reads changelogs from where a store is to where they end.

It belongs to no group, reads committed records only and checks their checksums: what it
reads becomes state. Stores are written in slices, so that other tasks go on meanwhile.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, TopicPartition
from penstock.engine.restore import Restore, last_per_key
from penstock.errors import BrokerError
from penstock.runtime.message import Message
from penstock.state.overlay import stamped
from penstock.state.store import Position, Store

RECORDS_PER_SLICE = 50_000
WAIT_S = 0.02


@dataclass
class Restoring:
    """A store that is being restored.

    Attributes:
        state: how far it is.
        store: where the records go.
        topic_id: identity of its changelog.
    """

    state: Restore
    store: Store
    topic_id: str


class Restorer:
    """Restore stores from their changelogs.

    Args:
        config: librdkafka settings.
        now_ms: the wall clock.
    """

    def __init__(self, config: Mapping[str, Any], now_ms: Callable[[], int]) -> None:
        self._config = dict(config)
        self._now_ms = now_ms
        self._client: Consumer | None = None
        self._at: dict[tuple[str, int], Restoring] = {}

    @property
    def busy(self) -> bool:
        """Whether any store is still to be restored."""
        return bool(self._at)

    def add(self, restoring: Restoring) -> None:
        """Begin to restore a store."""
        state = restoring.state
        if self._client is None:
            self._client = Consumer(self._config)
            self._client.list_topics(state.topic, 10)
        self._at[state.topic, state.partition] = restoring
        self._client.incremental_assign([TopicPartition(state.topic, state.partition, state.start)])

    def drop(self, topic: str, partition: int) -> None:
        """Forget a store that is complete, or not ours any more."""
        if self._at.pop((topic, partition), None) and self._client:
            self._client.incremental_unassign([TopicPartition(topic, partition)])

    def work(self, slice_ms: int) -> None:
        """Restore for about slice_ms.

        Raises:
            BrokerError: if a changelog cannot be read.
            StateError: if a store cannot be written.
        """
        until = time.monotonic() + slice_ms / 1000
        while self._at and self._client and time.monotonic() < until:
            messages = cast("list[Message]", self._client.consume(RECORDS_PER_SLICE, WAIT_S))
            runs: dict[tuple[str, int], list[Message]] = {}
            for message in messages:
                runs.setdefault((message.topic(), message.partition()), []).append(message)
            for at, run in runs.items():
                if at in self._at:
                    self._apply(self._at[at], run)
            for at in [at for at, restoring in self._at.items() if restoring.state.done]:
                self.drop(*at)

    def close(self) -> None:
        """Let go of the consumer."""
        if self._client:
            self._client.close()

    def _apply(self, restoring: Restoring, messages: list[Message]) -> None:
        state = restoring.state
        events = [message for message in messages if message.error()]
        records = [m for m in messages if not m.error()] if events else messages
        if records:
            newest = last_per_key(
                [message.key() for message in records],  # type: ignore[misc]  # none is null
                [message.value() for message in records],
                [message.timestamp()[1] for message in records],
            )
            state.applied(len(records), records[-1].offset() + 1)
            self._write(
                restoring,
                [
                    (key, None if value is None else stamped(timestamp, value))
                    for key, value, timestamp in newest
                ],
            )
        for event in events:
            problem = event.error()
            if problem and problem.code() != KafkaError._PARTITION_EOF:
                raise _unreadable(state, problem)
            state.reached(event.offset())
        if state.done:
            self._write(restoring, [])

    def _write(self, restoring: Restoring, items: list[tuple[bytes, bytes | None]]) -> None:
        offset = restoring.state.next_offset
        restoring.store.write(items, Position(offset, restoring.topic_id, self._now_ms()))


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
