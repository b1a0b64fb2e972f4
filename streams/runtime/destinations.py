"""Where sinks write to: partition counts, the partitioner, and the sizes that topics take."""

from collections.abc import Callable, Mapping, Sequence
from itertools import count

from confluent_kafka import murmur2

from penstock.errors import DataError

MEMO_KEYS = 20_000  # with more of them, looking up is dearer than hashing


class _Memo(dict[bytes | None, int]):
    """The partitions of keys that were asked for: 30 ns instead of 120 ns."""

    def __init__(self, partitions: int) -> None:
        super().__init__()
        self._partitions = partitions

    def __missing__(self, key: bytes) -> int:
        found: int = murmur2(key, self._partitions)
        self[key] = found
        return found


class ClusterDestinations:
    """The topics of a cluster, looked up once each.

    Args:
        partitions: partition counts of the topics that are known.
        max_bytes: the largest record that each topic takes which is known.
        look_up_max: looks it up for another one.
        look_up: looks up the partition counts of all topics again.
    """

    def __init__(
        self,
        partitions: Mapping[str, int],
        max_bytes: Mapping[str, int],
        look_up_max: Callable[[str], int],
        look_up: Callable[[], Mapping[str, int]],
    ) -> None:
        self._partitions = dict(partitions)
        self._look_up_max = look_up_max
        self._look_up = look_up
        self._max_bytes = dict(max_bytes)
        self._memos: dict[str, _Memo] = {}
        self._chunks = count()

    def partitions(self, topic: str, keys: Sequence[bytes | None]) -> list[int]:
        """Choose a partition for each key; null keys of one chunk go to one partition.

        Raises:
            DataError: if there is no such topic.
            BrokerError: if the cluster does not say.
        """
        memo = self._memos.get(topic)
        if memo is None:
            memo = self._memos[topic] = _Memo(self._count(topic))
        partitions = self._count(topic)
        # Only None is missed by murmur2: an empty key has a hash like any other.
        if None in memo or not all(keys):
            memo[None] = next(self._chunks) % partitions
        if len(memo) < MEMO_KEYS:
            return list(map(memo.__getitem__, keys))
        null = memo.get(None, -1)
        return [null if key is None else murmur2(key, partitions) for key in keys]

    def grow(self, partitions: Mapping[str, int]) -> None:
        """Take over the counts of topics that have more partitions; only between batches."""
        self._partitions.update(partitions)
        for topic in partitions:
            self._memos.pop(topic, None)

    def max_message_bytes(self, topic: str) -> int:
        """Return the largest record that the topic takes.

        Raises:
            DataError: if there is no such topic.
            BrokerError: if the cluster does not say.
        """
        limit = self._max_bytes.get(topic)
        if limit is None:
            self._count(topic)
            limit = self._max_bytes[topic] = self._look_up_max(topic)
        return limit

    def _count(self, topic: str) -> int:
        if topic not in self._partitions:
            self._partitions = dict(self._look_up())
        if topic not in self._partitions:
            # Declared ones are verified at the start: a record has named this one.
            raise DataError(
                f"The topic {topic} does not exist. Create it, for example with 4 partitions:"
                f" penstock topics {topic} --create 4",
                topic=topic,
            )
        return self._partitions[topic]
