"""State of a processor at work in a task: read from and written to the overlay of its store.

Rule 1: nothing that can be changed in place is shared: it is encoded where it is set, and decoded
        where it is asked for. What cannot be changed is kept as it is.
Rule 2: all of it is of the key that the processor is called for: the `Moment` says which.
Rule 3: the elements of a list are numbered from 0 on. A map has its entries by their keys, and
        their keys by number too: so that a batch can go through them before they are sorted.
        Where one is deleted, the last one takes its number.
"""

import struct
from collections.abc import Callable, Iterator
from typing import Any

from penstock.operators.expiry import Expiry
from penstock.operators.moment import Moment, outside
from penstock.operators.states import ListState, MapState, State, ValueState
from penstock.serde.primitives import BYTES
from penstock.serde.timers import sized, split
from penstock.serde.types import Serde, is_immutable
from penstock.state.overlay import Entry, Overlay

_NUMBER = struct.Struct(">q")
_KEY, _PLACE = b"\x01", b"\x02"


def bind(name: str, state: State, moment: Moment, overlay: Overlay, expiry: Expiry | None) -> State:
    """Bind declared state to the store of a task.

    Args:
        name: of the state, without that of the process.
        state: as declared.
        moment: says which key it is of.
        overlay: its store.
        expiry: deletes what has expired; None where nothing of the process does.
    """
    cell = Cell(name, state, moment, overlay, expiry)
    bound: BoundValue | BoundList | BoundMap
    if isinstance(state, MapState):
        bound = BoundMap(cell, state.key.serde or BYTES)
    else:
        bound = BoundList(cell) if isinstance(state, ListState) else BoundValue(cell)
    if expiry is not None and state.ttl_ms:
        expiry.add(name, bound.expire)
    return bound


class Cell:
    """One store with what its entries need: times, and whether they have expired."""

    def __init__(
        self, name: str, state: State, moment: Moment, overlay: Overlay, expiry: Expiry | None
    ) -> None:
        self.name = name
        self.declared = state
        self.moment = moment
        self.overlay = overlay
        self.ttl_ms = state.ttl_ms
        self._expiry = expiry
        self.encode: Callable[[Any], bytes] = state.serde.encode
        self.decode: Callable[[bytes], Any] = state.serde.decode

    def raw(self) -> bytes:
        """Return the key that the processor is called for."""
        raw: bytes | None = self.moment.raw
        if raw is None:
            raise outside(self.declared.shown)
        return raw

    def get(self, key: bytes) -> Any:
        """Return what is there and has not expired."""
        entry = self.overlay.get(key)
        if entry is None:
            return None
        if self.ttl_ms and entry[1] + self.ttl_ms <= self.moment.stream_time:
            return None
        return entry[0]

    def put(self, key: bytes, value: Any) -> None:
        """Write an entry; None deletes it."""
        self.overlay.put({key: (value, self.moment.written)})

    def put_expiring(self, key: bytes, value: Any) -> None:
        """Write an entry that expires by itself."""
        now = self.moment.written
        if self.ttl_ms and self._expiry is not None:
            entry = self.overlay.get(key)
            before = None if entry is None or entry[0] is None else entry[1]
            self._expiry.written(self.name, key, before, now)
        self.overlay.put({key: (value, now)})

    def expired(self, key: bytes, clock: int) -> Entry | int | None:
        """Return an entry that has expired, or when it was written, None where there is none."""
        entry = self.overlay.get(key)
        if entry is None or entry[0] is None:
            return None
        return entry if entry[1] + self.ttl_ms <= clock else entry[1]


class BoundValue(ValueState[Any]):
    """A value in its store, under its key."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._moment = cell.moment
        self._get, self._put = cell.overlay.get, cell.overlay.put
        self._encode, self._decode = cell.encode, cell.decode
        self._plain = is_immutable(cell.declared.serde)
        self._type = cell.declared.value.type
        self._ttl_ms = cell.ttl_ms

    def get(self) -> Any:
        """Return the value: 0.2 us where it is in memory."""
        raw: bytes | None = self._moment.raw
        if raw is None:
            raise outside(self._cell.declared.shown)
        entry = self._get(raw)
        if entry is None:
            return None
        value, at = entry
        if value is None or (self._ttl_ms and at + self._ttl_ms <= self._moment.stream_time):
            return None
        return value if self._plain else self._decode(value)

    def set(self, value: Any) -> None:
        """Keep a value: 0.8 us."""
        raw: bytes | None = self._moment.raw
        if raw is None:
            raise outside(self._cell.declared.shown)
        if value is not None:
            encoded = self._encode(value)
            if not self._plain:
                value = encoded
            elif type(value) is not self._type:
                value = self._decode(encoded)  # as it would be after a restart
        if self._ttl_ms and value is not None:
            self._cell.put_expiring(raw, value)
        else:
            self._put({raw: (value, self._moment.written)})

    def clear(self) -> None:
        """Forget the value."""
        if self._get(self._cell.raw()) is not None:
            self.set(None)

    def expire(self, key: bytes, clock: int) -> int | None:
        """Delete a value if it has expired; else return when it was written."""
        found = self._cell.expired(key, clock)
        if isinstance(found, tuple):
            self._put({key: (None, found[1])})
            return None
        return found


class BoundList(ListState[Any]):
    """A list: how many there are under the key, each under the key and its number."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    def append(self, value: Any) -> None:
        """Put an element at the end."""
        cell, key = self._cell, sized(self._cell.raw())
        data = cell.encode(value)
        count = self._count(key)
        if count == 0:
            self._delete(key)  # there may be an expired one
        cell.put(key + _NUMBER.pack(count), data)
        cell.put_expiring(key, _NUMBER.pack(count + 1))

    def __iter__(self) -> Iterator[Any]:
        key = sized(self._cell.raw())
        count = self._count(key)
        found = self._cell.overlay.touch([key + _NUMBER.pack(n) for n in range(count)])
        return iter([self._cell.decode(entry[0]) for entry in found if entry is not None])

    def __len__(self) -> int:
        return self._count(sized(self._cell.raw()))

    def clear(self) -> None:
        """Forget all elements."""
        self._delete(sized(self._cell.raw()))

    def expire(self, key: bytes, clock: int) -> int | None:
        """Delete a list if it has expired; else return when it was appended to."""
        found = self._cell.expired(key, clock)
        if isinstance(found, tuple):
            self._delete(key, found[1])
            return None
        return found

    def _count(self, key: bytes) -> int:
        data = self._cell.get(key)
        return 0 if data is None else _number(data)

    def _delete(self, key: bytes, at: int | None = None) -> None:
        overlay = self._cell.overlay
        entry = overlay.get(key)
        if entry is None or entry[0] is None:
            return
        gone: Entry = (None, self._cell.moment.written if at is None else at)
        changed: dict[bytes, Entry] = {key: gone}
        changed.update({key + _NUMBER.pack(n): gone for n in range(_number(entry[0]))})
        overlay.put(changed)


class BoundMap(MapState[Any, Any]):
    """A map: how many there are under the key, each by the map's key and by its number."""

    def __init__(self, cell: Cell, serde: Serde[Any]) -> None:
        self._cell = cell
        self._encode_key, self._decode_key = serde.encode, serde.decode

    def get(self, key: Any) -> Any:
        """Return what a key has."""
        data = self._cell.get(self._entry(key))
        return None if data is None else self._cell.decode(data[8:])

    def set(self, key: Any, value: Any) -> None:
        """Set what a key has."""
        cell = self._cell
        if value is None:
            self.delete(key)
            return
        at, data = self._entry(key), cell.encode(value)
        entry = cell.overlay.get(at)
        if entry is not None and entry[0] is not None:
            place = entry[0][:8]
        else:
            prefix, own = _parts(at)
            count = self._count(prefix)
            place = _NUMBER.pack(count)
            cell.put(prefix + _PLACE + place, own)
            cell.put(prefix, _NUMBER.pack(count + 1))
        cell.put_expiring(at, place + data)

    def delete(self, key: Any) -> None:
        """Delete an entry."""
        self._remove(self._entry(key))

    def items(self) -> list[tuple[Any, Any]]:
        """Return all entries."""
        return [
            (self._decode_key(own), self._cell.decode(data[8:])) for own, data in self._entries()
        ]

    def keys(self) -> list[Any]:
        """Return all keys."""
        return [self._decode_key(own) for own, _ in self._entries()]

    def values(self) -> list[Any]:
        """Return all values."""
        return [self._cell.decode(data[8:]) for _, data in self._entries()]

    def clear(self) -> None:
        """Delete all entries."""
        prefix = sized(self._cell.raw())
        gone: Entry = (None, self._cell.moment.written)
        changed: dict[bytes, Entry] = {}
        for own, number in self._places(prefix):
            changed[prefix + _KEY + own] = gone
            changed[prefix + _PLACE + number] = gone
        if changed:
            self._cell.overlay.put({**changed, prefix: gone})

    def __contains__(self, key: Any) -> bool:
        return self._cell.get(self._entry(key)) is not None

    def __len__(self) -> int:
        if self._cell.ttl_ms:
            return len(self._entries())
        return self._count(sized(self._cell.raw()))

    def expire(self, key: bytes, clock: int) -> int | None:
        """Delete an entry if it has expired; else return when it was written."""
        found = self._cell.expired(key, clock)
        if isinstance(found, tuple):
            self._remove(key, found[1])
            return None
        return found

    def _entry(self, key: Any) -> bytes:
        own: bytes = self._encode_key(key)
        return sized(self._cell.raw()) + _KEY + own

    def _count(self, prefix: bytes) -> int:
        entry = self._cell.overlay.get(prefix)
        return 0 if entry is None or entry[0] is None else _number(entry[0])

    def _places(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        """Return the map's keys with their numbers."""
        numbers = [_NUMBER.pack(n) for n in range(self._count(prefix))]
        found = self._cell.overlay.touch([prefix + _PLACE + number for number in numbers])
        return [(of[0], n) for of, n in zip(found, numbers, strict=True) if of is not None]

    def _entries(self) -> list[tuple[bytes, bytes]]:
        """Return the map's keys with what is stored, but for what has expired."""
        prefix = sized(self._cell.raw())
        own = [key for key, _ in self._places(prefix)]
        self._cell.overlay.touch([prefix + _KEY + key for key in own])  # read them in one call
        found = [(key, self._cell.get(prefix + _KEY + key)) for key in own]
        return [(key, data) for key, data in found if data is not None]

    def _remove(self, at: bytes, now: int | None = None) -> None:
        """Delete an entry; the last one takes its number."""
        overlay = self._cell.overlay
        entry = overlay.get(at)
        if entry is None or entry[0] is None:
            return
        prefix, _ = _parts(at)
        last = self._count(prefix) - 1
        gone: Entry = (None, self._cell.moment.written if now is None else now)
        place, end = entry[0][:8], _NUMBER.pack(last)
        changed: dict[bytes, Entry] = {at: gone}
        if place != end:
            (moved, time) = overlay.get(prefix + _PLACE + end) or (b"", 0)
            changed[prefix + _PLACE + place] = (moved, time)
            data, written = overlay.get(prefix + _KEY + moved) or (b"", 0)
            changed[prefix + _KEY + moved] = (place + data[8:], written)
        changed[prefix + _PLACE + end] = gone
        changed[prefix] = gone if last == 0 else (_NUMBER.pack(last), gone[1])
        overlay.put(changed)


def _parts(at: bytes) -> tuple[bytes, bytes]:
    """Return the prefix of an entry's key, and the map's own."""
    raw, own = split(at)
    return sized(raw), own[1:]


def _number(data: bytes) -> int:
    number: int = _NUMBER.unpack(data)[0]
    return number
