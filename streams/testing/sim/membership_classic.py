"""Membership by the classic protocol, with the cooperative-sticky assignor.

Who gives something back joins again behind the callback. A dynamic member that falls silent
leaves by itself, and so it does in `close`; a static one does neither.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any

from confluent_kafka import KafkaError

from penstock.testing.sim.coordinator import GroupMetadata, Partition
from penstock.testing.sim.coordinator_classic import Joining
from penstock.testing.sim.group import Group
from penstock.testing.sim.membership import Client, Kind, Membership, Rebalance


class _State(Enum):
    """How far the membership has come."""

    OUT = "not in the group"
    JOINING = "waiting for an assignment"
    STEADY = "in the group; a callback may wait"


class ClassicMembership(Membership):
    """A member as librdkafka is with `group.protocol=classic`."""

    def __init__(
        self, client: Client, group: Group, config: Mapping[str, Any], *clock: Any
    ) -> None:
        super().__init__(client, group, config, *clock)
        self._session_s = int(config.get("session.timeout.ms", 45_000)) / 1000
        self._member = ""
        self._generation = -1
        self._state = _State.OUT
        self._must_join = False
        self._after_revoke: frozenset[Partition] = frozenset()

    @property
    def metadata(self) -> GroupMetadata:
        """By what offsets are accepted."""
        return GroupMetadata(self._group.name, self._generation, self._member, self._instance)

    def _change_topics(self, topics: tuple[str, ...]) -> None:
        before, self._topics = self._topics, topics
        self._must_join = self._must_join or bool(before and set(topics) - set(before))

    def _beat(self) -> None:
        coordinator = self._group.classic
        if self._state is _State.STEADY:
            self._must_join = coordinator.heartbeat(self.metadata) or self._must_join
        wants = self._state is _State.OUT or (self._must_join and self._state is _State.STEADY)
        if wants and not self._rebalancing:
            self._must_join, self._state = False, _State.JOINING
            self._member = coordinator.join(self._what_to_join_with())
        if self._state is not _State.JOINING:
            return
        found = coordinator.assignment(self._member)
        if found is None:
            coordinator.heartbeat(self.metadata)
            return
        self._generation, assigned = found
        self._state = _State.STEADY
        added, revoked = assigned - self._owned, self._owned - assigned
        if revoked:
            self._after_revoke = added
            self._enqueue("revoke", revoked)
        else:
            self._enqueue("assign", added)

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

    def _enqueue(self, kind: Kind, partitions: frozenset[Partition]) -> None:
        """Let a callback wait; what the member has changes at once."""
        self._owned = self._owned | partitions if kind == "assign" else self._owned - partitions
        self._waiting.append(Rebalance(kind, partitions))

    def _has_run(self, rebalance: Rebalance) -> None:
        if rebalance.kind != "revoke":
            return
        self._must_join = True
        if self._after_revoke:
            self._enqueue("assign", self._after_revoke)
            self._after_revoke = frozenset()

    def _fall_silent(self) -> None:
        self._leave()

    def _leave(self) -> None:
        if self._member and self._instance is None:
            self._group.classic.leave(self._member)
        self._member = ""

    def _forget(self, problem: KafkaError | None) -> None:
        if problem and problem.code() == KafkaError.UNKNOWN_MEMBER_ID:
            self._member = ""
        self._state, self._must_join = _State.OUT, False
