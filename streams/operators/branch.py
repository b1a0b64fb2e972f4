"""Branch: each record to the first of several streams whose predicate it satisfies.

`Route` tags values with the number of their branch, one predicate call after the other
until one is true; `Port` picks the records of one branch. What satisfies none is dropped.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from penstock.operators.chunk import Chunk
from penstock.operators.operator import NOTHING


@dataclass(frozen=True)
class Route:
    """Tag each value with the number of its branch, -1 for none.

    >>> Route((str.isupper, str.islower)).process(Chunk(["a", "B", "1"], [0, 0, 0])).values
    [(1, 'a'), (0, 'B'), (-1, '1')]
    """

    predicates: tuple[Callable[[Any], object], ...]
    reads = NOTHING

    def process(self, chunk: Chunk) -> Chunk:
        """Tag the column of values."""
        chunk, values = chunk.apply(self._tagged, chunk.values)
        return chunk.with_values(values)

    def _tagged(self, value: Any) -> tuple[int, Any]:
        for number, predicate in enumerate(self.predicates):
            if predicate(value):
                return number, value
        return -1, value


@dataclass(frozen=True)
class Port:
    """Hand on the records of one branch, untagged.

    >>> Port(1).process(Chunk([(1, "a"), (0, "B")], [0, 0])).values
    ['a']
    """

    number: int
    reads = NOTHING

    def process(self, chunk: Chunk) -> Chunk:
        """Select the records of the branch."""
        mine = chunk.select([branch == self.number for branch, _ in chunk.values])
        return mine.with_values([value for _, value in mine.values])
