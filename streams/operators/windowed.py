"""An aggregation in windows: each record goes to the windows that its event time is in.

Rule 1: operator time is the largest event time so far, of the records in front of this one and
        its own. A window takes a record while `end + grace > operator time`, whatever has been
        emitted or committed: so the same record is late however the input is cut.
Rule 2: a window is closed from then on. Closing it reads its results and deletes its state, in
        one transaction, so that each window is final once.
"""

from dataclasses import dataclass
from itertools import chain
from struct import Struct
from typing import Any

from penstock.operators.aggregation import Aggregation, Fold, Group
from penstock.operators.chunk import Chunk
from penstock.operators.operator import NOTHING
from penstock.operators.time import OperatorTime
from penstock.serde.types import Serde
from penstock.state.definition import StoreDefinition
from penstock.state.overlay import Overlay
from penstock.windows import TimeWindows

_START = Struct(">q")
_NEVER = 2**62
_END = b"\xff"  # behind every start


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
    timed = True

    @property
    def open_ms(self) -> int:
        """How long after its start a window takes records."""
        return self.windows.size_ms + self.grace_ms

    def open(self, overlay: Overlay, *, coalesce: bool) -> "OpenWindows":
        """Bind the aggregation to the store of one task."""
        return OpenWindows(self, overlay, coalesce=coalesce)


class OpenWindows(Aggregation):
    """The windows of one task.

    Attributes:
        late: windows that records have missed, until the task counts them.
    """

    wake_ms = None

    def __init__(self, declared: WindowedAggregation, overlay: Overlay, *, coalesce: bool) -> None:
        super().__init__(declared.fold, overlay, coalesce=coalesce)
        self._declared = declared
        self._closed_to = b""
        self._earliest: int | None = None  # start of the first window; None: nobody has looked

    def group(self, chunk: Chunk, time: OperatorTime) -> Group:
        """Return the records of a chunk under their windowed keys, without what is late."""
        group = Group(chunk, self._declared.key)
        if not group.keys:
            return group
        windows, times = self._declared.windows, group.timestamps
        size, advance = windows.size_ms, windows.advance_ms
        counts: list[int] = []
        if size == advance:
            starts = [at - at % size for at in times]
        else:
            found = list(map(windows.starts, times))
            counts = list(map(len, found))
            starts = list(chain.from_iterable(found))
            group = group.repeated(counts)
        # An end that is later than all of these is in time; else each is looked at.
        open_for = self._declared.open_ms
        if min(starts) + open_for <= time.after(times):
            reached = time.at_each(times)
            if counts:
                reached = [at for at, n in zip(reached, counts, strict=True) for _ in range(n)]
            kept = [start + open_for > at for start, at in zip(starts, reached, strict=True)]
            self.late += kept.count(False)
            group = group.kept(kept)
            starts = [start for start, keep in zip(starts, kept, strict=True) if keep]
        if self._earliest is not None:
            self._earliest = min(self._earliest, min(starts, default=_NEVER))
        packed = {start: _START.pack(start) for start in set(starts)}
        group.keys = [packed[start] + key for start, key in zip(starts, group.keys, strict=True)]
        return group

    def discard(self) -> None:
        """Forget what was closed: its batch was aborted."""
        self._closed_to, self._earliest = b"", None

    def is_due(self, clock: int) -> bool:
        """Whether a window is to be closed at an operator time."""
        return self._first() <= self._last_start(clock)

    def held_ms(self) -> int | None:
        """Where the first open window begins: its result is no older."""
        first = self._first()
        return None if first == _NEVER else first

    def _first(self) -> int:
        if self._earliest is None:
            first = self._overlay.scan(self._closed_to, _END, 1)
            self._earliest = _start_of(first[0][0]) if first else _NEVER
        return self._earliest

    def close(self, clock: int, now_ms: int, limit: int) -> tuple[Chunk | None, bool]:
        """Return the results of the windows that operator time has closed, and delete them."""
        if not self.is_due(clock):
            return None, True
        stop = _START.pack(self._last_start(clock) + 1)
        found = self._overlay.scan(self._closed_to, stop, limit)
        done = len(found) < limit
        self._closed_to = stop if done else found[-1][0] + b"\0"
        self._earliest = None
        if not found:
            return None, True
        self._overlay.put({key: (None, timestamp) for key, (_, timestamp) in found})
        results = Chunk(
            [value for _, (value, _) in found],
            [timestamp for _, (_, timestamp) in found],
            raw_keys=[key for key, _ in found],
            key_serde=self._declared.store.key,
        )
        return results, done

    def _last_start(self, clock: int) -> int:
        """Where the last window begins that is closed at an operator time, if there is one."""
        return clock - self._declared.open_ms


def _start_of(key: bytes) -> int:
    start: int = _START.unpack_from(key)[0]
    return start
