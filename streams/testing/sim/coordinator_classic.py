"""The group coordinator of the classic protocol, with the cooperative-sticky assignor.

Rule 1: a generation begins when every member has joined, or the rebalance timeout has passed;
        a dynamic member that has not joined by then is out, a static one stays.
Rule 2: a static member that comes back has its assignment at once, without a rebalance; what
        it was known by before is fenced.
Rule 3: a partition that moves is given to nobody before its owner has joined without it.

The assignment follows the join at once: there is no state between the two.
Source: org.apache.kafka.coordinator.group (ClassicGroup, GroupMetadataManager).
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
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


class Joining(NamedTuple):
    """What a consumer joins with.

    Attributes:
        member: its id, empty for a new one.
        instance: its static identity.
        topics: what it subscribes to.
        owned: what it has, as of which generation.
        session_s: it is out when it is silent for longer.
        rebalance_s: how long a rebalance waits for it.
    """

    member: str
    instance: str | None
    topics: tuple[str, ...]
    owned: frozenset[Partition]
    generation: int
    session_s: float
    rebalance_s: float


@dataclass
class _Member:
    joining: Joining
    heard: float
    joined: bool = False
    assigned: frozenset[Partition] = frozenset()


class ClassicCoordinator:
    """The members of one group.

    Args:
        count: tells how many partitions a topic has.
        now: the clock.
    """

    def __init__(self, count: Callable[[str], int], now: Callable[[], float]) -> None:
        self._count = count
        self._now = now
        self._ids = 0
        self._generation = 0
        self._members: dict[str, _Member] = {}
        self._statics: dict[str, str] = {}
        self._rebalancing: float | None = None

    def __len__(self) -> int:
        return len(self._members)

    def join(self, joining: Joining) -> str:
        """Join, or join again, and return the member id.

        Raises:
            KafkaException: if the member is not known, or is fenced.
        """
        known = self._statics.get(joining.instance or "")
        if joining.member:
            self._check_member(joining.member, joining.instance)
        elif known is not None:
            return self._replace(known, joining)
        name = joining.member or self._new_id(joining.instance)
        member = self._members.setdefault(name, _Member(joining, self._now()))
        member.joining, member.joined, member.heard = joining, True, self._now()
        if joining.instance:
            self._statics[joining.instance] = name
        self._rebalance()
        self._complete()
        return name

    def assignment(self, member: str) -> tuple[int, frozenset[Partition]] | None:
        """Return generation and assignment of a member that has joined, None until they stand.

        Raises:
            KafkaException: if the member is not known any more.
        """
        found = self._members.get(member)
        if found is None:
            raise error(KafkaError.UNKNOWN_MEMBER_ID, f"{member} is not in the group")
        return None if self._rebalancing is not None else (self._generation, found.assigned)

    def heartbeat(self, member: GroupMetadata) -> bool:
        """Say that a member is alive, and return whether it has to join again.

        Raises:
            KafkaException: if it is not a member of this generation, or is fenced.
        """
        self._check_member(member.member, member.instance)
        self._members[member.member].heard = self._now()
        if self._rebalancing is not None:
            return not self._members[member.member].joined
        if member.generation != self._generation:
            raise error(KafkaError.ILLEGAL_GENERATION, f"the generation is {self._generation}")
        return False

    def leave(self, member: str) -> None:
        """Leave; the others share what it had."""
        if member in self._members:
            self._remove(member)

    def expire(self) -> None:
        """Put out who was silent for too long, and end a rebalance that takes too long."""
        now = self._now()
        for name, member in list(self._members.items()):
            if now - member.heard > member.joining.session_s:
                self._remove(name)
        self._complete()

    @property
    def owners(self) -> Owners:
        """Who has what."""
        stable = self._rebalancing is None and bool(self._members)
        return Owners(stable, {name: member.assigned for name, member in self._members.items()})

    def check(self, member: GroupMetadata, partitions: Collection[Partition], fault: Fault) -> None:
        """Raise the fault unless a member is of this generation."""
        self._check_member(member.member, member.instance, fault)
        if member.generation != self._generation:
            raise fault(KafkaError.ILLEGAL_GENERATION, f"the generation is {self._generation}")

    def _check_member(self, member: str, instance: str | None, fault: Fault = error) -> None:
        if instance is not None:
            known = self._statics.get(instance)
            if known is not None and known != member:
                raise fault(KafkaError.FENCED_INSTANCE_ID, f"{instance} is now {known}")
        if member not in self._members:
            raise fault(KafkaError.UNKNOWN_MEMBER_ID, f"{member or 'nobody'} is not in the group")

    # Rebalances

    def _replace(self, known: str, joining: Joining) -> str:
        member = self._members.pop(known)
        name = self._new_id(joining.instance)
        self._members[name] = member
        self._statics[joining.instance or ""] = name
        member.joining, member.heard = joining, self._now()
        if self._rebalancing is not None:
            member.joined = True
            self._complete()
        return name

    def _remove(self, name: str) -> None:
        member = self._members.pop(name)
        if member.joining.instance:
            del self._statics[member.joining.instance]
        self._rebalance()
        self._complete()

    def _rebalance(self) -> None:
        """Begin a rebalance, unless one goes on or nobody is left."""
        if not self._members:
            self._rebalancing = None
        elif self._rebalancing is None:
            self._rebalancing = self._now()

    def _complete(self) -> None:
        if self._rebalancing is None or not self._members:
            return
        waited_s = self._now() - self._rebalancing
        late = [name for name, member in self._members.items() if not member.joined]
        if late and waited_s < max(m.joining.rebalance_s for m in self._members.values()):
            return
        for name in late:
            if not self._members[name].joining.instance:
                del self._members[name]
        if not any(member.joined for member in self._members.values()):
            return
        self._begin_generation()

    def _begin_generation(self) -> None:
        self._generation += 1
        self._rebalancing = None
        claims = {
            name: (member.joining.generation, member.joining.owned)
            if member.joined
            else (self._generation - 1, member.assigned)
            for name, member in self._members.items()
        }
        topics = (topic for m in self._members.values() for topic in m.joining.topics)
        partitions = subscribed(topics, self._count)
        for name, assigned in assign(partitions, claims).items():
            member = self._members[name]
            member.joined, member.assigned = False, frozenset(assigned)

    def _new_id(self, instance: str | None) -> str:
        self._ids += 1
        return f"{instance or 'member'}-{self._ids}"


def assign(
    partitions: list[Partition], claims: Mapping[str, tuple[int, frozenset[Partition]]]
) -> dict[str, list[Partition]]:
    """Share partitions evenly, move as few as possible, and leave out those that move.

    Args:
        partitions: all of them.
        claims: per member, the generation that it was last in and what it owns since.

    >>> both = frozenset([("t", 0), ("t", 1)])
    >>> assign([("t", 0), ("t", 1)], {"a": (1, both), "b": (1, frozenset())})
    {'a': [('t', 0)], 'b': []}
    """
    owners = _owners(partitions, claims)
    return {
        name: [at for at in mine if owners.get(at, name) == name]
        for name, mine in share(partitions, claims, owners).items()
    }


def _owners(
    partitions: list[Partition], claims: Mapping[str, tuple[int, frozenset[Partition]]]
) -> dict[Partition, str]:
    """Say who owns a partition: the claim of the newest generation, nobody if two are equal."""
    owners: dict[Partition, str] = {}
    for at in partitions:
        wanted = Counter({name: of for name, (of, owned) in claims.items() if at in owned})
        best = wanted.most_common(2)
        if best and (len(best) == 1 or best[0][1] > best[1][1]):
            owners[at] = best[0][0]
    return owners
