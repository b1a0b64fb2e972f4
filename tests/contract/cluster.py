"""What the broker contract needs of a cluster: topics, clients, and waiting.

Clients have the names, arguments and errors of confluent_kafka on both. Waiting differs: a real
cluster takes time, a simulated one is told that it passes.
"""

import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import NewTopic, OffsetSpec

from penstock.runtime.clients import Clients
from penstock.testing.sim import SimBroker
from penstock.topics.admin import Admin, Owners

WAIT_S = 20.0
PAUSE_S = 0.02
CALL_S = 10.0
COMMITTED, UNCOMMITTED = IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED


class Cluster:
    """A cluster under contract.

    Attributes:
        config: what every client has.
        protocol: the group protocol of members.
    """

    config: dict[str, Any]
    protocol = "classic"

    def __init__(self, clients: Clients) -> None:
        self.clients = clients
        self._made: list[Any] = []
        self.admin = clients.admin(dict(self.config))

    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.clients.sleep(seconds)

    def wait_until(self, reached: Callable[[], object], what: str) -> None:
        """Wait until something is so; it is asked again and again."""
        deadline = self.clients.now() + WAIT_S
        while not reached():
            assert self.clients.now() < deadline, f"not within {WAIT_S:g} s: {what}"
            self.pass_time(PAUSE_S)

    def unique(self, name: str) -> str:
        """Make a name that nobody has used before."""
        return f"{name}-{uuid.uuid4().hex[:8]}"

    def topic(self, partitions: int = 1, **config: str) -> str:
        """Create a topic and wait until it can be written."""
        name = self.unique("contract")
        new = NewTopic(name, num_partitions=partitions, config=config)
        self.admin.create_topics([new])[name].result(timeout=CALL_S)
        self.wait_until(lambda: self._has_leaders(name, partitions), f"{name} has leaders")
        return name

    def producer(self, transactional_id: str | None = None, **config: Any) -> Any:
        """Make a producer; a transactional one has still to be initialised."""
        identity = {"transactional.id": transactional_id} if transactional_id else {}
        quick = {"linger.ms": 0, "retry.backoff.ms": 5, "enable.idempotence": True}
        return self.clients.producer({**self.config, **quick, **identity, **config})

    def transactional(self, transactional_id: str | None = None, **config: Any) -> Any:
        """Make a transactional producer that is ready."""
        producer = self.producer(transactional_id or self.unique("producer"), **config)
        producer.init_transactions(CALL_S)
        return producer

    def consumer(self, group: str | None = None, **config: Any) -> Any:
        """Make a consumer of committed records that tells ends."""
        made = self.clients.consumer(
            {
                **self.config,
                "group.id": group or self.unique("group"),
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "auto.offset.reset": "error",
                **config,
            }
        )
        self._made.append(made)
        return made

    def reader(self, topic: str, partition: int = 0, offset: int = 0, **config: Any) -> "Reader":
        """Begin to read a partition from an offset."""
        consumer = self.consumer(**config)
        consumer.assign([TopicPartition(topic, partition, offset)])
        return Reader(self, consumer)

    def member(self, group: str, topics: str | Sequence[str], **config: Any) -> "Member":
        """Let a member with short timeouts join a group.

        Under the consumer protocol the session is the broker's to set: 6 s, whatever is asked for.
        """
        timeouts = {"group.protocol": self.protocol, "max.poll.interval.ms": 5_000}
        if self.protocol == "classic":
            timeouts |= {"session.timeout.ms": 3_000, "heartbeat.interval.ms": 300}
            timeouts |= {"partition.assignment.strategy": "cooperative-sticky"}
        else:
            config.pop("session.timeout.ms", None)
        consumer = self.consumer(group, **{**timeouts, **config})
        return Member(self, consumer, [topics] if isinstance(topics, str) else list(topics))

    def end(self, topic: str, partition: int = 0, isolation: Any = UNCOMMITTED) -> int:
        """Look up where a partition ends: for readers of committed records, stably."""
        return self._offset(topic, partition, OffsetSpec.latest(), isolation)

    def start(self, topic: str, partition: int = 0) -> int:
        return self._offset(topic, partition, OffsetSpec.earliest(), UNCOMMITTED)

    def at_time(self, topic: str, time_ms: int) -> int:
        return self._offset(topic, 0, OffsetSpec.for_timestamp(time_ms), UNCOMMITTED)

    def delete_before(self, topic: str, offset: int) -> None:
        at = TopicPartition(topic, 0, offset)
        self.admin.delete_records([at])[at].result(timeout=CALL_S)

    def committed(self, group: str, topic: str, partition: int = 0) -> tuple[int, str] | None:
        """Look up what a group has committed; None where it has no stable answer at once."""
        consumer = self.consumer(group)
        try:
            (found,) = consumer.committed([TopicPartition(topic, partition)], 1.0)
        except KafkaException as problem:
            if problem.args[0].code() != KafkaError._TIMED_OUT:
                raise
            return None
        assert found.error is None
        return found.offset, found.metadata or ""

    def owners(self, group: str) -> Owners | None:
        """Look up who has what."""
        config = {"bootstrap.servers": "simulated", **self.config}
        admin = Admin(config, timeout_ms=10_000, client=lambda _: self.admin)
        return admin.owners(group).result()

    def close(self) -> None:
        for consumer in self._made:
            consumer.close()

    def _offset(self, topic: str, partition: int, spec: Any, isolation: Any) -> int:
        at = TopicPartition(topic, partition)
        asked = self.admin.list_offsets({at: spec}, isolation_level=isolation)
        found: int = asked[at].result(timeout=CALL_S).offset
        return found

    def _has_leaders(self, name: str, partitions: int) -> bool:
        found = self.admin.list_topics(name, timeout=CALL_S).topics[name].partitions
        return len(found) == partitions and all(p.leader >= 0 for p in found.values())


class SimulatedCluster(Cluster):
    """SimBroker."""

    def __init__(self) -> None:
        self.config = {}
        self.broker = SimBroker(session_s=6.0, heartbeat_s=0.5)
        super().__init__(self.broker.clients())


class RealCluster(Cluster):
    """Apache Kafka."""

    def __init__(self, servers: str) -> None:
        self.config = {"bootstrap.servers": servers, "log_level": 0}
        super().__init__(Clients(sleep=time.sleep))

    def consumer(self, group: str | None = None, **config: Any) -> Any:
        quick = {"fetch.wait.max.ms": 10, "topic.metadata.refresh.interval.ms": 500}
        made = super().consumer(group, **{**quick, **config})
        made.list_topics(timeout=CALL_S)  # without it half of them wait 1 s for metadata
        return made


class Reader:
    """What a consumer has read so far.

    Attributes:
        values: of the records.
        offsets: of the records.
        ends: offsets of the end-of-partition events.
        errors: other events.
    """

    def __init__(self, cluster: Cluster, consumer: Any) -> None:
        self.consumer = consumer
        self.values: list[bytes] = []
        self.offsets: list[int] = []
        self.ends: list[int] = []
        self.errors: list[KafkaError] = []
        self._cluster = cluster

    def poll(self) -> None:
        """Take whatever there is, and run the callbacks."""
        while (message := self.consumer.poll(0)) is not None:
            problem = message.error()
            if problem is None:
                self.values.append(message.value())
                self.offsets.append(message.offset())
            elif problem.code() == KafkaError._PARTITION_EOF:
                self.ends.append(message.offset())
            else:
                self.errors.append(problem)

    def wait_end(self, offset: int) -> None:
        """Read until the end is told to be at an offset."""

        def told() -> bool:
            self.poll()
            return offset in self.ends

        self._cluster.wait_until(told, f"an end at {offset}, there are {self.ends}")

    def wait_error(self, code: int) -> KafkaError:
        """Read until an error is told."""

        def told() -> bool:
            self.poll()
            return any(problem.code() == code for problem in self.errors)

        self._cluster.wait_until(told, f"error {code}, there are {self.errors}")
        return next(problem for problem in self.errors if problem.code() == code)


class Member(Reader):
    """A member of a group.

    Attributes:
        owned: the partitions that it has.
        history: `assign`, `revoke` and `lost` with their partitions, empty ones left out.
        calls: the same without the partitions, nothing left out.
    """

    def __init__(self, cluster: Cluster, consumer: Any, topics: list[str]) -> None:
        super().__init__(cluster, consumer)
        self.owned: set[int] = set()
        self.history: list[tuple[str, set[int]]] = []
        self.calls: list[str] = []
        self.topics = topics
        self.subscribe(topics)

    @property
    def assigns(self) -> int:
        """How often it was told what it has, be it nothing new."""
        return self.calls.count("assign")

    def rejoin(self, no_topic: str) -> None:
        """Subscribe for a moment to a topic that does not exist."""
        self.subscribe([*self.topics, no_topic])
        self.subscribe(self.topics)

    def subscribe(self, topics: list[str]) -> None:
        """Join the group, or join it again for other topics."""
        self.consumer.subscribe(
            topics,
            on_assign=lambda _, found: self._note("assign", found),
            on_revoke=lambda _, found: self._note("revoke", found),
            on_lost=lambda _, found: self._note("lost", found),
        )

    def _note(self, kind: str, found: Iterable[TopicPartition]) -> None:
        numbers = {at.partition for at in found}
        positions = [TopicPartition(at.topic, at.partition, 0) for at in found]
        if kind == "assign":
            self.owned |= numbers
            self.consumer.incremental_assign(positions)
        else:
            self.owned -= numbers
            self.consumer.incremental_unassign(positions)
        self.calls.append(kind)
        if numbers:
            self.history.append((kind, numbers))
