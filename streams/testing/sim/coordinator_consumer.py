"""The group coordinator of the consumer protocol (KIP-848), with the uniform assignor.

Rule 1: whatever changes the group raises its epoch, and makes a target for every member. Each
        comes to its target by itself, at its own heartbeats; nobody waits for all.
Rule 2: a partition that moves is handed over once its owner has said that it has given it up,
        or is out. Who does not say so within its rebalance timeout is put out.
Rule 3: until then the owner stays in its epoch. With it, it commits; with an older one, what it
        has had since (KIP-1251), and nothing else.
Rule 4: a static member that leaves keeps its share until its session ends; who comes back under
        its identity takes it over. While it lives, others of that identity are refused.

Source: org.apache.kafka.coordinator.group (GroupMetadataManager, CurrentAssignmentBuilder).
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import NamedTuple

from confluent_kafka import KafkaError

from penstock.testing.sim.coordinator import (
    Fault,
    GroupMetadata,
    Owners,
    Partition,
    share,
    subscribed,
)
from penstock.testing.sim.faults import error

JOINING = 0
AWAY = -2


class Beat(NamedTuple):
    """A heartbeat.

    Attributes:
        member: the id that the consumer has given itself.
        epoch: the one that it is in, `JOINING` if in none.
        instance: its static identity.
        topics: what it subscribes to.
        owned: what it has, and has not given up.
        rebalance_s: how long it may take to give something up.
    """

    member: str
    epoch: int
    instance: str | None
    topics: tuple[str, ...]
    owned: frozenset[Partition]
    rebalance_s: float


class Answer(NamedTuple):
    """The answer to a heartbeat: the member's epoch, and what it is to have now."""

    epoch: int
    assigned: frozenset[Partition]


@dataclass
class _Member:
    """A member; partitions with the epochs since which it has them.

    Attributes:
        topics: what it subscribes to.
        instance: its static identity.
        heard: when it was last heard of.
        epoch: how far it has come; `AWAY` where it has left and may come back.
        target: what it is to have in the end.
        assigned: what it may have now.
        revoking: what it has still to give up.
        gives_up_by: when it must have done so.
    """

    topics: tuple[str, ...]
    instance: str | None
    heard: float
    epoch: int = JOINING
    target: frozenset[Partition] = frozenset()
    assigned: dict[Partition, int] = field(default_factory=dict[Partition, int])
    revoking: dict[Partition, int] = field(default_factory=dict[Partition, int])
    gives_up_by: float = 0.0


class ConsumerCoordinator:
    """The members of one group.

    Args:
        count: tells how many partitions a topic has.
        now: the clock.
        session_s: how long a member may be silent.
    """

    def __init__(
        self, count: Callable[[str], int], now: Callable[[], float], session_s: float
    ) -> None:
        self._count = count
        self._now = now
        self._session_s = session_s
        self._epoch = 0
        self._members: dict[str, _Member] = {}

    def __len__(self) -> int:
        return len(self._members)

    @property
    def owners(self) -> Owners:
        """Who has what; stable where everybody has what it is to have."""
        members = {name: of for name, of in self._members.items() if of.epoch != AWAY}
        stable = bool(members) and all(of.target == of.assigned.keys() for of in members.values())
        return Owners(stable, {name: frozenset(of.assigned) for name, of in members.items()})

    def heartbeat(self, beat: Beat) -> Answer:
        """Join, or say that a member is alive and what it has.

        Raises:
            KafkaException: if it is no member any more, or others have its identity.
        """
        member = self._join(beat) if beat.epoch == JOINING else self._find(beat)
        member.heard = self._now()
        if member.topics != beat.topics:
            member.topics = beat.topics
            self._change()
        self._come_closer(member, beat)
        return Answer(member.epoch, frozenset(member.assigned))

    def leave(self, name: str) -> None:
        """Leave; a static member may come back."""
        member = self._members.get(name)
        if member and member.instance is None:
            self._remove(name)
        elif member:
            member.epoch, member.revoking = AWAY, {}

    def check(self, member: GroupMetadata, partitions: Collection[Partition], fault: Fault) -> None:
        """Raise the fault unless a member may commit offsets of these partitions."""
        found = self._members.get(member.member)
        if found is None:
            raise fault(KafkaError.UNKNOWN_MEMBER_ID, f"{member.member or 'nobody'} is no member")
        if member.generation == found.epoch:
            return
        since = found.assigned | found.revoking
        newest = max(since.get(at, found.epoch) for at in partitions)
        if not newest <= member.generation <= found.epoch:
            raise fault(KafkaError.STALE_MEMBER_EPOCH, f"the member's epoch is {found.epoch}")

    def expire(self) -> None:
        """Put out who was silent for too long, or takes too long to give something up."""
        now = self._now()
        for name, member in list(self._members.items()):
            silent = now - member.heard > self._session_s
            if silent or (member.revoking and now > member.gives_up_by):
                self._remove(name)

    def _join(self, beat: Beat) -> _Member:
        known = self._holder(beat.instance) or beat.member
        found = self._members.get(known)
        if found is None:
            found = _Member(beat.topics, beat.instance, self._now())
            self._members[beat.member] = found
            self._change()
        elif known != beat.member:
            if found.epoch != AWAY:
                text = f"{beat.instance} is {known}, which has not left"
                raise error(KafkaError.UNRELEASED_INSTANCE_ID, text)
            self._members[beat.member] = self._members.pop(known)
        found.epoch = JOINING
        return found

    def _holder(self, instance: str | None) -> str | None:
        """Return who has a static identity."""
        holders = (name for name, of in self._members.items() if of.instance == instance)
        return next(holders, None) if instance else None

    def _find(self, beat: Beat) -> _Member:
        found = self._members.get(beat.member)
        if found is None:
            raise error(KafkaError.UNKNOWN_MEMBER_ID, f"{beat.member} is no member")
        if found.epoch != beat.epoch:
            text = f"{beat.member} is in epoch {found.epoch}, not {beat.epoch}"
            raise error(KafkaError.FENCED_MEMBER_EPOCH, text)
        return found

    def _remove(self, name: str) -> None:
        del self._members[name]
        self._change()

    def _change(self) -> None:
        """Raise the group's epoch and make new targets."""
        self._epoch += 1
        if not self._members:
            return
        partitions = subscribed((t for m in self._members.values() for t in m.topics), self._count)
        owners = {at: name for name, member in self._members.items() for at in member.target}
        for name, target in share(partitions, self._members, owners).items():
            self._members[name].target = frozenset(target)

    def _come_closer(self, member: _Member, beat: Beat) -> None:
        """Take a member as far towards its target as the others let it."""
        if beat.owned & member.revoking.keys():
            return
        had, target = member.assigned, member.target
        member.assigned = {at: since for at, since in had.items() if at in target}
        member.revoking = {at: had[at] for at in beat.owned & had.keys() - target}
        if member.revoking:
            member.gives_up_by = self._now() + beat.rebalance_s
            return
        member.epoch = self._epoch
        free = member.target - member.assigned.keys() - self._taken()
        member.assigned |= dict.fromkeys(sorted(free), self._epoch)

    def _taken(self) -> set[Partition]:
        """Return what somebody has, or has still to give up."""
        return {
            at for member in self._members.values() for at in (*member.assigned, *member.revoking)
        }
