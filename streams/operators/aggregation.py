"""What count, reduce and aggregate share: fold records into a store, hand on changes.

An aggregation coalesces where nobody can tell: it folds the batch into the overlay and hands
on one change per key at flush. In front of an operator that counts updates, or on request,
it hands on every update instead. The result's timestamp is the largest of its contributors
(Kafka Streams' rule), also across batches; a deleted key begins anew.

Records without a key or a value belong to no group: they are dropped and counted.
"""

from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any, Protocol

from penstock.operators.chunk import Chunk
from penstock.operators.time import START, OperatorTime
from penstock.serde.types import Serde
from penstock.state.definition import StoreDefinition
from penstock.state.overlay import Changes, Entry, Overlay

_NONE = type(None)


class Fold(Protocol):
    """How an aggregation changes entries."""

    def fold(self, group: "Group", overlay: Overlay) -> None:
        """Fold all records of a chunk into the overlay."""
        ...

    def step(self, entry: Entry | None, value: Any, timestamp: int, overlay: Overlay) -> Entry:
        """Fold one record into one entry."""
        ...


class Group:
    """The records of a chunk that belong to groups: columns without nulls.

    Attributes:
        offsets: where they stand; None where nobody asks.
    """

    __slots__ = ("dropped", "keys", "offsets", "timestamps", "values")

    def __init__(self, chunk: Chunk, key: Serde[Any], *, with_offsets: bool = False) -> None:
        keys: Sequence[Any] = chunk.encoded_keys(key)
        values, timestamps = chunk.values, chunk.timestamps
        offsets = chunk.offsets if with_offsets else None
        self.dropped = 0
        if not all(keys) or _NONE in set(map(type, values)):
            kept = [
                at
                for at, (key, value) in enumerate(zip(keys, values, strict=True))
                if key is not None and value is not None
            ]
            self.dropped = len(values) - len(kept)
            keys, values = [keys[at] for at in kept], [values[at] for at in kept]
            timestamps = [timestamps[at] for at in kept]
            offsets = None if offsets is None else [offsets[at] for at in kept]
        self.keys: Sequence[bytes] = keys
        self.values = values
        self.timestamps = timestamps
        self.offsets = offsets

    def repeated(self, counts: Sequence[int]) -> "Group":
        """Have record i `counts[i]` times."""

        def repeat(column: Sequence[Any]) -> list[Any]:
            return [item for item, n in zip(column, counts, strict=True) for _ in range(n)]

        return self._with(repeat)

    def kept(self, mask: Sequence[bool]) -> "Group":
        """Leave out what the mask does not have."""
        return self._with(lambda column: list(compress(column, mask)))

    def _with(self, pick: Callable[[Sequence[Any]], list[Any]]) -> "Group":
        self.keys, self.values = pick(self.keys), pick(self.values)
        self.timestamps = pick(self.timestamps)
        self.offsets = None if self.offsets is None else pick(self.offsets)
        return self


class Aggregation:
    """A fold at work on the store of one task.

    Attributes:
        dropped: records without key or value, until the task counts them.
    """

    def __init__(self, fold: Fold, overlay: Overlay, *, coalesce: bool) -> None:
        self._fold = fold
        self._overlay = overlay
        self._coalesce = coalesce
        self.dropped = self.late = 0

    def process(self, chunk: Chunk, time: OperatorTime = START) -> Chunk | None:
        """Fold a chunk; return its updates where they must not be coalesced."""
        group = self.group(chunk, time)
        self.dropped += group.dropped
        if not group.keys:
            return None
        if self._coalesce:
            self._fold.fold(group, self._overlay)
            return None
        return self._every_update(group, chunk)

    def group(self, chunk: Chunk, time: OperatorTime) -> Group:
        """Return the records of a chunk under the keys of the store."""
        return Group(chunk, self._overlay.definition.key)

    def updates(self, changes: Changes) -> Chunk:
        """Return what a batch has changed in the store, as records."""
        return changed_records(changes, self._overlay.definition)

    def contents(self, most: int) -> Chunk:
        """Return what is in the store as records."""
        return stored_records(self._overlay, most)

    def discard(self) -> None:
        """Forget the batch: there is nothing beside the store."""

    def _every_update(self, group: Group, chunk: Chunk) -> Chunk:
        overlay, step, copy = self._overlay, self._fold.step, self._overlay.copy
        entries: Any = _touched(group, overlay)
        values: list[Any] = []
        timestamps: list[int] = []
        for key, value, timestamp in zip(group.keys, group.values, group.timestamps, strict=True):
            entries[key] = entry = step(entries[key], value, timestamp, overlay)
            values.append(copy(entry[0]))
            timestamps.append(entry[1])
        overlay.put(entries)
        return Chunk(
            values,
            timestamps,
            raw_keys=group.keys,
            key_serde=overlay.definition.key,
            topic=chunk.topic,
            partition=chunk.partition,
        )


def changed_records(changes: Changes, store: StoreDefinition) -> Chunk:
    """The changes of a store as records; their bytes are encoded once."""
    return Chunk(
        changes.values,
        changes.timestamps,
        raw_keys=changes.keys,
        key_serde=store.key,
        raw_values=changes.encoded,
        value_serde=store.value,
    )


def stored_records(overlay: Overlay, most: int) -> Chunk:
    """The first rows of a store as records."""
    found = overlay.scan(b"", None, most)
    return Chunk(
        [value for _, (value, _) in found],
        [timestamp for _, (_, timestamp) in found],
        raw_keys=[key for key, _ in found],
        key_serde=overlay.definition.key,
    )


def fold_records(fold: Fold, group: Group, overlay: Overlay) -> None:
    """Fold a chunk record by record: 0.3 us each beside the user's function."""
    entries: Any = _touched(group, overlay)
    step = fold.step
    for key, value, timestamp in zip(group.keys, group.values, group.timestamps, strict=True):
        entries[key] = step(entries[key], value, timestamp, overlay)
    overlay.put(entries)


def _touched(group: Group, overlay: Overlay) -> dict[bytes, Entry | None]:
    keys = dict.fromkeys(group.keys)
    return dict(zip(keys, overlay.touch(keys), strict=True))
