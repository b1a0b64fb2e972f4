"""Flat map: one value to any number of values, each with the key and time of its origin."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from penstock.operators.chunk import Chunk, concatenate
from penstock.operators.operator import NOTHING


@dataclass(frozen=True)
class FlatMap:
    """Apply a function to each value and hand on each element of what it returns.

    >>> FlatMap(str.split).process(Chunk(["a b", ""], [0, 1])).values
    ['a', 'b']
    """

    function: Callable[[Any], Iterable[Any]]
    reads = NOTHING

    def process(self, chunk: Chunk) -> Chunk:
        """Map and flatten the column of values."""
        chunk, groups = chunk.apply(lambda value: list(self.function(value)), chunk.values)
        return chunk.repeat(list(map(len, groups)), concatenate(groups))
