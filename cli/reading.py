"""Read partitions of topics as a read_committed reader, up to given ends or for ever.

A partition is through once a record or an end-of-partition event at or behind its end was
seen: the event's offset steps over markers of transactions, which no record shows.
"""

import time
from collections.abc import Generator, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from penstock.cli.cluster import CONNECT_TIMEOUT_S, Partition, client_config
from penstock.errors import BrokerError
from penstock.runtime.message import Message

WAIT_S = 0.2
SILENCE_S = 30.0
MOST_RECORDS = 5_000  # that come at once
FOREVER = float("inf")


def read(
    brokers: str, starts: Mapping[Partition, int], ends: Mapping[Partition, float]
) -> Generator[list[Message]]:
    """Read records in the order in which they come, those of a partition in its own order.

    Args:
        brokers: the cluster.
        starts: where to begin.
        ends: where to end; FOREVER follows what comes, and yields nothing now and then.

    Raises:
        BrokerError: if the broker refuses, or is silent for 30 seconds before an end.
    """
    left = {at: end for at, end in ends.items() if starts[at] < end}
    follows = FOREVER in left.values()
    consumer: Any = Consumer(_config(brokers, follows=follows))
    try:
        if left:
            consumer.list_topics(next(iter(left))[0], timeout=CONNECT_TIMEOUT_S)
            consumer.assign([TopicPartition(*at, starts[at]) for at in left])
        heard_s = time.monotonic()
        while left:
            messages = _next(consumer)
            yield [message for message in messages if _wanted(message, left)]
            _strike_out(messages, left, consumer)
            if messages or follows:
                heard_s = time.monotonic()
            elif time.monotonic() - heard_s > SILENCE_S:
                raise _silent(brokers, left)
    except KafkaException as error:
        raise BrokerError(f"Reading failed at {brokers}: {error.args[0].str()}.") from error
    finally:
        consumer.close()


def _config(brokers: str, *, follows: bool) -> dict[str, Any]:
    return {
        **client_config(brokers),
        "group.id": "penstock",  # the client wants one; it joins nothing and commits nothing
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
        "fetch.queue.backoff.ms": 10,
        # At an end, such as one behind a marker, the broker holds the fetch for so long.
        "fetch.wait.max.ms": 100 if follows else 20,
        "reconnect.backoff.max.ms": 1_000,
        "queued.max.messages.kbytes": 65_536,
    }


def _next(consumer: Any) -> list[Message]:
    """Return what comes next, records and ends of partitions."""
    first = consumer.poll(WAIT_S)
    found: list[Any] = [] if first is None else [first, *consumer.consume(MOST_RECORDS - 1, 0)]
    for message in found:
        error = message.error()
        if error is not None and not (_is_end(message) or error.retriable()):
            raise KafkaException(error)
    return found


def _is_end(message: Message) -> bool:
    error = message.error()
    return error is not None and error.code() == KafkaError._PARTITION_EOF


def _wanted(message: Message, left: Mapping[Partition, float]) -> bool:
    at = message.topic(), message.partition()
    return message.error() is None and at in left and message.offset() < left[at]


def _strike_out(messages: list[Message], left: dict[Partition, float], consumer: Any) -> None:
    """Note partitions that are through, and fetch no more of them."""
    for message in messages:
        at = message.topic(), message.partition()
        if at not in left or (message.error() is not None and not _is_end(message)):
            continue
        reached = message.offset() + (message.error() is None)
        if reached >= left[at]:
            del left[at]
            consumer.pause([TopicPartition(*at)])


def _silent(brokers: str, left: Mapping[Partition, float]) -> BrokerError:
    where = ", ".join(f"{topic}/{number}" for topic, number in left)
    return BrokerError(
        f"{brokers} has sent nothing of {where} for {SILENCE_S:g} s, and there is more. Check"
        " that the partitions have leaders, and that this user may read them."
    )
