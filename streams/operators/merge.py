"""Merge: the records of several streams as one, in the order in which they are read."""

from dataclasses import dataclass

from penstock.operators.chunk import Chunk
from penstock.operators.operator import NOTHING


@dataclass(frozen=True)
class Merge:
    """Hand on the records of all parents.

    >>> Merge().process(Chunk(["a"], [0])).values
    ['a']
    """

    reads = NOTHING

    def process(self, chunk: Chunk) -> Chunk:
        """Hand the chunk on."""
        return chunk
