"""The topic that events go to: found on the cluster, or created there.

Every question to the cluster has a time limit of 10 seconds, and a topic is created only when
the caller says with how many partitions. Importing this module loads confluent-kafka.
"""

import time
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from penstock.errors import BrokerError, TopologyError

CONNECT_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Target:
    """A topic that exists, with the cluster and the number of partitions it has there."""

    topic: str
    brokers: str
    partitions: int


def find_topic(topic: str, *, brokers: str, partitions: int | None = None) -> Target:
    """Find a topic, or create it with that many partitions if it is missing.

    A topic that exists keeps the partitions that it has. The replication factor of a new one
    is the broker's default. Waits 10 seconds at most for an answer, and as long for a new
    topic to appear.

    Raises:
        TopologyError: if the name is empty.
        BrokerError: if the brokers do not answer or refuse, or the topic is missing and
            partitions is None.
    """
    if not topic:
        raise TopologyError("The name of the topic is empty. Name one: penstock produce TOPIC.")
    cluster = _Cluster(brokers)
    found = cluster.partition_count(topic)
    if found is None:
        found = cluster.create(topic, _wanted(partitions, topic, brokers))
    return Target(topic, brokers, found)


def _wanted(partitions: int | None, topic: str, brokers: str) -> int:
    if partitions is None:
        raise BrokerError(
            f"Topic {topic} does not exist on {brokers}. Create it with the first records:"
            f" penstock produce {topic} --partitions 4 ...",
            topic=topic,
        )
    return partitions


def client_config(brokers: str) -> dict[str, Any]:
    """Make the settings that every client has here."""
    # Errors arrive by callback; librdkafka's own lines on stderr would only repeat them.
    return {"bootstrap.servers": brokers, "log_level": 0, "enable.metrics.push": False}


class _Cluster:
    """The few questions to the cluster, each with its time limit."""

    def __init__(self, brokers: str) -> None:
        self._brokers = brokers
        self._broker_error = ""
        config: dict[str, Any] = client_config(brokers) | {"error_cb": self._on_error}
        self._admin: Any = AdminClient(config)  # its futures have no types

    def partition_count(self, topic: str) -> int | None:
        """Count the partitions of a topic; None if there is no such topic.

        Asks by describe, which never creates a topic on a cluster that does so by itself.
        """
        asked = self._admin.describe_topics(
            TopicCollection([topic]), request_timeout=CONNECT_TIMEOUT_S
        )
        try:
            return len(self._answer(asked[topic]).partitions)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return None
            raise self._refused(f"look up topic {topic}", topic, error) from None

    def create(self, topic: str, partitions: int) -> int:
        """Create a topic, unless someone else just did; return the partitions it has."""
        asked = self._admin.create_topics(
            [NewTopic(topic, partitions, -1)],
            request_timeout=CONNECT_TIMEOUT_S,
            operation_timeout=CONNECT_TIMEOUT_S,
        )
        try:
            self._answer(asked[topic])
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise self._refused(f"create topic {topic}", topic, error) from None
        return self._wait_for(topic, partitions)

    def _wait_for(self, topic: str, partitions: int) -> int:
        end_s = time.monotonic() + CONNECT_TIMEOUT_S
        while time.monotonic() < end_s:
            if found := self.partition_count(topic):
                return found
            time.sleep(0.02)
        raise BrokerError(
            f"Topic {topic} was created with {partitions} partitions on {self._brokers}, but"
            f" is not there after {CONNECT_TIMEOUT_S:.0f} s. Check the brokers' logs.",
            topic=topic,
        )

    def _answer(self, future: Any) -> Any:
        while not future.done():  # ends by the request's own timeout
            self._admin.poll(0.01)
        return future.result()

    def _refused(self, what: str, topic: str, error: KafkaException) -> BrokerError:
        code, text = error.args[0].code(), error.args[0].str()
        seen = f" Last error: {self._broker_error}." if self._broker_error else ""
        if code in {KafkaError._TIMED_OUT, KafkaError._TRANSPORT}:
            return BrokerError(
                f"No Kafka broker answered at {self._brokers} within {CONNECT_TIMEOUT_S:.0f} s,"
                f" asked to {what}.{seen} Start one with 'penstock broker', or name yours with"
                " --brokers HOST:PORT.",
                topic=topic,
            )
        return BrokerError(f"The brokers at {self._brokers} refuse to {what}: {text}.", topic=topic)

    def _on_error(self, error: KafkaError) -> None:
        self._broker_error = error.str()
