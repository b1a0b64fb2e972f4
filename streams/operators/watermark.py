"""Watermark: how late the records of a stream may be, declared where it is known.

Nothing happens here: what is declared is read off the topology. The delay becomes the grace of
windows behind it, `max_future_ms` the guard of its inputs, `idle_ms` the time after which the
wall clock takes over.
"""

from dataclasses import dataclass

from penstock.operators.chunk import Chunk
from penstock.operators.operator import NOTHING


@dataclass(frozen=True)
class Watermark:
    """Hand on all records.

    Attributes:
        delay_ms: how late they may be.
        idle_ms: for how long nothing has to come until time goes on without records; None for
            never.
        max_future_ms: how far an event time may be ahead of the wall clock; None for any
            distance.

    >>> Watermark(60_000, None, None).process(Chunk(["a"], [0])).values
    ['a']
    """

    delay_ms: int
    idle_ms: int | None
    max_future_ms: int | None
    reads = NOTHING

    def process(self, chunk: Chunk) -> Chunk:
        """Hand the chunk on."""
        return chunk
