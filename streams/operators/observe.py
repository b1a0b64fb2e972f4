"""Observe: aggregate the records of a batch in passing, for its progress.

Nothing is kept from batch to batch: each chunk gives states, which are merged over chunks, tasks
and batches by whoever reports them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import compress
from typing import Any

from penstock.operators.agg import Column
from penstock.operators.chunk import Chunk
from penstock.operators.operator import NOTHING


@dataclass(frozen=True, eq=False)
class Observe:
    """Hand on all records, and add up what is asked of their values.

    Attributes:
        name: of what is observed.
        columns: aggregators by the names of their results.

    >>> largest = Column("max", int, int, lambda most, value, _at: max(most, value), max)
    >>> of = Observe("orders", {"largest": largest})
    >>> one, other = of.states(Chunk([3, None, 8], [0] * 3)), of.states(Chunk([5], [0]))
    >>> of.results(of.merge(one, other))
    {'largest': 8}
    """

    name: str
    columns: Mapping[str, Column]
    reads = NOTHING

    def process(self, chunk: Chunk) -> Chunk:
        """Hand the chunk on."""
        return chunk

    def states(self, chunk: Chunk) -> list[Any]:
        """Return the states of a chunk's values; those that are None are passed over."""
        values, times = chunk.values, chunk.timestamps
        there = [value is not None for value in values]
        if not all(there):
            values, times = list(compress(values, there)), list(compress(times, there))
        return [column.added(column.init(), values, times) for column in self.columns.values()]

    def merge(self, earlier: list[Any], later: list[Any]) -> list[Any]:
        """Return the states of both; they may be changed in place."""
        rows = zip(self.columns.values(), earlier, later, strict=True)
        return [column.merge(a, b) for column, a, b in rows]

    def results(self, states: list[Any]) -> dict[str, Any]:
        """Return what comes out of states, by name."""
        rows = zip(self.columns.items(), states, strict=True)
        return {name: column.result(state) for (name, column), state in rows}
