"""The admin client: what topics there are, how they are configured, and where they end.

Every call is bounded in time, and every failure is a BrokerError that says what was tried.
"""

import concurrent.futures
import logging
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from confluent_kafka import (
    ConsumerGroupState,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from penstock.errors import BrokerError
from penstock.secret import revealed, without_secrets
from penstock.topics.internal import InternalTopic, verify

log = logging.getLogger("penstock")
T = TypeVar("T")

_HOPELESS = (KafkaError._AUTHENTICATION, KafkaError._SSL)
_EXISTS = KafkaError.TOPIC_ALREADY_EXISTS
_WHERE_TO_LOOK = (
    "Check that the address is right (brokers=, PENSTOCK_BROKERS) and that the broker is up, and"
    " name security.protocol in KafkaSettings(client=...) if it expects TLS or a password;"
    " KafkaSettings.connect_timeout_ms is how long to wait."
)
NEVER_S = 3_600.0
LEADER_PAUSE_S = 0.01
REPLICAS_TIMEOUT_S = 1.0
_STATE = re.compile(r" \(after \d+ms in state \w+\)")  # the client's, in its own terms
_NO_GROUP = (
    KafkaError.GROUP_ID_NOT_FOUND,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.NOT_COORDINATOR,
)
_MOVED = (
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError._NOENT,  # "No leaders found": the partition is new
)


@dataclass(frozen=True)
class Member:
    """A member of a consumer group.

    Attributes:
        client_id: its `client.id`.
        host: where it runs.
        instance: its `group.instance.id`, None for a dynamic member.
    """

    client_id: str
    host: str
    instance: str | None


@dataclass(frozen=True)
class Description:
    """A topic as it is now.

    Attributes:
        id: its identity; a recreated topic has another one.
        partitions: how many it has.
    """

    id: str
    partitions: int


@dataclass(frozen=True)
class Owners:
    """Who has which partitions of a group.

    Attributes:
        stable: whether no rebalance goes on.
        members: the partitions of each member, by its id.
    """

    stable: bool
    members: Mapping[str, frozenset[tuple[str, int]]]


@dataclass(frozen=True)
class Replicas:
    """Where a partition is.

    Attributes:
        leader: the broker that leads it, -1 for none.
        in_sync: the brokers that have all of it.
        all: the brokers that should.
    """

    leader: int
    in_sync: Set[int]
    all: Set[int]


class Pending(Generic[T]):
    """An answer that is on its way.

    Args:
        futures: what it is made of.
        read: makes it of them.
    """

    def __init__(
        self, futures: Mapping[str, Any], read: Callable[[Mapping[str, Any]], T | None]
    ) -> None:
        self._futures = futures
        self._read = read

    def done(self) -> bool:
        """Whether the answer is there."""
        return all(future.done() for future in self._futures.values())

    def wait(self, timeout_s: float) -> bool:
        """Wait for the answer for so long, and return whether it is there."""
        return not concurrent.futures.wait(self._futures.values(), timeout_s).not_done

    def result(self) -> T | None:
        """Return the answer; None if the cluster is away."""
        return self._read(self._futures)


class Admin:
    """Ask the cluster about topics, and create the internal ones.

    Args:
        config: librdkafka settings, `bootstrap.servers` among them.
        timeout_ms: bound of one call.
        client: makes the Kafka client.
        now: monotonic seconds.
        sleep: waits for seconds.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        timeout_ms: int,
        client: Callable[[dict[str, Any]], Any] = AdminClient,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._now, self._sleep = now, sleep
        self._servers = str(config["bootstrap.servers"])
        self._config = config
        self._timeout_s = timeout_ms / 1000
        self._last_error: KafkaError | None = None
        whole: dict[str, Any] = {**config, "error_cb": self._note, "log_level": 2}
        self._client = client(revealed(whole))

    def connect(
        self,
        wait_ms: int,
        stopped: Callable[[], bool] = lambda: False,
        *,
        advice: str = _WHERE_TO_LOOK,
        tell: Callable[[str], object] = lambda _: None,
    ) -> None:
        """Wait until the cluster answers, or somebody says stop.

        Args:
            wait_ms: for how long.
            stopped: whether somebody has.
            advice: what to do where nobody answers.
            tell: is told once, soon, that nobody answers yet.

        Raises:
            BrokerError: if it does not within wait_ms, or will not let us in.
        """
        deadline, told = self._now() + wait_ms / 1000, False
        while not stopped():
            self._client.poll(0)  # it calls for a token, where there is one
            try:
                self._client.list_topics(timeout=min(2.0, max(0.1, deadline - self._now())))
                return
            except KafkaException as error:
                self._client.poll(0)  # it calls `_note` with the reason
                problem = self._last_error or error.args[0]
            if problem.code() in _HOPELESS or self._now() > deadline:
                raise self._unreachable(problem, wait_ms, advice)
            if not told:
                told = True
                tell(
                    f"No Kafka at {self._servers} yet: {self._said(problem)}. Trying for up to"
                    f" {wait_ms / 1000:g} s."
                )

    @property
    def servers(self) -> str:
        """Where the cluster is, as `bootstrap.servers` says it."""
        return self._servers

    def topics(self) -> dict[str, int]:
        """Return the partition count of every topic."""
        found = self._call("listing topics", self._client.list_topics, timeout=self._timeout_s)
        return {name: len(topic.partitions) for name, topic in found.topics.items()}

    def replicas(self, topics: Collection[str]) -> dict[tuple[str, int], Replicas]:
        """Return where the partitions of topics are; topics that do not exist are left out."""
        timeout_s = min(REPLICAS_TIMEOUT_S, self._timeout_s)
        found = self._call("listing topics", self._client.list_topics, timeout=timeout_s).topics
        return {
            (topic, number): Replicas(of.leader, frozenset(of.isrs), frozenset(of.replicas))
            for topic in topics
            if topic in found
            for number, of in sorted(found[topic].partitions.items())
        }

    def broker_settings(self) -> dict[str, str]:
        """Return the settings of one of the brokers; none where this user may not read them."""
        known = self._call("listing brokers", self._client.list_topics, timeout=self._timeout_s)
        resource = ConfigResource(ResourceType.BROKER, str(min(known.brokers)))
        asked = self._client.describe_configs([resource], request_timeout=self._timeout_s)
        try:
            found = asked[resource].result()
        except KafkaException:
            return {}
        return {name: entry.value for name, entry in found.items() if entry.value is not None}

    def topic_ids(self, topics: Sequence[str]) -> dict[str, str]:
        """Return the identity of each topic; a recreated topic has another one."""
        if not topics:
            return {}
        futures = self._describe(topics)
        found = {name: self._result("describing topics", f) for name, f in futures.items()}
        return {name: str(description.topic_id) for name, description in found.items()}

    def describe(self, topics: Sequence[str]) -> Pending[dict[str, Description | None]]:
        """Ask what topics are like, without waiting for the answer.

        It has None for a topic that does not exist.
        """
        return Pending(self._describe(topics), _described)

    def _describe(self, topics: Sequence[str]) -> dict[str, Any]:
        found: dict[str, Any] = self._client.describe_topics(
            TopicCollection(list(topics)), request_timeout=self._timeout_s
        )
        return found

    def owners(self, group: str) -> Pending[Owners]:
        """Ask who has which partitions of a group, without waiting for the answer.

        It is never given up: while the cluster is away, such a question that has timed out ends the
        process on an assertion (librdkafka 2.16.0). Left alone, it is answered when the cluster is.
        """
        asked = self._describe_group(group, NEVER_S)
        return Pending(asked, lambda futures: _owners(futures[group]))

    def _describe_group(self, group: str, timeout_s: float) -> dict[str, Any]:
        found: dict[str, Any] = self._client.describe_consumer_groups(
            [group], request_timeout=timeout_s
        )
        return found

    def members(self, group: str) -> list[Member]:
        """Return the members of a group; none where there is no such group."""
        try:
            found = self._describe_group(group, self._timeout_s)[group].result()
        except KafkaException as error:
            if error.args[0].code() in _NO_GROUP:
                return []
            raise self._failed("asking for the members of the group", error) from error
        return [Member(m.client_id, m.host, m.group_instance_id) for m in found.members]

    def groups(self) -> list[str]:
        """Return the ids of all consumer groups."""
        asked = self._client.list_consumer_groups(request_timeout=self._timeout_s)
        return [group.group_id for group in self._result("listing groups", asked).valid]

    def configs(self, topics: Iterable[str]) -> dict[str, dict[str, str]]:
        """Return the configuration of each topic."""
        resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
        if not resources:
            return {}
        futures = self._client.describe_configs(resources, request_timeout=self._timeout_s)
        return {
            resource.name: {
                name: entry.value
                for name, entry in self._result("reading topic configurations", future).items()
                if entry.value is not None
            }
            for resource, future in futures.items()
        }

    def ensure(self, needed: Sequence[InternalTopic], existing: Mapping[str, int]) -> None:
        """Create the internal topics that are missing and verify those that exist.

        Raises:
            TopologyError: if one exists with another configuration or partition count.
            BrokerError: if one cannot be created.
        """
        found = self.configs(topic.name for topic in needed if topic.name in existing)
        for topic in needed:
            if topic.name in existing:
                verify(topic, existing[topic.name], found[topic.name])
        missing = [topic for topic in needed if topic.name not in existing]
        self.create(missing)

    def create(self, topics: Sequence[InternalTopic]) -> None:
        """Create topics with the broker's default replication factor.

        Raises:
            BrokerError: if one cannot be created; one that another worker has just created
                is fine.
        """
        if not topics:
            return
        futures = self._client.create_topics(
            [
                NewTopic(topic.name, topic.partitions, -1, config=dict(topic.config))
                for topic in topics
            ],
            request_timeout=self._timeout_s,
        )
        for name, future in futures.items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != _EXISTS:
                    raise BrokerError(
                        f"The topic {name} cannot be created: {error.args[0].str()}."
                        " Create it by hand, or allow this user to create topics.",
                        topic=name,
                    ) from error
        self._await_leaders([topic.name for topic in topics])

    def delete(self, names: Sequence[str]) -> None:
        """Delete topics, and wait until they are gone.

        Raises:
            BrokerError: if one cannot be deleted; one that is gone already is fine.
        """
        if not names:
            return
        asked = self._client.delete_topics(list(names), request_timeout=self._timeout_s)
        for name, future in asked.items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise self._failed(f"deleting topic {name}", error) from error
        deadline = self._now() + self._timeout_s
        while left := set(names).intersection(self.topics()):
            if self._now() > deadline:
                raise BrokerError(
                    f"The topics {', '.join(sorted(left))} are deleted, but still there after"
                    f" {self._timeout_s:g} s. Check the cluster's health, and run it again."
                )
            self._sleep(LEADER_PAUSE_S)

    def _await_leaders(self, names: Sequence[str]) -> None:
        """Wait until the brokers know new topics: their creation is the controller's word only."""
        deadline = self._now() + self._timeout_s
        while self._now() < deadline:
            known = self._call("listing topics", self._client.list_topics, timeout=self._timeout_s)
            if all(name in known.topics and _has_leaders(known.topics[name]) for name in names):
                return
            self._sleep(LEADER_PAUSE_S)
        raise BrokerError(
            f"The topics {', '.join(names)} are created, but have no leaders after"
            f" {self._timeout_s:g} s. Check the cluster's health and start again."
        )

    def delete_before(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Ask for the deletion of records before these offsets, and do not wait for it.

        A failure is told to the log: the records stay until the next time.
        """
        positions = [TopicPartition(*at, offset) for at, offset in offsets.items()]
        asked = self._client.delete_records(positions, request_timeout=self._timeout_s)
        for future in asked.values():
            future.add_done_callback(_tell)

    def starts(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Return the first offset of each partition."""
        return self._offsets(partitions, OffsetSpec.earliest())

    def ends(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Return the offset behind the last record, open transactions included."""
        return self._offsets(partitions, OffsetSpec.latest())

    def stable_ends(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Return how far read_committed readers get: the first open transaction, or the end."""
        return self._offsets(partitions, OffsetSpec.latest(), IsolationLevel.READ_COMMITTED)

    def at_time(
        self, partitions: Iterable[tuple[str, int]], time_ms: int
    ) -> dict[tuple[str, int], int]:
        """Return the first offset at or after a time, -1 where there is none."""
        return self._offsets(partitions, OffsetSpec.for_timestamp(time_ms))

    def _offsets(
        self,
        partitions: Iterable[tuple[str, int]],
        spec: Any,
        level: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
    ) -> dict[tuple[str, int], int]:
        wanted = {TopicPartition(topic, number): spec for topic, number in partitions}
        found: dict[tuple[str, int], int] = {}
        deadline = self._now() + self._timeout_s
        while wanted:
            futures = self._client.list_offsets(
                wanted,
                isolation_level=level,
                request_timeout=self._timeout_s,
            )
            for at, future in futures.items():
                try:
                    found[at.topic, at.partition] = future.result().offset
                    del wanted[at]
                except KafkaException as error:
                    if error.args[0].code() not in _MOVED or self._now() > deadline:
                        raise self._failed("asking for offsets", error) from error
            if wanted:  # a leader has changed: the client learns of it with new metadata
                self._sleep(LEADER_PAUSE_S)
                self.topics()
        return found

    def _call(self, doing: str, function: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except KafkaException as error:
            raise self._failed(doing, error) from error

    def _result(self, doing: str, future: Any) -> Any:
        return self._call(doing, future.result)

    def _failed(self, doing: str, error: KafkaException) -> BrokerError:
        return BrokerError(
            f"{doing.capitalize()} failed at {self._servers}: {error.args[0].str()}. Check that"
            " the cluster is healthy and that this user may do that."
        )

    def _unreachable(self, problem: KafkaError, wait_ms: int, advice: str) -> BrokerError:
        if problem.code() in _HOPELESS:
            advice = "Check security.protocol, sasl.* and ssl.* in KafkaSettings(client=...)."
        return BrokerError(
            f"No Kafka at {self._servers}: tried for up to {wait_ms / 1000:g} s, the last answer"
            f" was: {self._said(problem)}. {advice}"
        )

    def _said(self, problem: KafkaError) -> str:
        return without_secrets(_STATE.sub("", problem.str() or problem.name()), self._config)

    def _note(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._last_error = error


def _described(futures: Mapping[str, Any]) -> dict[str, Description | None] | None:
    found: dict[str, Description | None] = {}
    for name, future in futures.items():
        try:
            topic = future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                return None
            found[name] = None
        else:
            found[name] = Description(str(topic.topic_id), len(topic.partitions))
    return found


def _owners(future: Any) -> Owners | None:
    try:
        found = future.result()
    except KafkaException:
        return None
    return Owners(
        found.state == ConsumerGroupState.STABLE,
        {
            member.member_id: frozenset(
                (at.topic, at.partition) for at in member.assignment.topic_partitions
            )
            for member in found.members
        },
    )


def _tell(future: Any) -> None:
    problem = future.exception()
    if problem is not None:
        log.info("Deleting committed records of a repartition topic failed: %s.", problem)


def _has_leaders(topic: Any) -> bool:
    return bool(topic.partitions) and all(p.leader >= 0 for p in topic.partitions.values())
