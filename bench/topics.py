"""Topics of the benchmark: created, filled with the same bytes for both engines, deleted.

An event is 147 bytes of JSON with 8 fields; users are drawn with a fixed seed, so that every
run of the harness reads the same input. Event times lie in the past: topics keep them for ever
(retention.ms=-1). Records go to partitions by murmur2 of the key, as Java's producers do.
"""

import random
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import count, cycle, repeat

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from bench import RunFailedError

PARTITIONS = 4
SEED = 20_240_229
EVENT_BYTES = 147
FIRST_EVENT_MS = 1_700_000_000_000
PAGES = 1_000
KEY_BYTES = 100  # of the changelog to restore
COUNT = struct.Struct(">q")  # how both engines write the integer they count
PRODUCER = {
    "partitioner": "murmur2_random",
    "enable.idempotence": True,  # a batch that is sent again stays in its place: none is late
    "linger.ms": 20,
    "delivery.report.only.error": True,
    "queue.buffering.max.messages": 500_000,
    "queue.buffering.max.kbytes": 500_000,
}


@dataclass(frozen=True)
class Input:
    """A filled topic, and what the outputs are checked against."""

    topic: str
    records: int
    partitions: int
    converted_cents: int


class Topics:
    def __init__(self, brokers: str) -> None:
        self.brokers = brokers
        self.admin = AdminClient({"bootstrap.servers": brokers, "log_level": 0})
        self._inputs: dict[str, Input] = {}

    def create(self, name: str, partitions: int = PARTITIONS) -> str:
        config = {"retention.ms": "-1"}
        made = self.admin.create_topics([NewTopic(name, partitions, 1, config=config)])
        made[name].result(30)
        return name

    def delete(self, part: str) -> None:
        """Delete every topic with this in its name."""
        if found := [name for name in self.admin.list_topics(timeout=10).topics if part in name]:
            for done in self.admin.delete_topics(found).values():
                done.result(30)

    def input(self, records: int, keys: int, partitions: int = PARTITIONS) -> Input:
        """A topic with so many events, filled unless it is there already."""
        topic = f"bench-events-{keys}-{records}-{partitions}"
        if topic in self._inputs:
            return self._inputs[topic]
        self.create(topic, partitions)
        pages = list(make_pages())
        send(self.brokers, topic, make_events(pages, records, keys))
        rounds, rest = divmod(records, PAGES)
        cents = [converted for _, converted in pages]
        made = Input(topic, records, partitions, rounds * sum(cents) + sum(cents[:rest]))
        return self._inputs.setdefault(topic, made)


def send(
    brokers: str, topic: str, records: Iterable[tuple[str, bytes]], *, in_turn: bool = False
) -> None:
    """Produce records one event-time millisecond apart, and wait until all are acknowledged.

    `in_turn` gives them to the partitions one after the other, whatever their keys.
    """
    partitions = cycle(range(PARTITIONS)) if in_turn else repeat(-1)
    rows = zip(records, count(FIRST_EVENT_MS), partitions, strict=False)
    _send(brokers, topic, ((key, value, at, to) for (key, value), at, to in rows))


def send_at(brokers: str, topic: str, records: Iterable[tuple[str, bytes, int]]) -> None:
    """Produce keys and values at event times, and wait until all are acknowledged."""
    _send(brokers, topic, ((key, value, at, -1) for key, value, at in records))


def _send(brokers: str, topic: str, rows: Iterable[tuple[str, bytes, int, int]]) -> None:
    failed: list[object] = []
    producer = Producer(
        {
            "bootstrap.servers": brokers,
            "on_delivery": lambda error, _: failed.append(error),
            **PRODUCER,
        }
    )
    for key, value, at, partition in rows:
        while True:
            try:
                producer.produce(topic, value, key, partition, timestamp=at)
                break
            except BufferError:
                producer.poll(0.05)
    if producer.flush(60) or failed:
        raise RunFailedError(f"could not fill {topic}: {failed[:1] or 'timeout'}")


def make_pages() -> Iterator[tuple[bytes, int]]:
    """The fields behind the user, from a pool, and the cents after the map's conversion."""
    draw = random.Random(SEED)
    for page in range(PAGES):
        cents = draw.randrange(10_000, 90_000)
        mobile = b"true " if draw.random() < 0.5 else b"false"  # same length: same bytes per record
        fields = (draw.randbytes(8).hex().encode(), page, cents, FIRST_EVENT_MS + page, mobile)
        yield (
            b',"session":"%s","page":"/products/%04d","status":200,"cents":%d,"at":%d,"mobile":%s}'
            % fields,
            cents * 11 // 10,
        )


def make_events(
    pages: list[tuple[bytes, int]], records: int, keys: int
) -> Iterator[tuple[str, bytes]]:
    """Events in a fixed order, with the user as the key."""
    draw = random.Random(SEED + 1).randrange
    for i in range(records):
        user = f"u{draw(keys):05}"
        yield user, b'{"id":"%08d","user":"%s"' % (i, user.encode()) + pages[i % PAGES][0]


def make_changelog(records: int, keys: int) -> Iterator[tuple[str, bytes]]:
    """What counting leaves behind: each key's 1, 2, 3 …, every pass in another random order."""
    draw = random.Random(SEED + 2)
    names = [draw.randbytes(KEY_BYTES // 2).hex() for _ in range(keys)]
    made = 0
    for number in count(1):
        draw.shuffle(names)
        for name in names[: records - made]:
            yield name, COUNT.pack(number)
        made += keys
        if made >= records:
            return


@cache
def first_page() -> bytes:
    return next(make_pages())[0]


def event(i: int, user: str) -> bytes:
    """One event of the same size, for the runs that send their own."""
    return b'{"id":"%08d","user":"%s"' % (i, user.encode()) + first_page()
