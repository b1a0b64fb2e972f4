"""A consumer group: its committed offsets, and the coordinator of its members.

Rule 1: offsets of a transaction wait beside the committed ones until it ends; readers who ask
        for stable offsets have none meanwhile.
Rule 2: members speak one protocol. An empty group takes up that of who comes first.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeAlias

from confluent_kafka import KafkaError, KafkaException

from penstock.testing.sim.coordinator import Coordinator, GroupMetadata, Owners, Partition
from penstock.testing.sim.coordinator_classic import ClassicCoordinator
from penstock.testing.sim.coordinator_consumer import ConsumerCoordinator
from penstock.testing.sim.faults import abortable, error

Committed: TypeAlias = tuple[int, str]


class Group:
    """One consumer group.

    Args:
        name: its id.
        count: tells how many partitions a topic has.
        now: the clock.
        session_s: how long a member of the consumer protocol may be silent.

    Attributes:
        committed: offsets with their metadata.
    """

    def __init__(
        self, name: str, count: Callable[[str], int], now: Callable[[], float], session_s: float
    ) -> None:
        self.name = name
        self.committed: dict[Partition, Committed] = {}
        self._count = count
        self._classic = ClassicCoordinator(count, now)
        self._consumer = ConsumerCoordinator(count, now, session_s)
        self._coordinator: Coordinator = self._classic
        self._pending: dict[int, dict[Partition, Committed]] = {}
        self._found: set[str] = set()

    @property
    def classic(self) -> ClassicCoordinator:
        """The coordinator of the classic protocol.

        Raises:
            KafkaException: if there are members that speak the other one.
        """
        self._speak(self._classic)
        return self._classic

    @property
    def consumer(self) -> ConsumerCoordinator:
        """The coordinator of the consumer protocol (KIP-848).

        Raises:
            KafkaException: if there are members that speak the other one.
        """
        self._speak(self._consumer)
        return self._consumer

    @property
    def owners(self) -> Owners:
        """Who has what."""
        return self._coordinator.owners

    def missing(self, topics: Collection[str]) -> list[str]:
        """Return those topics that do not exist."""
        if self._found.issuperset(topics):  # asked for all the time, and none goes away
            return []
        self._found.update(topic for topic in topics if self._count(topic))
        return [topic for topic in topics if topic not in self._found]

    def expire(self) -> None:
        """Let the coordinator do what is due."""
        self._coordinator.expire()

    def commit(self, member: GroupMetadata, offsets: Mapping[Partition, Committed]) -> None:
        """Commit offsets outside of transactions.

        Raises:
            KafkaException: if it is not a member, or not of this generation.
        """
        if len(self._coordinator) or not member.is_nobody:
            self._coordinator.check(member, offsets.keys(), error)
        self.committed.update(offsets)

    def add_pending(
        self, producer_id: int, member: GroupMetadata, offsets: Mapping[Partition, Committed]
    ) -> None:
        """Let offsets wait for the end of their transaction.

        Raises:
            KafkaException: if it is not a member, or not of this generation. Who is no member
                at all is let pass.
        """
        if not member.is_nobody:
            self._coordinator.check(member, offsets.keys(), _in_transaction)
        self._pending.setdefault(producer_id, {}).update(offsets)

    def end_pending(self, producer_id: int, *, commit: bool) -> None:
        """Commit or forget what waits for a transaction."""
        offsets = self._pending.pop(producer_id, {})
        if commit:
            self.committed.update(offsets)

    def unstable(self, partitions: Iterable[Partition]) -> bool:
        """Whether a transaction that is open has offsets of these partitions."""
        pending = {at for offsets in self._pending.values() for at in offsets}
        return bool(pending.intersection(partitions))

    def _speak(self, wanted: Coordinator) -> None:
        if wanted is self._coordinator:
            return
        if len(self._coordinator):
            text = f"members of {self.name} speak another protocol"
            raise error(KafkaError.INCONSISTENT_GROUP_PROTOCOL, text)
        self._coordinator = wanted


def _in_transaction(code: int, text: str) -> KafkaException:
    """Brokers tell producers of an old member epoch as of an old generation."""
    stale = code == KafkaError.STALE_MEMBER_EPOCH
    return abortable(KafkaError.ILLEGAL_GENERATION if stale else code, text)
