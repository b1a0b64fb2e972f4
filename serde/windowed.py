"""Windowed keys as bytes: in stores by time, in topics as JSON, or as Kafka Streams writes them."""

import struct
from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.serde.columns import decode_column
from penstock.serde.types import DataType, Serde, format_of
from penstock.windows import Windowed

_START = struct.Struct(">q")


class StoredWindowSerde:
    """The start before the key, so that a store is in the order of time.

    Args:
        key: serde of the keys.
        size_ms: how long the windows are.
        described: the windows as text, part of the store's definition.
    """

    immutable = True
    canonical = True

    def __init__(self, key: Serde[Any], size_ms: int, described: str) -> None:
        self._key = key
        self._size_ms = size_ms
        self.format = f"{described} {format_of(key)}"

    def encode(self, value: Windowed[Any], /) -> bytes:
        """Return the bytes of a windowed key."""
        return _START.pack(value.start) + self._key.encode(value.key)

    def decode(self, data: bytes, /) -> Windowed[Any]:
        """Return the windowed key of bytes."""
        start: int = _START.unpack_from(data)[0]
        return Windowed(self._key.decode(data[8:]), start, start + self._size_ms)

    def decode_all(self, column: Sequence[bytes]) -> list[Windowed[Any]]:
        """Decode a column: 0.3 us per key instead of 0.8."""
        size_ms = self._size_ms
        keys = decode_column(self._key, [data[8:] for data in column])
        starts = [start for (start,) in map(_START.unpack_from, column)]
        return [
            Windowed(key, start, start + size_ms) for key, start in zip(keys, starts, strict=True)
        ]


class JsonWindowSerde:
    """`{"key": ..., "start": ms, "end": ms}`.

    Args:
        key: the declared type of the keys, and their serde.

    Attributes:
        inner: serde of the keys without their window; it decides over partitions.
    """

    immutable = True
    canonical = True
    format = "json-windowed"
    type = Windowed

    def __init__(self, key: DataType) -> None:
        self._type = key.type
        self.inner = key.serde
        of: Any = Any if key.type is None else key.type
        self._decoder = msgspec.json.Decoder(Windowed[of])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JsonWindowSerde) and other._type == self._type

    def __hash__(self) -> int:
        return hash(repr(self._type))

    def encode(self, value: Windowed[Any], /) -> bytes:
        """Return the bytes of a windowed key."""
        return _encode(value)

    def decode(self, data: bytes, /) -> Windowed[Any]:
        """Return the windowed key of bytes."""
        return self._decoder.decode(data)


_encode = msgspec.json.Encoder(order="deterministic").encode
