"""The demo's independent check: count the input again, and compare it record by record.

It shares nothing with the engine: a plain consumer, `json` and a dict. Each user's output has
to be 1, 2, 3 and so on up to the number of views in the input, each number once. A number
that is missing is a lost event, one that stands there again is a doubled one.
"""

import json
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Verdict:
    """What the comparison has found.

    Attributes:
        events: events of the input that count.
        outputs: records that a read_committed reader sees.
        lost: events without their output.
        doubled: outputs that stand there more than once.
        disordered: users whose outputs are not in rising order.
    """

    events: int
    outputs: int
    lost: int
    doubled: int
    disordered: int

    @property
    def exact(self) -> bool:
        """Whether every event was counted exactly once and in order."""
        return not (self.lost or self.doubled or self.disordered) and self.events > 0


def recount(brokers: str, source: str, result: str) -> Verdict:
    """Read both topics from the beginning and compare them."""
    events = Counter(
        json.loads(value)["user"]
        for _, value in read_committed(brokers, source)
        if json.loads(value)["page"] != "/health"
    )
    outputs: dict[str, list[int]] = {}
    for key, value in read_committed(brokers, result):
        outputs.setdefault(key.decode(), []).append(struct.unpack(">q", value)[0])
    return compare(events, outputs)


def compare(events: Mapping[str, int], outputs: Mapping[str, list[int]]) -> Verdict:
    """Compare how often each user was seen with the numbers that were put out for him."""
    lost = doubled = disordered = 0
    for user in events.keys() | outputs.keys():
        numbers, expected = outputs.get(user, []), events.get(user, 0)
        distinct = set(numbers)
        lost += len(set(range(1, expected + 1)) - distinct)
        doubled += len(numbers) - len(distinct & set(range(1, expected + 1)))
        disordered += sorted(distinct) != list(dict.fromkeys(numbers))
    total = sum(map(len, outputs.values()))
    return Verdict(sum(events.values()), total, lost, doubled, disordered)


def read_committed(brokers: str, topic: str) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of all committed records of a topic."""
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "penstock-demo-check",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "enable.metrics.push": False,
        }
    )
    try:
        left = set(consumer.list_topics(topic, _TIMEOUT_S).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, partition, 0) for partition in left])
        while left:
            messages: list[Any] = consumer.consume(10_000, _TIMEOUT_S if len(left) == 0 else 1.0)
            for message in messages:
                problem = message.error()
                if problem is None:
                    yield message.key(), message.value()
                elif problem.code() == KafkaError._PARTITION_EOF:
                    left.discard(message.partition())
                else:
                    raise KafkaException(problem)
    finally:
        consumer.close()
