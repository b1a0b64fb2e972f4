"""Membership by the consumer protocol (KIP-848).

A heartbeat tells what the member has, and is answered with what it is to have. It comes to that
step by step: what it is to give up first, and what it gets once it has told so. A member that
falls silent stays in the group until its session ends, or until the application polls again:
then it loses what it has, leaves, and joins anew.
"""

from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import KafkaError

from penstock.testing.sim.coordinator import GroupMetadata, Partition
from penstock.testing.sim.coordinator_consumer import JOINING, Answer, Beat
from penstock.testing.sim.group import Group
from penstock.testing.sim.membership import Client, Membership, Rebalance


class ConsumerMembership(Membership):
    """A member as librdkafka is with `group.protocol=consumer`.

    Args:
        member: the id that it gives itself.
        heartbeat_s: how often it is heard of where it has nothing to tell.
        lag_s: says how long an answer takes; until it is there the member's epoch may be old.
    """

    def __init__(
        self,
        client: Client,
        group: Group,
        config: Mapping[str, Any],
        *clock: Any,
        member: str,
        heartbeat_s: float,
        lag_s: Callable[[], float],
    ) -> None:
        super().__init__(client, group, config, *clock)
        self._member = member
        self._heartbeat_s = heartbeat_s
        self._lag_s = lag_s
        self._epoch = JOINING
        self._out = True
        self._must_leave = False
        self._next_beat = 0.0
        self._answer: Answer | None = None
        self._arrives = 0.0
        self._target: frozenset[Partition] = frozenset()

    @property
    def metadata(self) -> GroupMetadata:
        """By what offsets are accepted."""
        return GroupMetadata(self._group.name, self._epoch, self._member, self._instance)

    def _change_topics(self, topics: tuple[str, ...]) -> None:
        self._topics = topics
        self._next_beat = 0.0

    def _beat(self) -> None:
        if self._out and self._rebalancing:
            return
        if self._must_leave:
            self._leave()
        now = self._clock.now()
        if self._answer is None and (self._out or now >= self._next_beat):
            self._tell()
        if self._answer and now >= self._arrives:
            self._epoch, self._target = self._answer
            self._answer = None
        if not self._answer and not self._rebalancing:
            self._come_closer()

    def _tell(self) -> None:
        now = self._clock.now()
        self._answer = self._group.consumer.heartbeat(self._what_to_tell())
        self._out = False
        self._arrives, self._next_beat = now + self._lag_s(), now + self._heartbeat_s

    def _what_to_tell(self) -> Beat:
        return Beat(
            self._member,
            JOINING if self._out else self._epoch,
            self._instance,
            self._topics,
            self._owned,
            self._max_poll_s,
        )

    def _come_closer(self) -> None:
        revoked, added = self._owned - self._target, self._target - self._owned
        if revoked:
            self._waiting.append(Rebalance("revoke", revoked))
        elif added:
            self._owned |= added
            self._waiting.append(Rebalance("assign", added))

    def _has_run(self, rebalance: Rebalance) -> None:
        self._next_beat = 0.0
        if rebalance.kind == "revoke":
            self._owned -= rebalance.partitions
            self._waiting.append(Rebalance("assign", frozenset()))
        elif rebalance.kind == "lost":
            self._epoch = JOINING

    def _fall_silent(self) -> None:
        self._must_leave = not self._rebalancing

    def _leave(self) -> None:
        self._must_leave = False
        self._group.consumer.leave(self._member)

    def _forget(self, problem: KafkaError | None) -> None:
        self._out, self._answer = True, None
