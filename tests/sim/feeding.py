"""Who writes the inputs of a world: plainly, and in transactions that are committed or aborted."""

import random
from dataclasses import dataclass

from penstock.testing.sim import SimBroker
from penstock.testing.sim.clock import EPOCH_MS
from penstock.testing.sim.log import Row
from penstock.testing.sim.producer import SimProducer
from tests.sim import applications

STEP_MS = 400
STRANGE = 0.05
NEVER_MS, YEAR_9999_MS = -1, 253_402_300_799_000
STRANGE_MS = (NEVER_MS, 0, YEAR_9999_MS)


class Feeder:
    """Write words: plain ones, and in transactions that are committed or aborted."""

    def __init__(self, broker: SimBroker, draw: random.Random, partitions: int) -> None:
        self._draw = draw
        self._partitions = partitions
        self._number = 0
        process = broker.process("feeder")
        self._plain = SimProducer(broker, process, {})
        config = {"transactional.id": "feeder", "transaction.timeout.ms": 600_000}
        self._transactional = SimProducer(broker, process, config)
        self._transactional.init_transactions()
        self._open = False

    def feed(self) -> None:
        kind = self._draw.random()
        if kind < 0.6:
            self.write_some()
        elif not self._open:
            self._transactional.begin_transaction()
            self._open = True
            self._write(self._transactional)
        elif kind < 0.8:
            self._write(self._transactional)
        else:
            self._end(commit=kind < 0.9)

    def write_some(self) -> None:
        """Write a few records outside of transactions."""
        self._write(self._plain)

    def finish(self) -> None:
        """Leave no transaction open."""
        if self._open:
            self._end(commit=self._draw.random() < 0.5)

    def _write(self, producer: SimProducer) -> None:
        for _ in range(self._draw.randint(1, 5)):
            self._number += 1
            partition = self._draw.randrange(self._partitions)
            # A key stays in its partition, as a partitioner would have it.
            key = f"k{partition}-{self._draw.randrange(3)}"
            self.write_one(producer, self._number, key, partition)
        producer.flush()

    def write_one(self, producer: SimProducer, number: int, key: str, partition: int) -> None:
        """Write a record."""
        bad = f"{applications.BAD}-" if number % 13 == 0 else ""
        value = f"{bad}{number}-{self._draw.choice(applications.ENDINGS)}"
        topic = self._draw.choice((applications.WORDS, applications.WORDS, applications.LINES))
        producer.produce(topic, value, key, partition)

    def _end(self, *, commit: bool) -> None:
        self._open = False
        if commit:
            self._transactional.commit_transaction()
        else:
            self._transactional.abort_transaction()


@dataclass(frozen=True)
class Times:
    """The times of events.

    Attributes:
        skew_ms: how far a partition is behind the one before it.
        disorder_ms: how much older than the newest ones events may be.
        strange: times that a few have instead.
    """

    skew_ms: int
    disorder_ms: int
    strange: tuple[int, ...]


class EventFeeder(Feeder):
    """Write events; each partition has a time of its own."""

    def __init__(
        self,
        broker: SimBroker,
        draw: random.Random,
        partitions: int,
        topics: tuple[str, ...],
        times: Times,
    ) -> None:
        super().__init__(broker, draw, partitions)
        self._broker = broker
        self._topics = topics
        self._events = times
        self._times = [EPOCH_MS - number * times.skew_ms for number in range(partitions)]

    def write_one(self, producer: SimProducer, number: int, key: str, partition: int) -> None:
        draw, events = self._draw, self._events
        self._times[partition] += draw.randrange(STEP_MS)
        at = self._times[partition] - (draw.randrange(events.disorder_ms) if number % 3 else 0)
        value = f"{number}-{draw.choice(applications.ENDINGS)}"
        topic = draw.choice(self._topics)
        if events.strange and draw.random() < STRANGE:
            # As other clients write them: to this one 0 means now.
            row = Row(key.encode(), value.encode(), draw.choice(events.strange))
            self._broker.log((topic, partition)).append(row)
        else:
            producer.produce(topic, value, key, partition, timestamp=at)
