"""To stream: a table's changes as a stream of records, deletions as null values."""

from dataclasses import dataclass

from penstock.operators.chunk import Chunk
from penstock.operators.operator import NOTHING


@dataclass(frozen=True)
class ToStream:
    """Hand on each change as a record.

    >>> ToStream().process(Chunk([None], [0])).values
    [None]
    """

    reads = NOTHING

    def process(self, chunk: Chunk) -> Chunk:
        """Hand the chunk on."""
        return chunk
