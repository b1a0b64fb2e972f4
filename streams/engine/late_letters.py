"""Late letters: records that came too late, as they were read, and what they have missed.

A record has one letter for each store that it was too late for, whatever it had become by then.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from penstock.operators.chunk import Headers
from penstock.operators.late import Missed, by_record
from penstock.operators.sink import Destinations, Outgoing, record_size
from penstock.operators.source import Fetched
from penstock.topology.event_time import late_topic
from penstock.topology.node import Node

PREFIX = "__penstock.late."


class Late(NamedTuple):
    """What the records of one input have missed.

    Attributes:
        store: the store of the step that they were too late for.
        topic: where they go.
        missed: the windows.
    """

    store: str
    topic: str
    missed: Sequence[Missed]


class LateRecords:
    """The late records of a task whose windows send theirs to a topic.

    Args:
        opened: the steps at work, by step.
    """

    def __init__(self, opened: Mapping[Node, Any]) -> None:
        self._steps = [
            (node.stores[0].name, topic, step)
            for node, step in opened.items()
            if (topic := late_topic(node))
        ]

    def letters(self, fetched: Fetched, destinations: Destinations) -> Iterator[Outgoing]:
        """Yield letters of the records that were late since the last call.

        Args:
            fetched: the records, those that came in time among them.
            destinations: partitions and limits of topics.
        """
        for store, topic, step in self._steps:
            if step.missed:
                yield late_letters(Late(store, topic, step.missed), fetched, destinations)
                step.missed = []

    def forget(self) -> None:
        """Forget the late records since the last call: they are undone."""
        for _, _, step in self._steps:
            step.missed = []


def late_letters(late: Late, fetched: Fetched, destinations: Destinations) -> Outgoing:
    """Return the letters of late records, in the order of their offsets."""
    limit = destinations.max_message_bytes(late.topic)
    found = list(_letters(late, fetched, limit))
    keys = [key for key, _, _, _ in found]
    return Outgoing(
        late.topic,
        keys,
        [value for _, value, _, _ in found],
        destinations.partitions(late.topic, keys),
        [timestamp for _, _, timestamp, _ in found],
        [headers for _, _, _, headers in found],
    )


def _letters(
    late: Late, fetched: Fetched, limit: int
) -> Iterator[tuple[bytes | None, bytes | None, int, Headers]]:
    for offset, missed in sorted(by_record(late.missed).items()):
        at = bisect_left(fetched.offsets, offset)
        key, value, own = fetched.keys[at], fetched.values[at], fetched.timestamps[at]
        headers = [of for of in fetched.headers_at(at) or [] if not of[0].startswith(PREFIX)]
        yield _fitting(key, value, own, headers, _told(late.store, missed, fetched), limit)


def _fitting(
    key: bytes | None,
    value: bytes | None,
    timestamp: int,
    headers: list[tuple[str, bytes | None]],
    told: list[tuple[str, bytes | None]],
    limit: int,
) -> tuple[bytes | None, bytes | None, int, Headers]:
    """Return as much of a record as its topic has room for; what is omitted is told."""
    if record_size(key, value, [*headers, *told]) <= limit:
        return key, value, timestamp, [*headers, *told]
    if record_size(key, None, [_omitted("value"), *headers, *told]) <= limit:
        return key, None, timestamp, [_omitted("value"), *headers, *told]
    return None, None, timestamp, [_omitted("key, value, headers"), *told]


def _told(store: str, missed: Sequence[Missed], fetched: Fetched) -> list[tuple[str, bytes | None]]:
    told = {
        "store": store,
        "window.start": ",".join(str(of.start) for of in missed),
        "window.end": ",".join(str(of.end) for of in missed),
        "stream_time": missed[0].clock,
        "topic": fetched.topic,
        "partition": fetched.partition,
        "offset": missed[0].offset,
        "timestamp": missed[0].timestamp,
    }
    return [(PREFIX + name, str(value).encode()) for name, value in told.items()]


def _omitted(parts: str) -> tuple[str, bytes | None]:
    return PREFIX + "omitted", parts.encode()
