"""Internal topics: what Penstock creates, with Kafka Streams' names and configurations."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from penstock.errors import TopologyError

DEFAULT_MAX_MESSAGE_BYTES = 1_048_588

CHANGELOG_CONFIG: Mapping[str, str] = {
    "cleanup.policy": "compact",
    "message.timestamp.type": "CreateTime",
}


# What stands in it is purged by its owner once it is committed; nothing else may delete it.
REPARTITION_CONFIG: Mapping[str, str] = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "message.timestamp.type": "CreateTime",
    "segment.bytes": "52428800",
}


@dataclass(frozen=True)
class InternalTopic:
    """A topic that belongs to an application.

    Attributes:
        name: its name.
        partitions: how many partitions it needs.
        config: the configuration without which it would lose or distort state.
    """

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=lambda: dict(CHANGELOG_CONFIG))


def progress_topic(application: str, name: str | None, retention_ms: int) -> InternalTopic:
    """Return the topic that an application's workers write their progress to.

    Args:
        application: the application id.
        name: what it is called, where not after the application.
        retention_ms: how long it keeps what stands in it.
    """
    config = {"cleanup.policy": "delete", "retention.ms": str(retention_ms)}
    return InternalTopic(name or f"{application}-progress", 1, config)


def workers_topic(application: str) -> InternalTopic:
    """Return the topic on which an application's workers say where they are.

    It keeps what each has said last; what none has renewed for a day is gone.
    """
    config = {"cleanup.policy": "compact,delete", "retention.ms": "86400000"}
    return InternalTopic(f"{application}-workers", 1, config)


def verify(needed: InternalTopic, partitions: int, config: Mapping[str, str]) -> None:
    """Refuse an internal topic that exists but is not what the application needs.

    Args:
        needed: what the application needs.
        partitions: how many partitions it has.
        config: its configuration.

    Raises:
        TopologyError: with the found and the needed value, and the command that fixes it.
    """
    if partitions != needed.partitions:
        raise TopologyError(
            f"The internal topic {needed.name} has {partitions} partitions, the application"
            f" needs {needed.partitions}: the partition count of its input has changed. State"
            " is bound to partitions and cannot follow. Restore the input's partition count,"
            " or start over under a new application id.",
            topic=needed.name,
        )
    for name, value in needed.config.items():
        found = config.get(name)
        if found is not None and found != value:
            raise TopologyError(
                f"The internal topic {needed.name} has {name}={found}, the application needs"
                f" {name}={value}. Correct it: kafka-configs.sh --bootstrap-server ..."
                f" --alter --entity-type topics --entity-name {needed.name}"
                f" --add-config {name}={value}",
                topic=needed.name,
            )
