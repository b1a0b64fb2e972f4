"""The topics of a cluster: partitions, configuration, identity."""

from dataclasses import dataclass, field

from penstock.testing.sim.log import PartitionLog

DEFAULTS = {
    "cleanup.policy": "delete",
    "delete.retention.ms": "86400000",
    "max.message.bytes": "1048588",
    "message.timestamp.type": "CreateTime",
    "min.insync.replicas": "1",
    "retention.ms": "604800000",
    "segment.bytes": "1073741824",
    "unclean.leader.election.enable": "false",
}


@dataclass(frozen=True)
class PartitionInfo:
    """What metadata says of a partition."""

    id: int
    leader: int = 1
    replicas: tuple[int, ...] = (1,)
    isrs: tuple[int, ...] = (1,)


@dataclass(frozen=True)
class TopicInfo:
    """What metadata says of a topic."""

    topic: str
    partitions: dict[int, PartitionInfo]
    topic_id: str


@dataclass
class SimTopic:
    """One topic.

    Attributes:
        name: its name.
        identity: another one when the topic is made anew.
        partitions: the logs.
        config: its settings, defaults included.
    """

    name: str
    identity: str
    partitions: list[PartitionLog]
    config: dict[str, str] = field(default_factory=lambda: dict(DEFAULTS))
    _info: TopicInfo | None = None

    @property
    def info(self) -> TopicInfo:
        """What metadata says of it: made once, as it is asked for all the time."""
        if self._info is None or len(self._info.partitions) != len(self.partitions):
            numbers = range(len(self.partitions))
            self._info = TopicInfo(self.name, {n: PartitionInfo(n) for n in numbers}, self.identity)
        return self._info


@dataclass(frozen=True)
class ClusterInfo:
    """What `list_topics` returns."""

    topics: dict[str, TopicInfo]
    brokers: dict[int, str] = field(default_factory=lambda: {1: "sim:9092"})
