"""The topic that events go to: found on the cluster, or created there.

A topic is created only when the caller says with how many partitions. Importing this module
loads confluent-kafka.
"""

from dataclasses import dataclass

from penstock.cli.cluster import connect, create_missing, partitions_of
from penstock.errors import BrokerError, TopologyError
from penstock.topics.admin import Admin
from penstock.topics.internal import DEFAULT_MAX_MESSAGE_BYTES


@dataclass(frozen=True, slots=True)
class Target:
    """A topic that exists, with the cluster and the number of partitions it has there.

    Attributes:
        max_bytes: the largest batch, and so the largest record, that it takes.
    """

    topic: str
    brokers: str
    partitions: int
    max_bytes: int = DEFAULT_MAX_MESSAGE_BYTES


def find_topic(topic: str, *, brokers: str, partitions: int | None = None) -> Target:
    """Find a topic, or create it with that many partitions if it is missing.

    A topic that exists keeps the partitions that it has. The replication factor of a new one
    is the broker's default.

    Raises:
        TopologyError: if the name is empty.
        BrokerError: if the brokers do not answer or refuse, or the topic is missing and
            partitions is None.
    """
    if not topic:
        raise TopologyError("The name of the topic is empty. Name one: penstock produce TOPIC.")
    admin = connect(brokers)
    if partitions is not None:
        create_missing(admin, [topic], partitions)
    advice = f"Create it with the first records: penstock produce {topic} --partitions 4 ..."
    found = partitions_of(admin, topic, brokers, advice)
    return Target(topic, brokers, len(found), _max_bytes(admin, topic))


def _max_bytes(admin: Admin, topic: str) -> int:
    try:
        found = admin.configs([topic])[topic]
    except BrokerError:  # this user may write to it, and not read its configuration
        found = {}
    return int(found.get("max.message.bytes", DEFAULT_MAX_MESSAGE_BYTES))
