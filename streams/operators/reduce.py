"""Reduce: fold the values of each key into one value of the same type."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from penstock.operators.aggregation import Aggregation, Group, fold_records
from penstock.operators.operator import NOTHING
from penstock.state.definition import StoreDefinition
from penstock.state.overlay import Entry, Overlay


@dataclass(frozen=True)
class Reduce:
    """Combine each value with the result so far; the first value is the first result.

    A function that returns None deletes the key; its next value is a first one again.
    """

    function: Callable[[Any, Any], Any]
    store: StoreDefinition
    reads = NOTHING

    def open(self, overlay: Overlay, *, coalesce: bool) -> Aggregation:
        """Bind the reduction to the store of one task."""
        return Aggregation(self, overlay, coalesce=coalesce)

    def fold(self, group: Group, overlay: Overlay) -> None:
        """Fold a chunk, record by record."""
        fold_records(self, group, overlay)

    def merge(self, earlier: Any, later: Any) -> Any:
        """Combine two results."""
        return self.function(earlier, later)

    def step(self, entry: Entry | None, value: Any, timestamp: int, overlay: Overlay) -> Entry:
        """Fold one record."""
        if entry is None or entry[0] is None:
            return overlay.copy(value), timestamp
        result = self.function(entry[0], value)
        # The record's own value may be in the hands of another branch of the topology.
        result = overlay.copy(value) if result is value else result
        return result, max(timestamp, entry[1])
