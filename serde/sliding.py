"""The sliding windows of a key as one value. The keys of their store are those of sessions."""

from typing import Any, NamedTuple

import msgspec

from penstock.serde.types import Serde, format_of, is_immutable
from penstock.windows import Windowed

_Packed = tuple[int, int, bytes | None]


class Piece(NamedTuple):
    """What is in a window, and in every other one that begins before the next piece.

    Attributes:
        start: where the window begins, in milliseconds since the epoch.
        latest: the event time of its last record, -1 where there is none.
        value: what has been aggregated of its records, None where there is none.
    """

    start: int
    latest: int
    value: Any


class Sliding(NamedTuple):
    """The sliding windows of a key.

    Attributes:
        base: what is in windows that begin before the first open one. It is no result any more,
            but records of it may be in a window that is yet to come.
        windows: the others, in the order of their starts.
    """

    base: Piece | None
    windows: tuple[Piece, ...]


NONE = Sliding(None, ())


class SlidingSerde:
    """The sliding windows of a key as msgpack; none for a timer.

    Args:
        value: serde of the results.
        size_ms: how long the windows are.
    """

    def __init__(self, value: Serde[Any], size_ms: int) -> None:
        self._value = value
        self._size_ms = size_ms
        self.immutable = is_immutable(value)
        self.format = f"sliding {format_of(value)}"

    def encode(self, value: Sliding, /) -> bytes:
        """Return the bytes of sliding windows."""
        base = None if value.base is None else self._packed(value.base)
        return _pack((base, [self._packed(piece) for piece in value.windows]))

    def decode(self, data: bytes, /) -> Sliding:
        """Return the sliding windows of bytes."""
        base, windows = _unpack(data)
        return Sliding(
            None if base is None else self._piece(*base),
            tuple([self._piece(*piece) for piece in windows]),
        )

    def windows(self, key: Any, value: Sliding) -> list[tuple[Windowed[Any], Any, int]]:
        """Return the windows of a key that hold anything, each with its result and its time."""
        size_ms = self._size_ms
        return [
            (Windowed(key, of.start, of.start + size_ms), of.value, of.latest)
            for of in value.windows
            if of.value is not None
        ]

    def _packed(self, piece: Piece) -> _Packed:
        value = piece.value
        return piece.start, piece.latest, None if value is None else self._value.encode(value)

    def _piece(self, start: int, latest: int, data: bytes | None) -> Piece:
        return Piece(start, latest, None if data is None else self._value.decode(data))


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[_Packed | None, list[_Packed]]).decode
