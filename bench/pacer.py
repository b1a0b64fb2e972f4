"""The paced producer, a process of its own: python -m bench.pacer.

Sends one event per tick to keys in turn and writes down when: record i has the key
i % KEYS, so the count that comes out for a key says which record it answers. The times
(monotonic seconds, comparable between processes on Linux) go to --times as an array.
"""

import argparse
import time
from array import array
from pathlib import Path

from confluent_kafka import Producer

from bench.topics import event

KEYS = 10_000  # at 1,000 records/s a key comes back after 10 s: no engine can merge two counts


def key(i: int) -> str:
    return f"u{i % KEYS:05}"


def number(key: bytes, count: int) -> int:
    """The record that this count of this key answers."""
    return int(key[1:]) + KEYS * (count - 1)


def run(brokers: str, topic: str, *, rate: int, seconds: float, linger_ms: int) -> "array[float]":
    producer = Producer(
        {"bootstrap.servers": brokers, "partitioner": "murmur2_random", "linger.ms": linger_ms}
    )
    producer.list_topics(topic, timeout=10)
    sent = array("d")
    start = time.monotonic()
    for i in range(int(rate * seconds)):
        if (pause := start + i / rate - time.monotonic()) > 0:
            time.sleep(pause)
        user = key(i)
        sent.append(time.monotonic())
        producer.produce(topic, event(i, user), user)
        producer.poll(0)
    producer.flush(10)
    return sent


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.pacer")
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--rate", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--linger-ms", type=int, default=0)
    parser.add_argument("--times", type=Path)
    options = parser.parse_args()
    sent = run(
        options.brokers,
        options.topic,
        rate=options.rate,
        seconds=options.seconds,
        linger_ms=options.linger_ms,
    )
    if options.times:
        options.times.write_bytes(sent.tobytes())


if __name__ == "__main__":
    main()
