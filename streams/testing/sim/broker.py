"""SimBroker: a Kafka cluster in memory, for many clients in one thread.

Logs, groups and transactions with the semantics of Apache Kafka as far as Penstock relies on
them; tests/contract holds both to one suite. Nothing happens by itself: time is virtual and
moves by `advance`, or while a client waits, and what clients do in the background (heartbeats,
joining a group again) happens whenever time moves.

Not here: compaction, retention, several brokers, groups whose members speak both protocols.
"""

import heapq
import random
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from confluent_kafka import KafkaError

from penstock.runtime.clients import Clients
from penstock.testing.sim.admin import SimAdmin
from penstock.testing.sim.clock import VirtualClock
from penstock.testing.sim.consumer import SimConsumer
from penstock.testing.sim.faults import error
from penstock.testing.sim.group import Group
from penstock.testing.sim.log import PartitionLog
from penstock.testing.sim.membership import Client, Membership
from penstock.testing.sim.membership_classic import ClassicMembership
from penstock.testing.sim.membership_consumer import ConsumerMembership
from penstock.testing.sim.process import Hook, Process
from penstock.testing.sim.producer import SimProducer
from penstock.testing.sim.topics import ClusterInfo, SimTopic
from penstock.testing.sim.transactions import Partition, TransactionCoordinator

MOST_LAG_S = 0.2


class Background(Protocol):
    """A client with threads of its own."""

    def background(self) -> None:
        """Do what they would do now."""
        ...


class SimBroker:
    """A cluster.

    Args:
        draw: decides what no client can foresee: how much a fetch brings, when a record that
            waits in a producer is sent, how late a heartbeat is answered. Left out, everything
            comes and is sent at once.
        session_s: `group.consumer.session.timeout.ms`, of members by the consumer protocol.
        heartbeat_s: `group.consumer.heartbeat.interval.ms`.

    Attributes:
        clock: its time.
        topics: by name.
        transactions: the transaction coordinator.
    """

    def __init__(
        self,
        draw: random.Random | None = None,
        *,
        session_s: float = 45.0,
        heartbeat_s: float = 5.0,
    ) -> None:
        self.clock = VirtualClock(self._moved)
        self.topics: dict[str, SimTopic] = {}
        self.transactions = TransactionCoordinator(self.log, self.clock.now)
        self.draw = draw
        self._session_s = session_s
        self._heartbeat_s = heartbeat_s
        self._groups: dict[str, Group] = {}
        self._clients: list[Background] = []
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = 0
        self._moving = False

    def create_topic(self, name: str, partitions: int = 1, **config: object) -> SimTopic:
        """Create a topic; `retention_ms=-1` sets `retention.ms`.

        Raises:
            KafkaException: if it exists.
        """
        if name in self.topics:
            raise error(KafkaError.TOPIC_ALREADY_EXISTS, f"Topic {name!r} already exists.")
        topic = SimTopic(name, f"id-{self._number()}", [PartitionLog() for _ in range(partitions)])
        topic.config.update({key.replace("_", "."): str(value) for key, value in config.items()})
        self.topics[name] = topic
        return topic

    def log(self, at: Partition) -> PartitionLog:
        """Return the log of a partition.

        Raises:
            KafkaException: if there is none.
        """
        topic = self.topics.get(at[0])
        if topic is None or not 0 <= at[1] < len(topic.partitions):
            raise error(KafkaError.UNKNOWN_TOPIC_OR_PART, f"{at[0]}/{at[1]} does not exist")
        return topic.partitions[at[1]]

    def group(self, name: str) -> Group:
        """Return a group; there is one as soon as it is asked for."""
        if name not in self._groups:
            self._groups[name] = Group(name, self._count, self.clock.now, self._session_s)
        return self._groups[name]

    def membership(self, client: Client, group: Group, config: Mapping[str, Any]) -> Membership:
        """Make a consumer's membership, by the protocol that it is configured for."""
        found = self._member(client, group, config)
        found.draw = self.draw
        return found

    def _member(self, client: Client, group: Group, config: Mapping[str, Any]) -> Membership:
        common = (client, group, config, self.clock, self.settle)
        if config.get("group.protocol", "classic") == "classic":
            return ClassicMembership(*common)
        member = f"{config.get('group.instance.id', 'member')}-{self._number()}"
        return ConsumerMembership(
            *common, member=member, heartbeat_s=self._heartbeat_s, lag_s=self._lag_s
        )

    def process(self, name: str = "test", hook: Hook | None = None) -> Process:
        """Make a process for clients to live in."""
        return Process(name, self.clock.advance, hook)

    def clients(self, process: Process | None = None) -> Clients:
        """Return what makes clients of this cluster, in a process."""
        owner = process or self.process()
        return Clients(
            consumer=lambda config: SimConsumer(self, owner, config),
            producer=lambda config: SimProducer(self, owner, config),
            admin=lambda _: SimAdmin(self, owner),
            now=self.clock.now,
            now_ms=lambda: self.clock.now_ms() + owner.ahead_ms,
            sleep=owner.wait,
            bounded=_directly,
            hear=lambda _: None,  # no connection of theirs breaks
        )

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something when time has passed, such as taking a request that is late."""
        heapq.heappush(self._later, (self.clock.now() + seconds, self._number(), action))

    def cluster(self) -> ClusterInfo:
        """Return metadata of all topics."""
        return ClusterInfo({name: topic.info for name, topic in self.topics.items()})

    def remember(self, client: Background) -> None:
        """Let a client's threads work."""
        if client not in self._clients:
            self._clients.append(client)

    def forget(self, client: Background) -> None:
        """Let a client's threads end."""
        if client in self._clients:
            self._clients.remove(client)

    def settle(self) -> None:
        """Let coordinators and background threads do what is due now."""
        if self._moving:
            return
        self._moving = True
        try:
            for client in list(self._clients):
                client.background()
            for group in self._groups.values():
                group.expire()
            self.transactions.expire()
            for client in list(self._clients):
                client.background()
        finally:
            self._moving = False

    def _lag_s(self) -> float:
        return self.draw.uniform(0, MOST_LAG_S) if self.draw else 0.0

    def _moved(self) -> None:
        self.settle()
        while self._later and self._later[0][0] <= self.clock.now():
            heapq.heappop(self._later)[2]()

    def _count(self, topic: str) -> int:
        return len(self.topics[topic].partitions) if topic in self.topics else 0

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers


def _directly(call: Callable[[], None], _timeout_s: float, _doing: str) -> None:
    call()
