"""The open sessions of a key as one value, and the timers that say when to look at them again.

A store of sessions has two kinds of keys: that of a key, and that of a time with a key, so that
what has to be looked at by a time stands together.
"""

from typing import Any, NamedTuple

import msgspec

from penstock.serde.timers import rest_of, time_of
from penstock.serde.types import Serde, format_of, is_immutable
from penstock.windows import Windowed

TIMER, KEY = b"\x00", b"\x01"


class Session(NamedTuple):
    """A session of a key.

    Attributes:
        start: the event time of its first record, in milliseconds.
        end: that of its last one.
        value: what has been aggregated.
    """

    start: int
    end: int
    value: Any


class SessionsSerde:
    """The sessions of a key, in the order of their starts; none for a timer."""

    def __init__(self, value: Serde[Any]) -> None:
        self._value = value
        self.immutable = is_immutable(value)
        self.format = f"sessions {format_of(value)}"

    def encode(self, value: tuple[Session, ...], /) -> bytes:
        """Return the bytes of sessions."""
        encode = self._value.encode
        return _pack([(of.start, of.end, encode(of.value)) for of in value])

    def decode(self, data: bytes, /) -> tuple[Session, ...]:
        """Return the sessions of bytes."""
        decode = self._value.decode
        return tuple([Session(start, end, decode(held)) for start, end, held in _unpack(data)])

    def windows(self, key: Any, value: tuple[Session, ...]) -> list[tuple[Windowed[Any], Any, int]]:
        """Return the sessions of a key, each with its result and that one's time."""
        return [(Windowed(key, of.start, of.end), of.value, of.end) for of in value]


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[tuple[int, int, bytes]]).decode


class SessionKeySerde:
    """The keys of a store of sessions; those of its timers are (time, key)."""

    immutable = True
    canonical = True

    def __init__(self, key: Serde[Any], described: str) -> None:
        self.key = key
        self.format = f"{described} {format_of(key)}"

    def encode(self, value: Windowed[Any], /) -> bytes:
        """Return the bytes under which a windowed key is kept: those of the key."""
        return KEY + self.key.encode(value.key)

    def decode(self, data: bytes, /) -> Any:
        """Return the key of bytes, or the time and the key of a timer's."""
        if data[:1] == KEY:
            return self.key.decode(data[1:])
        return time_of(data), self.key.decode(rest_of(data))
