"""The admin client of the simulation: what Penstock asks about topics and groups."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from confluent_kafka import (
    ConsumerGroupState,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import ConfigResource, NewTopic, ResourceType

from penstock.testing.sim.faults import error, timed_out
from penstock.testing.sim.process import Fate, Process
from penstock.testing.sim.topics import ClusterInfo, TopicInfo

if TYPE_CHECKING:
    from penstock.testing.sim.broker import SimBroker

T = TypeVar("T")
_LATEST, _EARLIEST = -1, -2
TIMEOUT_S = 1.0


@dataclass(frozen=True)
class Entry:
    """A setting of a topic."""

    name: str
    value: str


@dataclass(frozen=True)
class Offset:
    """An answer of `list_offsets`."""

    offset: int


@dataclass(frozen=True)
class Assigned:
    """What a member has."""

    topic_partitions: list[TopicPartition]


@dataclass(frozen=True)
class MemberInfo:
    """A member of a group."""

    member_id: str
    assignment: Assigned


@dataclass(frozen=True)
class GroupInfo:
    """A group as it is."""

    state: ConsumerGroupState
    members: list[MemberInfo]


class SimAdmin:
    """A client with the names, arguments and errors of confluent_kafka's AdminClient."""

    def __init__(self, broker: "SimBroker", process: Process) -> None:
        self._broker = broker
        self._process = process

    def poll(self, _timeout: float = 0) -> int:
        """Do nothing: there are no callbacks."""
        return 0

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> ClusterInfo:
        """Return metadata of all topics."""
        self._process.call("list_topics")
        return self._broker.cluster()

    def describe_topics(self, topics: Any, **_options: Any) -> "dict[str, Future[TopicInfo]]":
        """Return metadata of some topics."""
        lost = self._is_lost("describe_topics")
        return {name: self._answer(lost, partial(self._info, name)) for name in topics.topic_names}

    def describe_consumer_groups(
        self, groups: Iterable[str], **_options: Any
    ) -> "dict[str, Future[GroupInfo]]":
        """Return the members of groups, and what they have."""
        lost = self._process.call("describe_consumer_groups") is not Fate.DONE
        return {name: self._answer(lost, partial(self._group, name)) for name in groups}

    def create_topics(
        self, topics: Iterable[NewTopic], **_options: Any
    ) -> "dict[str, Future[None]]":
        """Create topics."""
        lost = self._is_lost("create_topics")
        return {new.topic: self._answer(lost, partial(self._create, new)) for new in topics}

    def describe_configs(
        self, resources: Iterable[ConfigResource], **_options: Any
    ) -> "dict[ConfigResource, Future[dict[str, Entry]]]":
        """Return the settings of topics; brokers have none to tell."""
        lost = self._is_lost("describe_configs")
        return {found: self._answer(lost, partial(self._config, found)) for found in resources}

    def list_offsets(
        self,
        wanted: Mapping[TopicPartition, Any],
        isolation_level: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
        **_options: Any,
    ) -> "dict[TopicPartition, Future[Offset]]":
        """Return the start, the end, or the offset at a time of partitions."""
        lost = self._is_lost("list_offsets")
        stable = isolation_level == IsolationLevel.READ_COMMITTED
        return {
            at: self._answer(lost, partial(self._offset, at, spec._value, stable=stable))
            for at, spec in wanted.items()
        }

    def delete_records(
        self, positions: Iterable[TopicPartition], **_options: Any
    ) -> "dict[TopicPartition, Future[None]]":
        """Delete records before offsets."""
        lost = self._is_lost("delete_records")
        return {at: self._answer(lost, partial(self._delete, at)) for at in positions}

    def _is_lost(self, what: str) -> bool:
        """Make a call; where its answer is lost, the caller waits in vain."""
        lost = self._process.call(what) is not Fate.DONE
        if lost:
            self._process.wait(TIMEOUT_S)
        return lost

    def _answer(self, lost: bool, ask: Callable[[], T]) -> "Future[T]":
        future: Future[T] = Future()
        try:
            found = ask()
            if lost:
                raise timed_out("no answer")
            future.set_result(found)
        except KafkaException as problem:
            future.set_exception(problem)
        return future

    def _info(self, name: str) -> TopicInfo:
        found = self._broker.topics.get(name)
        if found is None:
            raise error(KafkaError.UNKNOWN_TOPIC_OR_PART, f"Topic {name!r} does not exist.")
        return found.info

    def _group(self, name: str) -> GroupInfo:
        stable, owners = self._broker.group(name).owners
        state = ConsumerGroupState.STABLE if stable else ConsumerGroupState.PREPARING_REBALANCING
        return GroupInfo(state, [_member(name, owned) for name, owned in owners.items()])

    def _create(self, new: NewTopic) -> None:
        config: dict[str, Any] = dict(new.config or {})
        self._broker.create_topic(new.topic, new.num_partitions, **config)

    def _config(self, resource: ConfigResource) -> dict[str, Entry]:
        if resource.restype != ResourceType.TOPIC:
            return {}
        self._info(resource.name)
        config = self._broker.topics[resource.name].config
        return {name: Entry(name, value) for name, value in config.items()}

    def _offset(self, at: TopicPartition, spec: int, *, stable: bool) -> Offset:
        log = self._broker.log((at.topic, at.partition))
        if spec == _EARLIEST:
            return Offset(log.start)
        if spec == _LATEST:
            return Offset(log.stable_end if stable else log.end)
        return Offset(log.at_time(spec))

    def _delete(self, at: TopicPartition) -> None:
        log = self._broker.log((at.topic, at.partition))
        if at.offset > log.end:
            raise error(KafkaError.OFFSET_OUT_OF_RANGE, f"{at} ends at {log.end}")
        log.delete_before(at.offset)


def _member(name: str, owned: Iterable[tuple[str, int]]) -> MemberInfo:
    return MemberInfo(name, Assigned([TopicPartition(*at) for at in sorted(owned)]))
