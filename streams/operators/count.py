"""Count: how many records each key has had."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from penstock.operators.aggregation import Aggregation, Group
from penstock.operators.chunk import newest
from penstock.operators.operator import NOTHING
from penstock.state.definition import StoreDefinition
from penstock.state.overlay import Entry, Overlay


@dataclass(frozen=True)
class Count:
    """Count the records of each key.

    >>> from penstock.state.memory import MemoryStore
    >>> from penstock.serde.primitives import INT, STR
    >>> from penstock.operators.chunk import Chunk
    >>> store = StoreDefinition("seen", STR, INT)
    >>> overlay = Overlay(store, MemoryStore())
    >>> Count(store).open(overlay, coalesce=True).process(
    ...     Chunk([1, 1, 1], [5, 6, 7], keys=["a", "b", "a"]))
    >>> overlay.get(b"a")
    (2, 7)
    """

    store: StoreDefinition
    reads = NOTHING

    def open(self, overlay: Overlay, *, coalesce: bool) -> Aggregation:
        """Bind the count to the store of one task."""
        return Aggregation(self, overlay, coalesce=coalesce)

    def fold(self, group: Group, overlay: Overlay) -> None:
        """Count a chunk's keys before touching state: one look-up per distinct key."""
        counts = Counter(group.keys)
        latest = newest(group.keys, group.timestamps)
        # All three have the keys in the order of their first record.
        rows = zip(overlay.touch(counts), counts.values(), latest.values(), strict=True)
        changed = [
            (more, timestamp)
            if entry is None
            else (entry[0] + more, timestamp if timestamp > entry[1] else entry[1])
            for entry, more, timestamp in rows
        ]
        overlay.put(dict(zip(counts, changed, strict=True)))

    def merge(self, earlier: int, later: int) -> int:
        """Count the records of both."""
        return earlier + later

    def step(self, entry: Entry | None, value: Any, timestamp: int, overlay: Overlay) -> Entry:
        """Count one record."""
        return (1, timestamp) if entry is None else (entry[0] + 1, max(timestamp, entry[1]))
