"""Aggregate: fold the values of each key into an accumulator of another type."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from penstock.operators.aggregation import Aggregation, Group, fold_records
from penstock.operators.operator import NOTHING
from penstock.state.definition import StoreDefinition
from penstock.state.overlay import Entry, Overlay


@dataclass(frozen=True)
class Aggregate:
    """Add each value to its key's accumulator, which starts as `init()`.

    `add` may change the accumulator in place and return it. None deletes the key. `merge` makes one
    accumulator of two, for sessions.
    """

    init: Callable[[], Any]
    add: Callable[[Any, Any], Any]
    store: StoreDefinition
    merge: Callable[[Any, Any], Any] | None = None
    reads = NOTHING

    def open(self, overlay: Overlay, *, coalesce: bool) -> Aggregation:
        """Bind the aggregation to the store of one task."""
        return Aggregation(self, overlay, coalesce=coalesce)

    def fold(self, group: Group, overlay: Overlay) -> None:
        """Fold a chunk, record by record."""
        fold_records(self, group, overlay)

    def step(self, entry: Entry | None, value: Any, timestamp: int, overlay: Overlay) -> Entry:
        """Fold one record."""
        if entry is None or entry[0] is None:
            return self.add(self.init(), value), timestamp
        so_far, last = entry
        return self.add(so_far, value), max(timestamp, last)
