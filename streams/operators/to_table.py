"""To table: keep the latest value of each key. A null value deletes it."""

from dataclasses import dataclass
from typing import Any

from penstock.operators.aggregation import changed_records, stored_records
from penstock.operators.chunk import Chunk
from penstock.operators.operator import NOTHING
from penstock.operators.time import START, OperatorTime
from penstock.serde.columns import decode_column
from penstock.state.definition import StoreDefinition
from penstock.state.overlay import Changes, Entry, Overlay


@dataclass(frozen=True)
class ToTable:
    """Upsert each record into the store; the last one of a key in offset order wins.

    >>> from penstock.state.memory import MemoryStore
    >>> from penstock.serde.primitives import STR
    >>> store = StoreDefinition("names", STR, STR)
    >>> overlay = Overlay(store, MemoryStore())
    >>> ToTable(store).open(overlay, coalesce=True).process(
    ...     Chunk(["x", "y"], [5, 4], keys=["a", "a"]))
    >>> overlay.get(b"a")
    ('y', 4)
    """

    store: StoreDefinition
    reads = NOTHING

    def open(self, overlay: Overlay, *, coalesce: bool) -> "OpenToTable":
        """Bind the table to the store of one task."""
        return OpenToTable(overlay, coalesce=coalesce)


class OpenToTable:
    """A table at work in one task.

    Attributes:
        dropped: records without a key, until the task counts them.
    """

    def __init__(self, overlay: Overlay, *, coalesce: bool) -> None:
        self._overlay = overlay
        self._coalesce = coalesce
        self.dropped = self.late = 0

    def updates(self, changes: Changes) -> Chunk:
        """Return what a batch has changed in the store, as records."""
        return changed_records(changes, self._overlay.definition)

    def contents(self, most: int) -> Chunk:
        """Return what is in the store as records."""
        return stored_records(self._overlay, most)

    def discard(self) -> None:
        """Forget the batch: there is nothing beside the store."""

    def process(self, chunk: Chunk, time: OperatorTime = START) -> Chunk | None:
        """Upsert a chunk; return its changes where they must not be coalesced."""
        overlay = self._overlay
        keys: Any = chunk.encoded_keys(overlay.definition.key)
        if not all(keys) and None in keys:
            kept = chunk.select([key is not None for key in keys])
            self.dropped += len(chunk) - len(kept)
            chunk, keys = kept, [key for key in keys if key is not None]
        changed: dict[bytes, Entry] = dict(
            zip(keys, zip(chunk.values, chunk.timestamps, strict=True), strict=True)
        )
        # A key of bytes that its serde refuses must not become state.
        decode_column(overlay.definition.key, list(changed))
        overlay.put(changed)
        if self._coalesce:
            return None
        return Chunk(
            list(map(overlay.copy, chunk.values)),
            chunk.timestamps,
            raw_keys=keys,
            key_serde=overlay.definition.key,
            topic=chunk.topic,
            partition=chunk.partition,
        )
