"""Sink: a chunk encoded for a topic.

The sink encodes, chooses partitions and checks sizes; the records wait in the task until
their chunk has finished, then the runtime produces them in the batch's transaction.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, NamedTuple, Protocol

from penstock.operators.chunk import Chunk, Headers
from penstock.operators.each import EachFailed, each, encode_each
from penstock.operators.operator import Column
from penstock.serde.types import DataType, Serde


class Outgoing(NamedTuple):
    """Encoded records for one topic, as columns.

    Attributes:
        partitions: one for each record.
        headers: None where no record has any.
        store: the store whose changelog this is, None for a sink.
        dead: whether these are dead letters.
    """

    topic: str
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    partitions: Sequence[int]
    timestamps: Sequence[int]
    headers: Sequence[Headers] | None = None
    store: str | None = None
    dead: bool = False


class Destinations(Protocol):
    """What a sink needs to know of the cluster."""

    def partitions(self, topic: str, keys: Sequence[bytes | None]) -> list[int]:
        """Choose a partition for each key, as Kafka's default partitioner."""
        ...

    def max_message_bytes(self, topic: str) -> int:
        """Return the largest record that the topic takes."""
        ...


@dataclass(frozen=True)
class Sink:
    """Write records to a topic, or to the topic that a function names for each value.

    Attributes:
        internal: whether it writes to a repartition topic.
        partitions: how many that topic is to have; None for as many as the inputs have.
    """

    topic: str | Callable[[Any], str]
    key: DataType
    value: DataType
    internal: bool = False
    partitions: int | None = None
    reads: frozenset[Column] = frozenset(("headers",))

    def encode(self, chunk: Chunk, destinations: Destinations) -> list[Outgoing]:
        """Encode a chunk, one block of records per topic.

        Raises:
            EachFailed: if some have no bytes or no topic, or are larger than theirs takes.
        """
        if isinstance(self.topic, str):
            return [self._encode_for(self.topic, chunk, destinations)]
        topics = each(self.topic, chunk.values)
        found: list[Outgoing] = []
        for name in dict.fromkeys(topics):
            mask = [topic == name for topic in topics]
            try:
                found.append(self._encode_for(name, chunk.select(mask), destinations))
            except EachFailed as failed:
                raise failed.moved([at for at, mine in enumerate(mask) if mine]) from None
        return found

    def _encode_for(self, topic: str, chunk: Chunk, destinations: Destinations) -> Outgoing:
        keys = chunk.encoded_keys(self.key.serde)
        values = chunk.encoded_values(self.value.serde)  # type: ignore[arg-type]
        headers = chunk.headers if chunk.headers is not None and any(chunk.headers) else None
        check_size(topic, keys, values, headers, destinations.max_message_bytes(topic))
        partitions = destinations.partitions(topic, self._hashed(chunk, keys))
        return Outgoing(topic, keys, values, partitions, chunk.timestamps, headers)

    def _hashed(self, chunk: Chunk, keys: Sequence[bytes | None]) -> Sequence[bytes | None]:
        """Return what decides over partitions: of a windowed key, the key without its window."""
        serde = inner_of(self.key.serde)
        if serde is None:
            return keys
        inner = [None if key is None else key.key for key in chunk.keys]
        while (within := inner_of(serde)) is not None:
            inner = [None if key is None else key.key for key in inner]
            serde = within
        return encode_each(serde, inner)


def inner_of(serde: Serde[Any] | None) -> Serde[Any] | None:
    """Return the serde of a windowed key without its window; None where it has none."""
    inner: Serde[Any] | None = getattr(serde, "inner", None)
    return inner


# What a batch takes beside its only record (61 bytes), and the record beside its bytes, as the
# broker counts it; and what a header takes beside its own.
_OVERHEAD = 61 + 36
_HEADER_OVERHEAD = 10


def check_size(
    topic: str,
    keys: Sequence[bytes | None],
    values: Sequence[bytes | None],
    headers: Sequence[Headers] | None,
    limit: int,
) -> None:
    """Refuse records that are larger than a topic takes: they would fail the whole commit.

    The longest key, value and headers of a chunk are taken together first, which costs least.

    Raises:
        EachFailed: naming the topic and its limit.
    """
    size = _longest(values) + _longest(keys)
    if headers is not None:
        size += max(map(_headers_size, headers), default=0)
    if size + _OVERHEAD <= limit:
        return
    sizes = list(map(record_size, keys, values, headers or repeat(None)))
    errors: dict[int, Exception] = {
        at: ValueError(
            f"a record of {size} bytes is larger than topic {topic} takes"
            f" (max.message.bytes={limit}): raise the topic's max.message.bytes, or make"
            " the record smaller"
        )
        for at, size in enumerate(sizes)
        if size > limit
    }
    if errors:
        raise EachFailed(errors)


def record_size(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """How much of a topic's max.message.bytes a record takes."""
    return len(key or b"") + len(value or b"") + _headers_size(headers) + _OVERHEAD


def _longest(column: Sequence[bytes | None]) -> int:
    """The length of the longest bytes: 12 ns each where none is null."""
    return max(map(len, column if all(column) else filter(None, column)), default=0)  # type: ignore[arg-type]


def _headers_size(headers: Headers) -> int:
    return sum(
        len(name.encode()) + len(value or b"") + _HEADER_OVERHEAD for name, value in headers or ()
    )
