"""What both group protocols have in common: a member's proof, an even share, one interface.

A group has one coordinator, of the protocol that its members speak. What they speak to it
differs; what the group asks of it stands here.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple, Protocol, TypeAlias

Partition: TypeAlias = tuple[str, int]
Fault: TypeAlias = Callable[[int, str], Exception]


class GroupMetadata(NamedTuple):
    """By what a consumer proves that it is a member.

    Attributes:
        group: the group's id.
        generation: the generation that it is in, or its member epoch; -1 if it has never joined.
        member: its id, empty for who is no member.
        instance: its static identity.
    """

    group: str
    generation: int
    member: str
    instance: str | None

    @property
    def is_nobody(self) -> bool:
        """Whether this is a client that is no member at all."""
        return self.generation < 0 and not self.member and self.instance is None


class Owners(NamedTuple):
    """Who has what.

    Attributes:
        stable: whether no rebalance goes on.
        members: the partitions of each member.
    """

    stable: bool
    members: Mapping[str, frozenset[Partition]]


class Coordinator(Protocol):
    """Who coordinates the members of a group."""

    def __len__(self) -> int:
        """Return how many members there are."""
        ...

    @property
    def owners(self) -> Owners:
        """Who has what."""
        ...

    def check(self, member: GroupMetadata, partitions: Collection[Partition], fault: Fault) -> None:
        """Raise the fault unless a member may commit offsets of these partitions."""
        ...

    def expire(self) -> None:
        """Do what is due: put out who was silent for too long."""
        ...


def subscribed(topics: Iterable[str], count: Callable[[str], int]) -> list[Partition]:
    """Return all partitions of topics, in order."""
    return [(topic, number) for topic in sorted(set(topics)) for number in range(count(topic))]


def share(
    partitions: Iterable[Partition], names: Iterable[str], owners: Mapping[Partition, str]
) -> dict[str, list[Partition]]:
    """Share partitions evenly, and move as few as possible.

    Args:
        partitions: all of them.
        names: the members.
        owners: who has a partition now.

    >>> share([("t", 0), ("t", 1)], ["a", "b"], {("t", 0): "a", ("t", 1): "a"})
    {'a': [('t', 0)], 'b': [('t', 1)]}
    """
    every = list(partitions)
    shares: dict[str, list[Partition]] = {name: [] for name in names}
    fewest, extra = divmod(len(every), len(shares))
    moving: list[Partition] = []
    for at in every:
        mine = shares.get(owners.get(at, ""))
        if mine is None or len(mine) > fewest or (len(mine) == fewest and not extra):
            moving.append(at)
            continue
        extra -= len(mine) == fewest
        mine.append(at)
    for at in moving:
        shares[min(shares, key=lambda name: len(shares[name]))].append(at)
    return shares
