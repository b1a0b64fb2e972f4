"""The store of a processor's timers: what stands in it, as keys and values.

    1 event | 2 wall   time, key, name   ->  nothing         the order in which they fire
    3                  key, name         ->  at, filed, clock    each timer, once
    4                  time, state, key  ->  nothing         state that may have expired by then

A timer that is set for later stays filed under its old time: it is looked at then, and filed
again. So a timer that every record moves on costs one entry, not three.
"""

import struct
from typing import Any, Literal, TypeAlias

from penstock.serde.types import Serde, format_of

Clock: TypeAlias = Literal["event", "wall"]

ORDER: dict[Clock, bytes] = {"event": b"\x01", "wall": b"\x02"}
NAMED, EXPIRES = b"\x03", b"\x04"
LAST_TIME = 2**62
_TIME = struct.Struct(">q")
_SIZE = struct.Struct(">I")
_FILED = struct.Struct(">qq?")


# A timer: when it fires, what it is filed under, never later than that, and by which clock.
Filed: TypeAlias = tuple[int, int, Clock]


class FiledSerde:
    """What the keys of the store hold; those that say nothing by themselves hold None of it."""

    immutable = True
    format = "timer"

    def encode(self, value: Filed | tuple[()], /) -> bytes:
        """Return the bytes of a timer."""
        return _FILED.pack(value[0], value[1], value[2] == "wall") if value else b"\0"

    def decode(self, data: bytes, /) -> Filed | tuple[()]:
        """Return the timer of bytes."""
        if len(data) == 1:
            return ()
        at, under, wall = _FILED.unpack(data)
        return at, under, "wall" if wall else "event"


class Packed:
    """Bytes that stand for something else, which is decoded where it is asked for.

    Args:
        format: what they are, part of a store's definition.
    """

    immutable = True
    canonical = True

    def __init__(self, format: str) -> None:
        self.format = format

    def encode(self, value: bytes, /) -> bytes:
        """Return the bytes."""
        return value

    def decode(self, data: bytes, /) -> bytes:
        """Return the bytes."""
        return data

    def encode_all(self, values: list[bytes]) -> list[bytes]:
        """Return the column."""
        return list(values)

    def decode_all(self, column: list[bytes]) -> list[bytes]:
        """Return the column."""
        return list(column)


def packed(serde: Serde[Any], kind: str = "") -> Packed:
    """Make the serde of bytes that another one has made, or will read."""
    return Packed(f"{kind} {format_of(serde)}".lstrip())


def sized(data: bytes) -> bytes:
    """Put the length in front: no such bytes begin others."""
    return _SIZE.pack(len(data)) + data


def split(data: bytes) -> tuple[bytes, bytes]:
    """Return what was `sized`, and what stands behind it."""
    stop = _SIZE.size + _SIZE.unpack_from(data)[0]
    return data[_SIZE.size : stop], data[stop:]


def timed(prefix: bytes, time: int, rest: bytes) -> bytes:
    """Return a key that is sorted by time."""
    return prefix + _TIME.pack(time) + rest


def time_of(data: bytes) -> int:
    """Return the time of such a key."""
    time: int = _TIME.unpack_from(data, 1)[0]
    return time


def rest_of(data: bytes) -> bytes:
    """Return what stands behind the time of such a key."""
    return data[9:]
