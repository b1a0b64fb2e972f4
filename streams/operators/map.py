"""Map: one value to one value, keys and headers unchanged."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from penstock.operators.chunk import Chunk
from penstock.operators.operator import NOTHING


@dataclass(frozen=True)
class Map:
    """Apply a function to each value.

    >>> Map(str.upper).process(Chunk(["a"], [0])).values
    ['A']
    """

    function: Callable[[Any], Any]
    reads = NOTHING

    def process(self, chunk: Chunk) -> Chunk:
        """Map the column of values."""
        chunk, values = chunk.apply(self.function, chunk.values)
        return chunk.with_values(values)
