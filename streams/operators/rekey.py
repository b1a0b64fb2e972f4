"""Rekey: the same values under another key, selected from each value."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from penstock.operators.chunk import Chunk
from penstock.operators.operator import NOTHING


@dataclass(frozen=True)
class Rekey:
    """Take the key from the value.

    >>> Rekey(len).process(Chunk(["a", "bcd"], [7, 8])).keys
    [1, 3]
    """

    select: Callable[[Any], Any]
    reads = NOTHING

    def process(self, chunk: Chunk) -> Chunk:
        """Replace the column of keys.

        Raises:
            EachFailed: if a key comes out as None: it would belong to no partition.
        """
        chunk, keys = chunk.apply(self.select, chunk.values)
        if None in keys:
            chunk, keys = chunk.apply(_refuse_none, keys)
        return chunk.with_records(keys, chunk.values)


def _refuse_none(key: Any) -> Any:
    if key is None:
        raise ValueError("the new key is None; filter such records out before")
    return key
