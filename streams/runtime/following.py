"""Following: reading what all workers of an application tell, from its progress topic."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from penstock.errors import BrokerError
from penstock.query.events import Told, decode
from penstock.query.progress import query_id
from penstock.runtime.clients import Clients
from penstock.runtime.message import Message
from penstock.secret import revealed

MOST_READ = 1_000
BACK_MS = 15_000  # an idle worker tells that every ten seconds
REQUEST_S = 10.0


class Follower:
    """Read a progress topic, in no group and without committing anything.

    Args:
        config: librdkafka settings that all clients have.
        topic: its name.
        clients: the Kafka client's classes, and time.
        application: the id of the one that is read, where several write to the topic.
        back_ms: how far back to begin.

    Attributes:
        found: whether the topic is there. One that is not is looked for at each read.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topic: str,
        clients: Clients | None = None,
        *,
        application: str | None = None,
        back_ms: int = BACK_MS,
    ) -> None:
        self._topic = topic
        self._id = None if application is None else query_id(application)
        self._clients = clients or Clients()
        self._since_ms = self._clients.now_ms() - back_ms
        self.found = False
        settings = {
            "group.id": f"{topic}-reader",  # the client wants one, though it joins none
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": False,
            "auto.offset.reset": "earliest",  # what retention has deleted is nobody's loss
            "allow.auto.create.topics": False,
            "fetch.wait.max.ms": 100,
        }
        self._client: Any = self._clients.consumer({**revealed(config), **settings})

    def read(self, timeout_s: float) -> list[Told]:
        """Return what was told since the last read, in the order of the topic.

        It waits for a first record, and returns nothing where none comes. Records that are
        neither progress nor events, or another application's, are passed over.

        Args:
            timeout_s: how long to wait at most, in seconds.

        Raises:
            BrokerError: if the cluster does not answer, or the topic may not be read.
        """
        try:
            if not self.found and not self._begin(timeout_s):
                return []
            first = self._client.poll(timeout_s)
            if first is None:
                return []
            messages: list[Message] = [first, *self._client.consume(MOST_READ, 0)]
        except KafkaException as error:
            raise self._failed(error.args[0]) from error
        told = [decode(value) for value in self._values(messages)]
        return [each for each in told if each is not None and self._id in (None, each.id)]

    def close(self) -> None:
        """Let go of the client."""
        self._client.close()

    def _begin(self, timeout_s: float) -> bool:
        known = self._client.list_topics(self._topic, REQUEST_S).topics[self._topic]
        if known.error is not None and known.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            self._clients.sleep(min(timeout_s, 1.0))
            return False
        if known.error is not None:
            raise KafkaException(known.error)
        asked = [TopicPartition(self._topic, n, self._since_ms) for n in known.partitions]
        self._client.assign(self._client.offsets_for_times(asked, REQUEST_S))
        self.found = True
        return True

    def _values(self, messages: Sequence[Message]) -> list[bytes]:
        values: list[bytes] = []
        for message in messages:
            problem = message.error()
            if problem is None:
                value = message.value()
                values += [value] if value is not None else []
            elif problem.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                self.found = False  # it may be made again
                with suppress(KafkaException):
                    self._client.unassign()
            elif problem.fatal() or problem.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise self._failed(problem)
        return values

    def _failed(self, problem: KafkaError) -> BrokerError:
        return BrokerError(
            f"Reading the progress topic {self._topic} failed: {problem.str()}. Check the"
            " cluster's health and this user's right to read the topic.",
            topic=self._topic,
        )
