"""A record as user functions see it, where they ask for more than its value."""

from collections.abc import Sequence
from typing import Generic

from typing_extensions import TypeVar

K_co = TypeVar("K_co", covariant=True)
V_co = TypeVar("V_co", covariant=True)


class Record(Generic[K_co, V_co]):
    """One record with its key, value, event timestamp, coordinates and headers.

    Attributes:
        timestamp: event time in milliseconds since the epoch, UTC.
        topic: the topic that it was read from.
        partition: the partition of that topic.
        offset: its offset there, -1 behind an aggregation.
        headers: pairs of name and bytes, in the order of the record.
        arrival: the timestamp that it has in that topic, which is the event time too where
            none is taken from the value; -1 behind an aggregation.
    """

    __slots__ = (
        "_key",
        "_value",
        "arrival",
        "headers",
        "offset",
        "partition",
        "timestamp",
        "topic",
    )

    def __init__(
        self,
        key: K_co,
        value: V_co,
        timestamp: int,
        topic: str,
        partition: int,
        offset: int,
        headers: Sequence[tuple[str, bytes | None]],
        arrival: int = -1,
    ) -> None:
        self._key = key
        self._value = value
        self.timestamp = timestamp
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.headers = headers
        self.arrival = arrival

    @property
    def key(self) -> K_co:
        """The key, None where the record has none."""
        return self._key

    @property
    def value(self) -> V_co:
        """The value."""
        return self._value

    def __repr__(self) -> str:
        at = f"{self.topic}/{self.partition}@{self.offset}"
        return f"Record({at}, key={self._key!r}, value={self._value!r})"
