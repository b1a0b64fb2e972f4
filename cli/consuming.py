"""Read a topic from a position on, filtered, to its present end or for ever."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass

from penstock.cli.cluster import Partition, connect, partitions_of
from penstock.cli.positions import Position
from penstock.cli.reading import FOREVER, read
from penstock.runtime.message import Message
from penstock.topics.admin import Admin

LEAST_REACH = 100  # as soon read as one


@dataclass(frozen=True)
class Filter:
    """Which records are wanted.

    Attributes:
        key: whether a key is.
        since_ms: their smallest timestamp.
        until_ms: the first that is too large.
    """

    key: Callable[[bytes | None], bool] | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    def takes(self, message: Message) -> bool:
        """Whether a record is wanted."""
        at_ms = message.timestamp()[1]
        return (
            (self.since_ms is None or at_ms >= self.since_ms)
            and (self.until_ms is None or at_ms < self.until_ms)
            and (self.key is None or self.key(message.key()))
        )


def consume(
    topic: str,
    *,
    brokers: str,
    position: Position,
    wanted: Filter,
    follow: bool = False,
    limit: int | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Generator[list[Message]]:
    """Read what is wanted of a topic.

    Args:
        topic: which.
        brokers: the cluster.
        position: where to begin.
        wanted: which records.
        follow: whether to go on behind the present end.
        limit: how many records at most.
        on_progress: called with how many were looked at.

    Raises:
        BrokerError: if the cluster does not answer, or there is no such topic.
    """
    looked, left = 0, FOREVER if limit is None else limit
    for messages in _all(topic, brokers, position, wanted, follow=follow):
        looked += len(messages)
        found = list(filter(wanted.takes, messages))
        found = found if len(found) <= left else found[: int(left)]
        on_progress(looked)
        if found:
            yield found
        left -= len(found)
        if left <= 0:
            return


def _all(
    topic: str, brokers: str, position: Position, wanted: Filter, *, follow: bool
) -> Generator[list[Message]]:
    admin = connect(brokers)
    partitions = partitions_of(admin, topic, brokers)
    begins, ends = admin.starts(partitions), admin.stable_ends(partitions)
    starts = ends
    if position.kind == "last":
        yield _last(brokers, begins, ends, position.number)
    elif position.kind == "earliest":
        starts = begins
    elif position.kind == "time":
        starts = _at_time(admin, ends, position.number)
    if wanted.since_ms is not None:
        since = _at_time(admin, ends, wanted.since_ms)
        starts = {at: max(start, since[at]) for at, start in starts.items()}
    yield from read(brokers, starts, dict.fromkeys(ends, FOREVER) if follow else ends)


def _at_time(admin: Admin, ends: Mapping[Partition, int], time_ms: int) -> dict[Partition, int]:
    found = admin.at_time(ends, time_ms)
    return {at: found[at] if found[at] >= 0 else end for at, end in ends.items()}


def _last(
    brokers: str, begins: Mapping[Partition, int], ends: Mapping[Partition, int], records: int
) -> list[Message]:
    """Return the last records of all partitions together, by timestamp.

    Markers of transactions take offsets too: where they leave too few, it goes further back.
    """
    found: dict[Partition, list[Message]] = {}
    reach = max(records, LEAST_REACH)
    left = set(ends)
    while left:
        starts = {at: max(begins[at], ends[at] - reach) for at in left}
        tails: dict[Partition, list[Message]] = {at: [] for at in left}
        for messages in read(brokers, starts, {at: ends[at] for at in left}):
            for message in messages:
                tails[message.topic(), message.partition()].append(message)
        found |= {at: tail[-records:] for at, tail in tails.items()}
        left = {at for at in left if len(found[at]) < records and starts[at] > begins[at]}
        reach *= 4
    every = [message for tail in found.values() for message in tail]
    every.sort(key=lambda m: (m.timestamp()[1], m.partition(), m.offset()))
    return every[max(0, len(every) - records) :]
