"""An aggregation in windows: each record goes to the windows that its event time is in.

Rule 1: operator time is the largest event time so far, of the records in front of this one and
        its own. A window takes a record while `end + grace > operator time`, whatever has been
        emitted or committed: so the same record is late however the input is cut.
Rule 2: a window is closed from then on. Closing it reads its results and deletes its state, in
        one transaction, so that each window is final once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from operator import ge
from typing import Any

from penstock.operators.aggregation import Aggregation, Fold, Group
from penstock.operators.chunk import Chunk
from penstock.operators.earliest import NEVER, Earliest
from penstock.operators.late import InTime, LateCount, Missed
from penstock.operators.time import OperatorTime
from penstock.serde.types import Serde
from penstock.serde.windowed import pack_start, unpack_start
from penstock.state.definition import StoreDefinition
from penstock.state.overlay import Overlay
from penstock.windows import TimeWindows, ZonedWindows

_END = b"\xff"  # behind every start


@dataclass(frozen=True)
class WindowedAggregation(InTime):
    """A fold over windowed keys.

    Attributes:
        fold: what is done with the records of one key in one window.
        windows: how time is cut.
        grace_ms: how long behind its end a window takes records.
        key: serde of the keys without their window.
    """

    fold: Fold
    windows: TimeWindows | ZonedWindows
    grace_ms: int
    key: Serde[Any]
    store: StoreDefinition

    @property
    def open_ms(self) -> int:
        """How long after its start a window takes records, at most."""
        return self.windows.longest_ms + self.grace_ms

    def open(self, overlay: Overlay, *, coalesce: bool) -> "OpenWindows":
        """Bind the aggregation to the store of one task."""
        return OpenWindows(self, overlay, coalesce=coalesce)


class OpenWindows(Aggregation):
    """The windows of one task.

    Attributes:
        late: windows that records have missed, until the task counts them.
        missed: which these are, where late records go to a topic.
        finals: whether anyone takes the results of closed windows; else `close` returns none.
    """

    wake_ms = None
    finals = True

    def __init__(self, declared: WindowedAggregation, overlay: Overlay, *, coalesce: bool) -> None:
        super().__init__(declared.fold, overlay, coalesce=coalesce)
        self.missed: list[Missed] = []
        self.late_count = LateCount()
        self._declared = declared
        self._closed_to = b""
        self._earliest = Earliest(self._first_start)

    def group(self, chunk: Chunk, time: OperatorTime) -> Group:
        """Return the records of a chunk under their windowed keys, without what is late."""
        group = Group(chunk, self._declared.key, with_offsets=True)
        if not group.keys:
            return group
        times, offsets = group.timestamps, group.offsets
        if self._declared.late is None:
            group.offsets = None  # those of late records are enough
        starts, counts = self._starts(times)
        if counts is not None:
            group = group.repeated(counts)
        # Where all are open at the end of the chunk, or at the time of their own record, all are
        # in time; else each is looked at.
        if min(starts) < self._open_from(time.after(times)) and not time.goes_along(times):
            reached = time.at_each(times)
            if counts is not None:
                reached = [at for at, n in zip(reached, counts, strict=True) for _ in range(n)]
            grace_ms = self._declared.grace_ms
            ended = [at - grace_ms for at in reached] if grace_ms else reached
            kept = list(map(ge, starts, self._declared.windows.open_from_each(ended)))
            self._count(kept, counts, offsets)
            if group.offsets is not None:
                end = self._declared.windows.end
                self.missed += [
                    Missed(offset, at, start, end(start), clock)
                    for offset, at, start, clock, keep in zip(
                        group.offsets, group.timestamps, starts, reached, kept, strict=True
                    )
                    if not keep
                ]
            group = group.kept(kept)
            starts = [start for start, keep in zip(starts, kept, strict=True) if keep]
        if starts:
            self._earliest.add(min(starts))
        packed = {start: pack_start(start) for start in set(starts)}
        group.keys = [packed[start] + key for start, key in zip(starts, group.keys, strict=True)]
        return group

    def _count(
        self, kept: Sequence[bool], counts: Sequence[int] | None, offsets: Sequence[int] | None
    ) -> None:
        """Count what is late: windows, and the records that have missed any."""
        self.late += kept.count(False)
        records: Iterable[int] = range(len(kept))
        if counts is not None:
            records = chain.from_iterable(repeat(at, n) for at, n in enumerate(counts))
        late = dict.fromkeys(at for at, keep in zip(records, kept, strict=True) if not keep)
        self.late_count.add(offsets[at] if offsets else None for at in late)

    def _starts(self, times: Sequence[int]) -> tuple[list[int], list[int] | None]:
        """Return where the windows of records begin, and how many each has; None for one each."""
        windows = self._declared.windows
        if not windows.overlap:
            return windows.last_starts(times), None
        found = list(map(windows.starts, times))
        return list(chain.from_iterable(found)), list(map(len, found))

    def discard(self) -> None:
        """Forget what was closed: its batch was aborted."""
        self._closed_to = b""
        self._earliest.forget()

    def is_due(self, clock: int) -> bool:
        """Whether a window is to be closed at an operator time."""
        return self._earliest.not_before() < self._open_from(clock)

    def held_ms(self) -> int | None:
        """Where the first open window begins: its result is no older."""
        first = self._earliest.first()
        return None if first == NEVER else first

    def _first_start(self) -> int | None:
        first = self._overlay.scan(self._closed_to, _END, 1, values=False)
        return unpack_start(first[0][0]) if first else None

    def close(self, clock: int, now_ms: int, limit: int) -> tuple[Chunk | None, bool]:
        """Return the results of the windows that operator time has closed, and delete them."""
        self._earliest.flushed()
        if not self.is_due(clock):
            return None, True
        bound = self._open_from(clock)
        stop = pack_start(bound)
        found = self._overlay.scan(self._closed_to, stop, limit, values=self.finals)
        done = len(found) < limit
        self._closed_to = stop if done else found[-1][0] + b"\0"
        # While windows come and go, the next one need not be looked up; in the end, none is left.
        going_on = done and found
        self._earliest.passed(self._declared.windows.first_from(bound) if going_on else None)
        if not found:
            return None, True
        if not self.finals:
            self._overlay.put(dict(found))
            return None, done
        self._overlay.put({key: (None, timestamp) for key, (_, timestamp) in found})
        results = Chunk(
            [value for _, (value, _) in found],
            [timestamp for _, (_, timestamp) in found],
            raw_keys=[key for key, _ in found],
            key_serde=self._declared.store.key,
        )
        return results, done

    def _open_from(self, clock: int) -> int:
        """Return a start: windows before it are closed at an operator time, all others open."""
        return self._declared.windows.open_from(clock - self._declared.grace_ms)
