"""A message as a consumer gets it from the broker.

The client's own type serves producers too, and says None for the topic, the partition and
the offset of a message that has none yet.
"""

from typing import Protocol

from confluent_kafka import KafkaError

from penstock.operators.chunk import Headers


class Message(Protocol):
    """A record, or an event in its place: then `error()` says which."""

    def topic(self) -> str:
        """Return the topic."""
        ...

    def partition(self) -> int:
        """Return the partition."""
        ...

    def offset(self) -> int:
        """Return the offset."""
        ...

    def key(self) -> bytes | None:
        """Return the key, None for a null."""
        ...

    def value(self) -> bytes | None:
        """Return the value, None for a null."""
        ...

    def timestamp(self) -> tuple[int, int]:
        """Return the kind of timestamp and its milliseconds."""
        ...

    def headers(self) -> Headers:
        """Return the headers, None for none."""
        ...

    def error(self) -> KafkaError | None:
        """Return what happened instead of a record."""
        ...
