"""Peek: look at each value, change nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from penstock.operators.chunk import Chunk
from penstock.operators.operator import NOTHING


@dataclass(frozen=True)
class Peek:
    """Call a function with each value and hand the records on.

    A batch that is aborted is read again, so the function may see a record twice.

    >>> Peek(print).process(Chunk(["a"], [0])).values
    a
    ['a']
    """

    function: Callable[[Any], object]
    reads = NOTHING

    def process(self, chunk: Chunk) -> Chunk:
        """Show the values."""
        return chunk.apply(self.function, chunk.values)[0]
