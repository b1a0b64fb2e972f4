"""Agg: several aggregators over the values of each key, folded into one state.

The store holds the states of the columns; `Results` turns them into what is handed on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from penstock.operators.aggregation import Aggregation, Group, fold_records
from penstock.operators.chunk import Chunk
from penstock.operators.operator import NOTHING
from penstock.state.definition import StoreDefinition
from penstock.state.overlay import Entry, Overlay


@dataclass(frozen=True)
class Column:
    """An aggregator at work: bound to the values of a stream.

    Attributes:
        format: what its states are, part of the store's definition.
        type: the Python type of its result, None where it is not known.
        init: makes an empty state.
        add: a function of state, value and timestamp (ms); returns the state.
        merge: a function of two states, the second one the later one.
        result: from a state to what comes out.
        dump: from a state to what msgpack can hold.
        load: back.
        add_all: the same as `add` for many values in their order, where that is faster.
        immutable: whether no state is ever changed in place, by nobody: such are not copied.
    """

    format: str
    type: Any
    init: Callable[[], Any]
    add: Callable[[Any, Any, int], Any]
    merge: Callable[[Any, Any], Any]
    result: Callable[[Any], Any] = lambda state: state
    dump: Callable[[Any], Any] = lambda state: state
    load: Callable[[Any], Any] = lambda state: state
    add_all: Callable[[Any, Sequence[Any], Sequence[int]], Any] | None = None
    immutable: bool = False

    def added(self, state: Any, values: Sequence[Any], times: Sequence[int]) -> Any:
        """Add many values to a state."""
        if self.add_all is not None:
            return self.add_all(state, values, times)
        add = self.add
        for value, at in zip(values, times, strict=True):
            state = add(state, value, at)
        return state


class StatesSerde:
    """The states of columns as a msgpack array, each as its column dumps it."""

    def __init__(self, columns: Mapping[str, Column]) -> None:
        self.immutable = all(column.immutable for column in columns.values())
        self._dump = [column.dump for column in columns.values()]
        self._load = [column.load for column in columns.values()]
        self.format = "agg " + ",".join(f"{name}={of.format}" for name, of in columns.items())

    def encode(self, states: Sequence[Any], /) -> bytes:
        """Return the bytes of states."""
        return _pack([dump(state) for dump, state in zip(self._dump, states, strict=True)])

    def decode(self, data: bytes, /) -> tuple[Any, ...]:
        """Return the states of bytes."""
        return tuple([load(state) for load, state in zip(self._load, _unpack(data), strict=True)])


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[Any]).decode


@dataclass(frozen=True)
class Fold:
    """Add each value to all columns of its key.

    Attributes:
        columns: in the order of their states.
    """

    columns: tuple[Column, ...]
    store: StoreDefinition
    reads = NOTHING

    def open(self, overlay: Overlay, *, coalesce: bool) -> Aggregation:
        """Bind the aggregation to the store of one task."""
        return Aggregation(self, overlay, coalesce=coalesce)

    def fold(self, group: Group, overlay: Overlay) -> None:
        """Fold a chunk: key by key where keys repeat, which takes half as long."""
        keys: dict[bytes, tuple[list[Any], list[int]]] = {key: ([], []) for key in group.keys}
        if 2 * len(keys) > len(group.keys):
            fold_records(self, group, overlay)
            return
        for key, value, at in zip(group.keys, group.values, group.timestamps, strict=True):
            values, times = keys[key]
            values.append(value)
            times.append(at)
        changes: dict[bytes, Entry] = {}
        for (key, (values, times)), entry in zip(keys.items(), overlay.touch(keys), strict=True):
            states, latest = self._opened(entry, times[0])
            rows = zip(self.columns, states, strict=True)
            added = tuple([column.added(state, values, times) for column, state in rows])
            changes[key] = added, max(latest, *times)
        overlay.put(changes)

    def merge(self, earlier: Any, later: Any) -> Any:
        """Merge the states of all columns."""
        rows = zip(self.columns, earlier, later, strict=True)
        return tuple([column.merge(a, b) for column, a, b in rows])

    def step(self, entry: Entry | None, value: Any, timestamp: int, overlay: Overlay) -> Entry:
        """Fold one record."""
        states, latest = self._opened(entry, timestamp)
        rows = zip(self.columns, states, strict=True)
        added = tuple([column.add(state, value, timestamp) for column, state in rows])
        return added, max(latest, timestamp)

    def _opened(self, entry: Entry | None, timestamp: int) -> Entry:
        """Return the states of an entry, or empty ones."""
        if entry is None or entry[0] is None:
            return tuple([column.init() for column in self.columns]), timestamp
        return entry


@dataclass(frozen=True)
class Results:
    """Turn the states of columns into one value; a deletion stays one.

    Attributes:
        columns: by the name of their field.
        into: what is made of the results by name; None for the result of the only column.
    """

    columns: Mapping[str, Column]
    into: Callable[..., Any] | None
    reads = NOTHING

    def process(self, chunk: Chunk) -> Chunk:
        """Build the column of values."""
        chunk, values = chunk.apply(self.builder(), chunk.values)
        return chunk.with_values(values)

    def builder(self) -> Callable[[Any], Any]:
        """Return what makes one value of states."""
        named = [(name, column.result) for name, column in self.columns.items()]
        into = self.into

        def build(states: Any) -> Any:
            if states is None:
                return None
            if into is None:
                return named[0][1](states[0])
            return into(
                **{name: of(state) for (name, of), state in zip(named, states, strict=True)}
            )

        return build
