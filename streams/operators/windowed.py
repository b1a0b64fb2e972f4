"""An aggregation in windows: each record goes to the windows that its event time is in.

Rule 1: operator time is the largest event time so far, of the records in front of this one and
        its own. A window takes a record while `end + grace > operator time`, whatever has been
        emitted or committed: so the same record is late however the input is cut.
Rule 2: a window is closed from then on. Closing it reads its results and deletes its state, in
        one transaction, so that each window is final once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from struct import Struct
from typing import Any

from penstock.operators.aggregation import Aggregation, Fold, Group
from penstock.operators.chunk import Chunk
from penstock.operators.operator import NOTHING
from penstock.serde.types import Serde
from penstock.state.definition import StoreDefinition
from penstock.state.overlay import Overlay
from penstock.windows import TimeWindows

_START = Struct(">q")


@dataclass(frozen=True)
class WindowedAggregation:
    """A fold over windowed keys.

    Attributes:
        fold: what is done with the records of one key in one window.
        windows: how time is cut.
        grace_ms: how long behind its end a window takes records.
        key: serde of the keys without their window.
    """

    fold: Fold
    windows: TimeWindows
    grace_ms: int
    key: Serde[Any]
    store: StoreDefinition
    reads = NOTHING

    def open(self, overlay: Overlay, *, coalesce: bool) -> "OpenWindows":
        """Bind the aggregation to the store of one task."""
        return OpenWindows(self, overlay, coalesce=coalesce)


class OpenWindows(Aggregation):
    """The windows of one task.

    Attributes:
        late: windows that records have missed, until the task counts them.
    """

    def __init__(self, declared: WindowedAggregation, overlay: Overlay, *, coalesce: bool) -> None:
        super().__init__(declared.fold, overlay, coalesce=coalesce)
        self._declared = declared
        self._closed_to = b""

    def group(self, chunk: Chunk, clock: int) -> Group:
        """Return the records of a chunk under their windowed keys, without what is late."""
        group = Group(chunk, self._declared.key)
        if not group.keys:
            return group
        windows, times = self._declared.windows, group.timestamps
        size, advance = windows.size_ms, windows.advance_ms
        if size == advance:
            starts: Sequence[int] = [at - at % size for at in times]
        else:
            counts, starts = [], []
            for at in times:
                found = windows.starts(at)
                counts.append(len(found))
                starts += found
            group = group.repeated(counts)
        # An end that is later than all of these is in time; else each is looked at.
        open_for = size + self._declared.grace_ms
        if min(starts) + open_for <= max(clock, max(times)):
            now = accumulate(times, max, initial=clock)
            next(now)
            reached = list(now)
            if size != advance:
                reached = [at for at, n in zip(reached, counts, strict=True) for _ in range(n)]
            kept = [start + open_for > at for start, at in zip(starts, reached, strict=True)]
            self.late += kept.count(False)
            group = group.kept(kept)
            starts = [start for start, keep in zip(starts, kept, strict=True) if keep]
        packed = {start: _START.pack(start) for start in set(starts)}
        group.keys = [packed[start] + key for start, key in zip(starts, group.keys, strict=True)]
        return group

    def discard(self) -> None:
        """Forget what was closed: its batch was aborted."""
        self._closed_to = b""

    def close(self, clock: int) -> Chunk | None:
        """Return the results of the windows that operator time has closed, and delete them.

        The changes of the batch have been flushed before.

        Args:
            clock: operator time in milliseconds.
        """
        bound = clock - self._declared.grace_ms - self._declared.windows.size_ms
        stop = _START.pack(bound + 1) if bound >= 0 else b""
        if stop <= self._closed_to:
            return None
        found = self._overlay.scan(self._closed_to, stop)
        self._closed_to = stop
        if not found:
            return None
        self._overlay.put({key: (None, timestamp) for key, (_, timestamp) in found})
        return Chunk(
            [value for _, (value, _) in found],
            [timestamp for _, (_, timestamp) in found],
            raw_keys=[key for key, _ in found],
            key_serde=self._declared.store.key,
        )
