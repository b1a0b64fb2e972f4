"""The topic that events go to: found on the cluster, or created there.

A topic is created only when the caller says with how many partitions. Importing this module
loads confluent-kafka.
"""

from dataclasses import dataclass

from penstock.cli.cluster import connect
from penstock.errors import BrokerError, TopologyError
from penstock.topics.admin import Admin
from penstock.topics.internal import InternalTopic


@dataclass(frozen=True, slots=True)
class Target:
    """A topic that exists, with the cluster and the number of partitions it has there."""

    topic: str
    brokers: str
    partitions: int


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
    found = _partition_count(admin, topic)
    if found is None:
        admin.create([InternalTopic(topic, _wanted(partitions, topic, brokers), {})])
        found = _partition_count(admin, topic)  # somebody else may have been faster
    return Target(topic, brokers, found or _wanted(partitions, topic, brokers))


def _partition_count(admin: Admin, topic: str) -> int | None:
    """Ask by the list of all topics, which never creates one on a cluster that does so itself."""
    return admin.topics().get(topic)


def _wanted(partitions: int | None, topic: str, brokers: str) -> int:
    if partitions is None:
        raise BrokerError(
            f"Topic {topic} does not exist on {brokers}. Create it with the first records:"
            f" penstock produce {topic} --partitions 4 ...",
            topic=topic,
        )
    return partitions
