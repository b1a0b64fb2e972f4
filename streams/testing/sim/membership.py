"""A consumer's membership in a group, as its client keeps it in the background.

Rule 1: callbacks run inside `poll`, `consume` and `close` only. Until one has run, the member
        gives up nothing and takes nothing; it keeps sending heartbeats.
Rule 2: the application's silence for longer than `max.poll.interval.ms` loses the assignment.
        It is watched from the first assignment on.

What the protocols do differently stands in `membership_classic` and `membership_consumer`.
Source: librdkafka, rdkafka_cgrp.c.
"""

import random
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from penstock.testing.sim.clock import VirtualClock
from penstock.testing.sim.coordinator import GroupMetadata, Partition
from penstock.testing.sim.group import Group

Callback: TypeAlias = Callable[[Any, list[TopicPartition]], object]
Kind: TypeAlias = Literal["assign", "revoke", "lost"]
WAITS = 0.3


class Client(Protocol):
    """The consumer, as callbacks see it."""

    def incremental_assign(self, positions: Iterable[TopicPartition]) -> None:
        """Read these partitions too."""
        ...

    def incremental_unassign(self, positions: Iterable[TopicPartition]) -> None:
        """Read these partitions no more."""
        ...


@dataclass(frozen=True)
class Rebalance:
    """A callback that waits."""

    kind: Kind
    partitions: frozenset[Partition]


class Membership(ABC):
    """What both protocols have in common.

    Args:
        client: what the callbacks are called with.
        group: the group.
        config: the consumer's settings.
        clock: the time.
        settle: lets everything happen that is due in the background.

    Attributes:
        draw: decides in which order callbacks name partitions, and how many come at once.
    """

    def __init__(
        self,
        client: Client,
        group: Group,
        config: Mapping[str, Any],
        clock: VirtualClock,
        settle: Callable[[], None],
    ) -> None:
        self._client = client
        self._group = group
        self._instance: str | None = config.get("group.instance.id")
        self._max_poll_s = int(config.get("max.poll.interval.ms", 300_000)) / 1000
        self._clock = clock
        self._settle = settle
        self._topics: tuple[str, ...] = ()
        self._callbacks: dict[Kind, Callback | None] = {}
        self._owned: frozenset[Partition] = frozenset()
        self._waiting: deque[Rebalance | Message] = deque()
        self._running = False
        self._fatal = False
        self.draw: random.Random | None = None
        self._polled = clock.now()
        self._watched = False
        self._exceeded = False

    @property
    @abstractmethod
    def metadata(self) -> GroupMetadata:
        """By what offsets are accepted."""

    def subscribe(self, topics: Sequence[str], callbacks: Mapping[Kind, Callback | None]) -> None:
        """Join the group, or change what is subscribed to."""
        self._callbacks = dict(callbacks)
        self._change_topics(tuple(sorted(topics)))
        for topic in self._group.missing(topics):
            text = f"Subscribed topic not available: {topic}: Broker: Unknown topic or partition"
            self._tell_error(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, text), topic)
        self._polled = self._clock.now()
        self._settle()

    def background(self) -> None:
        """Do what the client's own threads would do now."""
        if not self._topics or self._fatal or self._group.missing(self._topics):
            return
        if self._watched and self._clock.now() - self._polled > self._max_poll_s:
            self._exceed()
            return
        try:
            self._beat()
        except KafkaException as problem:
            self._put_out(problem.args[0])

    def serve(self) -> Message | None:
        """Run the callbacks that wait, up to an error that the application has to be told."""
        self._note_poll()
        while self._waiting:
            waiting = self._waiting.popleft()
            if isinstance(waiting, Message):
                return waiting
            self._run(waiting)
            self._note_poll()
            if self.draw and self.draw.random() < WAITS:
                return None  # the next callback has come a moment too late for this poll
        return None

    def close(self) -> None:
        """Give everything back and leave."""
        calls = [of for of in self._waiting if isinstance(of, Rebalance)]
        self._waiting.clear()
        for rebalance in calls:
            self._run(rebalance)
        if self._owned and not self._fatal:
            self._run(Rebalance("revoke", self._owned))
        self._topics, self._owned = (), frozenset()
        self._leave()

    @property
    def _rebalancing(self) -> bool:
        """Whether a callback has still to run, or to come to its end."""
        return self._running or any(isinstance(of, Rebalance) for of in self._waiting)

    @abstractmethod
    def _change_topics(self, topics: tuple[str, ...]) -> None:
        """Take note of what is subscribed to now."""

    @abstractmethod
    def _beat(self) -> None:
        """Do what is due towards the coordinator.

        Raises:
            KafkaException: if the coordinator has put the member out.
        """

    @abstractmethod
    def _leave(self) -> None:
        """Tell the coordinator of the end."""

    @abstractmethod
    def _fall_silent(self) -> None:
        """Give the membership up because the application does not poll."""

    @abstractmethod
    def _forget(self, problem: KafkaError | None) -> None:
        """Be out of the group; None says that it was given up."""

    @abstractmethod
    def _has_run(self, rebalance: Rebalance) -> None:
        """Go on behind a callback."""

    def _exceed(self) -> None:
        if self._exceeded:
            return
        self._exceeded = True
        text = f"Application maximum poll interval ({self._max_poll_s:g} s) exceeded"
        self._tell_error(KafkaError(KafkaError._MAX_POLL_EXCEEDED, text))
        self._fall_silent()
        self._lose(None)

    def _put_out(self, problem: KafkaError) -> None:
        if problem.code() in (KafkaError.FENCED_INSTANCE_ID, KafkaError.UNRELEASED_INSTANCE_ID):
            # It keeps what it has, and goes on reading it; no callback tells of the loss.
            self._fatal = True
            self._tell_error(KafkaError(KafkaError._FATAL, problem.str()))
            return
        self._lose(problem)

    def _lose(self, problem: KafkaError | None) -> None:
        """Give up the membership, unless a callback is still to run: then it is found out again."""
        if self._rebalancing:
            return
        self._forget(problem)
        if self._owned:
            self._waiting.append(Rebalance("lost", self._owned))
            self._owned = frozenset()

    def _tell_error(self, problem: KafkaError, topic: str | None = None) -> None:
        self._waiting.append(Message(topic=topic, error=problem))

    def _note_poll(self) -> None:
        self._polled, self._exceeded = self._clock.now(), False
        self._settle()

    def _run(self, rebalance: Rebalance) -> None:
        callback = self._callbacks.get(rebalance.kind)
        positions = [TopicPartition(*at) for at in sorted(rebalance.partitions)]
        if self.draw:
            self.draw.shuffle(positions)
        self._running = True
        try:
            if callback:
                callback(self._client, positions)
            elif rebalance.kind == "assign":
                self._client.incremental_assign(positions)
            else:
                self._client.incremental_unassign(positions)
        finally:
            self._running = False
        self._watched = True
        self._has_run(rebalance)
