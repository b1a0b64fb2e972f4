"""Send dead letters back to the topics that they came from, once each.

Rule 1. A transaction sends records and commits the offsets behind their dead letters, of the
        group `<topic>-redrive`: whatever is killed, each is sent once.
Rule 2. The producer's identity is the topic's. A redrive that begins ends what a killed one has
        open, puts one out that still runs, and looks up the offsets after that.
Rule 3. Nothing is retried here. Where the outcome of a transaction is not known, the next
        redrive finds it in the offsets.
Rule 4. What has come since the start is left to the next one: a record that fails again is a
        dead letter again.
Rule 5. Whoever can write dead letters says where they come from. None is sent to a topic that no
        application reads.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any

from confluent_kafka import murmur2

from penstock.cli.cluster import CONNECT_TIMEOUT_S, client_config, did_you_mean
from penstock.cli.internal_topics import CHANGELOG, WORKERS, owner
from penstock.cli.letters import DeadLetterTopic, Letter
from penstock.errors import BrokerError, TopologyError
from penstock.operators.sink import Outgoing
from penstock.runtime.clients import Clients
from penstock.runtime.faults import Abortable, Unknown
from penstock.runtime.preparation import max_message_bytes
from penstock.runtime.producer import TransactionalProducer

TRANSACTION_RECORDS = 1_000
TRANSACTION_TIMEOUT_MS = 60_000
BATCH_BYTES = 900_000
INCOMPLETE, FOREIGN = "without their payload", "without the headers of a dead letter"
MISDIRECTED = "that name a topic of Kafka's or of an application's state as their origin"


@dataclass
class Plan:
    """What a redrive has to do, or has done.

    Attributes:
        sent: dead letters by the topic that they go to.
        left: those that stay where they are, by the reason.
    """

    sent: Counter[str] = field(default_factory=Counter[str])
    left: Counter[str] = field(default_factory=Counter[str])


class Redrive:
    """One run over a dead-letter topic.

    Args:
        topic: where the dead letters are.
        to: where they go to; None for the topic that each came from.

    Raises:
        TopologyError: if they would go to where they are.
    """

    def __init__(self, topic: DeadLetterTopic, to: str | None = None) -> None:
        if to == topic.name:
            raise TopologyError(
                f"{to} is where the dead letters are: they would come again and again. Name"
                " another topic, or leave --to out."
            )
        self._topic = topic
        self._to = to
        self._counts = topic.admin.topics()
        self._groups = topic.admin.groups()
        self._turns = count()
        self.starts = topic.redriven()

    def size(self) -> int:
        """Return at most how many there are to send."""
        return self._topic.size(self.starts)

    def plan(self, on_progress: Callable[[int], None] = lambda _: None) -> Plan:
        """Read all that waits, and send nothing.

        Raises:
            BrokerError: if a topic that dead letters came from does not exist.
        """
        plan = Plan()
        for letter in self._topic.letters(self.starts, on_progress):
            self._note(letter, plan)
        for topic, letters in plan.sent.items():
            if topic not in self._counts:
                raise BrokerError(
                    f"Topic {topic} does not exist on {self._topic.brokers}, and {letters:,} dead"
                    f" letters go there.{did_you_mean(topic, self._counts)} Create it, or name"
                    " another one with --to.",
                    topic=topic,
                )
        return plan

    def run(self, plan: Plan, on_progress: Callable[[int], None] = lambda _: None) -> Plan:
        """Send what waits, and return what was sent.

        Raises:
            BrokerError: if the cluster takes it not; the next run goes on behind what is sent.
        """
        done = Plan()
        if not (plan.sent or plan.left):
            return done
        producer, consumer = self._producer(plan), self._topic.client()
        try:
            producer.init(int(CONNECT_TIMEOUT_S * 1000))
            self.starts = self._topic.passed(consumer)  # nobody else moves them from here on
            letters = self._topic.letters(self.starts, on_progress)
            while batch := list(islice(letters, TRANSACTION_RECORDS)):
                self._transact(batch, producer, consumer)
                for letter in batch:
                    self._note(letter, done)
        except (Abortable, Unknown) as fault:
            with suppress(Abortable, Unknown):
                producer.abort()
            raise BrokerError(
                f"The redrive of {self._topic.name} has stopped after {done.sent.total():,}"
                f" records: {fault}. Run it again: it goes on behind what is sent, and sends"
                " nothing twice.",
                topic=self._topic.name,
            ) from fault
        finally:
            producer.close()
            consumer.close()
        return done

    def _note(self, letter: Letter, plan: Plan) -> None:
        why = self._obstacle(letter)
        if why is None:
            plan.sent[self._destination(letter)] += 1
        else:
            plan.left[why] += 1

    def _obstacle(self, letter: Letter) -> str | None:
        """Say why a dead letter cannot be sent, None if it can."""
        if not letter.genuine:
            return FOREIGN
        if not letter.complete:
            return INCOMPLETE
        return MISDIRECTED if self._to is None and self._is_private(letter.told["topic"]) else None

    def _is_private(self, topic: str) -> bool:
        name, kind = owner(topic, self._groups)
        is_state = name is not None and kind in (CHANGELOG, WORKERS)
        return topic.startswith("__") or topic == self._topic.name or is_state

    def _destination(self, letter: Letter) -> str:
        return self._to or letter.told["topic"]

    def _transact(
        self, batch: Iterable[Letter], producer: TransactionalProducer, consumer: Any
    ) -> None:
        behind = {(self._topic.name, letter.partition): (letter.offset + 1, "") for letter in batch}
        producer.begin()
        for out in self._outgoing(batch):
            producer.produce(out)
        producer.flush()
        producer.send_offsets(behind, consumer)
        producer.commit()

    def _outgoing(self, batch: Iterable[Letter]) -> Iterator[Outgoing]:
        """Make the records that were dead letters, by topic."""
        by_topic: dict[str, list[Letter]] = {}
        for letter in batch:
            if self._obstacle(letter) is None:
                by_topic.setdefault(self._destination(letter), []).append(letter)
        for topic, letters in by_topic.items():
            yield Outgoing(
                topic,
                [letter.key for letter in letters],
                [letter.value for letter in letters],
                [self._partition(topic, letter) for letter in letters],
                [letter.timestamp for letter in letters],
                [letter.headers for letter in letters],
            )

    def _partition(self, topic: str, letter: Letter) -> int:
        """Return the partition that a record came from; elsewhere the one of its key."""
        told = letter.told.get("partition", "")
        partitions = self._counts[topic]
        if self._to is None and told.isdecimal() and int(told) < partitions:
            return int(told)
        return (
            next(self._turns) % partitions
            if letter.key is None
            else murmur2(letter.key, partitions)
        )

    def _producer(self, plan: Plan) -> TransactionalProducer:
        # The broker holds a topic's limit against batches too.
        limits = [max_message_bytes(self._topic.admin, topic) for topic in plan.sent]
        config = {
            **client_config(self._topic.brokers),
            "enable.idempotence": True,
            "transactional.id": self._topic.group,
            "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
            "batch.size": min([BATCH_BYTES, *limits]),
            "message.max.bytes": 1_000_000_000,  # the client's largest: the broker decides
            "linger.ms": 5,
            "retry.backoff.ms": 1,
            "retry.backoff.max.ms": 50,
        }
        return TransactionalProducer(
            config,
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            request_timeout_ms=int(CONNECT_TIMEOUT_S * 1000),
            clients=Clients(),
        )
