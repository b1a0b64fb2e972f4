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
    """

    format: str
    type: Any
    init: Callable[[], Any]
    add: Callable[[Any, Any, int], Any]
    merge: Callable[[Any, Any], Any]
    result: Callable[[Any], Any] = lambda state: state
    dump: Callable[[Any], Any] = lambda state: state
    load: Callable[[Any], Any] = lambda state: state


class StatesSerde:
    """The states of columns as a msgpack array, each as its column dumps it."""

    immutable = False

    def __init__(self, columns: Mapping[str, Column]) -> None:
        self._dump = [column.dump for column in columns.values()]
        self._load = [column.load for column in columns.values()]
        self.format = "agg " + ",".join(f"{name}={of.format}" for name, of in columns.items())

    def encode(self, states: Sequence[Any], /) -> bytes:
        """Return the bytes of states."""
        return _pack([dump(state) for dump, state in zip(self._dump, states, strict=True)])

    def decode(self, data: bytes, /) -> list[Any]:
        """Return the states of bytes."""
        return [load(state) for load, state in zip(self._load, _unpack(data), strict=True)]


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
        """Fold a chunk, record by record."""
        fold_records(self, group, overlay)

    def merge(self, earlier: Any, later: Any) -> Any:
        """Merge the states of all columns."""
        return [
            column.merge(a, b) for column, a, b in zip(self.columns, earlier, later, strict=True)
        ]

    def step(self, entry: Entry | None, value: Any, timestamp: int, overlay: Overlay) -> Entry:
        """Fold one record."""
        if entry is None or entry[0] is None:
            states, latest = [column.init() for column in self.columns], timestamp
        else:
            states, latest = entry[0], max(timestamp, entry[1])
        columns = self.columns
        return [
            column.add(state, value, timestamp)
            for column, state in zip(columns, states, strict=True)
        ], latest


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

        chunk, values = chunk.apply(build, chunk.values)
        return chunk.with_values(values)
