"""Filter: keep the records whose value satisfies a predicate."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from penstock.operators.chunk import Chunk
from penstock.operators.operator import NOTHING


@dataclass(frozen=True)
class Filter:
    """Keep a record where the predicate is true of its value.

    >>> Filter(str.isupper).process(Chunk(["a", "B"], [0, 1])).values
    ['B']
    """

    predicate: Callable[[Any], object]
    reads = NOTHING

    def process(self, chunk: Chunk) -> Chunk:
        """Select the records."""
        chunk, mask = chunk.apply(self.predicate, chunk.values)
        return chunk.select(mask)
