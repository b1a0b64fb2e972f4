"""The keys of what a deduplication has let through: a span of time, a record's key, what it is by.

A store of them is in the order of time, so that what is forgotten together stands together. Values
are told apart by their MessagePack with sorted fields: text is not bytes there, and 1 is not 1.0.
"""

import struct
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from penstock.serde.types import Serde, format_of

_SPAN = struct.Struct(">Q")
_ZERO = 2**63  # so that spans before 1970 come first

Identify = Callable[[tuple[bytes, Any]], bytes]


class SeenKeySerde:
    """A span of time with the identity of a record; what is told by it is (span, key, values).

    Args:
        key: serde of the records' keys.
        described: what else decides over the meaning of the store, as text.
    """

    immutable = True
    canonical = True
    known = True  # a store need not decode what it is asked for

    def __init__(self, key: Serde[Any], described: str) -> None:
        self._key = key
        self.format = f"{described} {format_of(key)}"

    def encode(self, value: tuple[int, Any, tuple[Any, ...]], /) -> bytes:
        """Return the bytes of a span, a key and values."""
        span, key, values = value
        return pack_span(span) + _encode((self._key.encode(key), *values))

    def decode(self, data: bytes, /) -> tuple[int, Any, tuple[Any, ...]]:
        """Return the span, the key and the values of bytes."""
        key, *values = _decode(data[_SPAN.size :])
        return unpack_span(data), self._key.decode(key), tuple(values)


def pack_span(span: int) -> bytes:
    """Return a span of time as the first bytes of a key, in the order of time."""
    return _SPAN.pack(span + _ZERO)


def unpack_span(data: bytes) -> int:
    """Return the span of time of a key."""
    span: int = _SPAN.unpack_from(data)[0]
    return span - _ZERO


def identify(by: Sequence[Callable[[Any], Any]]) -> Identify:
    """Return what makes bytes of a record's (key, value): equal bytes, equal records.

    Args:
        by: what of the value decides; nothing for all of it.
    """
    if not by:
        return _encode
    if len(by) == 1:
        get = by[0]
        return lambda record: _encode((record[0], get(record[1])))
    return lambda record: _encode((record[0], *[get(record[1]) for get in by]))


_encode = msgspec.msgpack.Encoder(order="sorted").encode
_decode = msgspec.msgpack.Decoder(list[Any]).decode
