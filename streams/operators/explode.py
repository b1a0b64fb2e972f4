"""Explode: one record per element of a list in its value, as Spark's `explode`."""

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from penstock.operators.chunk import Chunk
from penstock.operators.flat_map import FlatMap
from penstock.operators.operator import NOTHING


@dataclass(frozen=True)
class Explode:
    """Hand on the value's fields as a dict, once per element of the list.

    An empty or missing list gives no record.

    >>> Explode(lambda v: v["n"], "n").process(Chunk([{"k": 1, "n": [2, 3]}], [0])).values
    [{'k': 1, 'n': 2}, {'k': 1, 'n': 3}]
    """

    elements: Callable[[Any], Iterable[Any] | None]
    field: str
    rename: str | None = None
    reads = NOTHING

    def process(self, chunk: Chunk) -> Chunk:
        """Repeat each record for the elements of its list."""
        return FlatMap(self._rows).process(chunk)

    def _rows(self, value: Any) -> list[dict[str, Any]]:
        rest = as_dict(value)
        rest.pop(self.field, None)
        name = self.rename or self.field
        return [{**rest, name: element} for element in self.elements(value) or ()]


def as_dict(value: Any) -> dict[str, Any]:
    """Return the fields of a Struct, dataclass or dict as a new dict, one level deep."""
    if isinstance(value, dict):
        return dict(value)  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, msgspec.Struct):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
