"""Select: a value of some fields of the value, as Spark's `select`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from penstock.operators.chunk import Chunk
from penstock.operators.operator import NOTHING


@dataclass(frozen=True)
class Select:
    """Build `into(name=field, ...)` of each value; `into` is dict, a Struct or a dataclass.

    >>> Select({"n": len}, dict).process(Chunk(["abc"], [0])).values
    [{'n': 3}]
    """

    fields: Mapping[str, Callable[[Any], Any]]
    into: Callable[..., Any]
    reads = NOTHING

    def process(self, chunk: Chunk) -> Chunk:
        """Build the column of values."""
        into, fields = self.into, tuple(self.fields.items())

        def build(value: Any) -> Any:
            return into(**{name: get(value) for name, get in fields})

        chunk, values = chunk.apply(build, chunk.values)
        return chunk.with_values(values)
