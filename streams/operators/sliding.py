"""An aggregation in sliding windows: what a key has had within a time, whenever that changes.

What is in the window `[s, s + size]` changes with `s` at two kinds of places only: at `t - size`,
where a record at `t` comes in, and at `t + 1`, where it goes out. Between two such places all
windows are the same, so that one of them, the first, stands for all: these are the pieces.

    records at 10 and 14, size 10      0     4      11    15
    in the windows from there on       |-10--|-10,14-|-14-|-nothing

Rule 1: operator time is the largest event time so far. A window takes records while
        `start + size + grace >= operator time`; a record that no open window contains is late.
        Any other is in all open windows that contain it, those that come later too.
Rule 2: a window that has closed stays as it is until its result is read; then it is deleted, in
        one transaction. What was in the last one is the base, for windows yet to be cut from it.
Rule 3: no window begins before 1970: the one that begins there has all records up to `size`.
Rule 4: timers say which keys to look at, as for sessions; one that comes early is set again.

Kafka Streams' SlidingWindows (KStreamSlidingWindowAggregate); there a record whose own window
has closed is missing in windows that are created after it. An entry of the store has all windows
of a key: what a record costs, in time and in the changelog, grows with them.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import islice
from operator import attrgetter
from typing import Any, Protocol

from penstock.operators.aggregation import Group
from penstock.operators.by_key import OpenByKey, Update
from penstock.operators.chunk import Chunk
from penstock.operators.earliest import NEVER
from penstock.operators.late import InTime, Missed
from penstock.operators.time import START, OperatorTime
from penstock.serde.sessions import KEY
from penstock.serde.sliding import NONE, Piece, Sliding
from penstock.serde.timers import rest_of
from penstock.serde.types import Serde
from penstock.state.definition import StoreDefinition
from penstock.state.overlay import Changes, Entry, Overlay
from penstock.windows import SlidingWindows, Windowed

_EMPTY = Piece(-NEVER, -1, None)
_start = attrgetter("start")


class SteppingFold(Protocol):
    """A fold that takes one record at a time."""

    def step(self, entry: Entry | None, value: Any, timestamp: int, overlay: Any) -> Entry:
        """Fold one record into one entry."""
        ...


@dataclass(frozen=True)
class SlidingAggregation(InTime):
    """A fold over sliding windows.

    Attributes:
        fold: what is done with the records of one window.
        windows: their size.
        grace_ms: how long behind its end a window takes records.
        key: serde of the keys.
        value: serde of the results.
    """

    fold: SteppingFold
    windows: SlidingWindows
    grace_ms: int
    key: Serde[Any]
    value: Serde[Any]
    store: StoreDefinition

    @property
    def open_ms(self) -> int:
        """How long after its start a window takes records."""
        return self.windows.size_ms + self.grace_ms

    def open(self, overlay: Overlay, *, coalesce: bool) -> "OpenSliding":
        """Bind the aggregation to the store of one task."""
        return OpenSliding(self, overlay, coalesce=coalesce)


class Pieces:
    """The windows of one key while records are added to them.

    Args:
        state: what there is.
        size_ms: how long the windows are.
        copy: makes a value that shares nothing with its argument.

    >>> pieces = Pieces(NONE, 10, lambda value: value)
    >>> for at in (10, 14):
    ...     found = pieces.add(at, 0, lambda of: Piece(of.start, at, (of.value or 0) + 1))
    >>> [(of.start, of.value) for of in pieces.state().windows]
    [(0, 1), (4, 2), (11, 1), (15, None)]
    """

    def __init__(self, state: Sliding, size_ms: int, copy: Callable[[Any], Any]) -> None:
        self._closed: list[Piece] = []
        self._open = [state.base or _EMPTY, *state.windows]  # the base, and what is open
        self._size_ms = size_ms
        self._copy = copy

    def close_before(self, since: int) -> None:
        """Let nothing more into windows that begin before a time; the last one is the base."""
        stop = bisect_left(self._open, since, lo=1, key=_start)
        if stop > 1:
            last = self._open[stop - 1]
            self._closed += self._open[1:stop]
            self._open[:stop] = [last._replace(value=self._copy(last.value))]

    def add(self, at: int, since: int, step: Callable[[Piece], Piece]) -> list[Piece]:
        """Add a record to all windows that contain it.

        Args:
            at: its event time.
            since: the first start of windows that are open.
            step: adds it to one of them.

        Returns:
            the windows that have changed, in the order of their starts.
        """
        first = self._cut(max(0, at - self._size_ms))
        known = len(self._open)
        last = self._cut(at + 1)
        changed = self._open[first:last] = list(map(step, self._open[first:last]))
        behind = self._open[last]
        if len(self._open) > known and behind.value is not None:
            changed.append(behind)
        # One that was cut where windows have closed is the base now.
        del self._open[: bisect_left(self._open, since, lo=1, key=_start) - 1]
        return [piece for piece in changed if piece.start >= since]

    def _cut(self, start: int) -> int:
        """Let a window begin at a time, if that is behind the base; return where it is."""
        index = bisect_left(self._open, start, key=_start)
        if index and (index == len(self._open) or self._open[index].start != start):
            before = self._open[index - 1]
            self._open.insert(index, Piece(start, before.latest, self._copy(before.value)))
        return index

    def state(self) -> Sliding:
        """Return what there is now."""
        base = self._open[0]
        return Sliding(None if base is _EMPTY else base, (*self._closed, *self._open[1:]))


class OpenSliding(OpenByKey[SlidingAggregation]):
    """The sliding windows of one task."""

    def __init__(self, declared: SlidingAggregation, overlay: Overlay, *, coalesce: bool) -> None:
        super().__init__(declared, overlay, coalesce=coalesce)
        self._changed: dict[bytes, set[int]] = {}  # starts since the last flush

    def process(self, chunk: Chunk, time: OperatorTime = START) -> Chunk | None:
        """Fold a chunk; return its updates where they must not be coalesced."""
        group = Group(chunk, self._declared.key, with_offsets=True)
        self.dropped += group.dropped
        if not group.keys:
            return None
        old = self._states(dict.fromkeys(group.keys))
        size_ms = self._declared.windows.size_ms
        pieces = {key: Pieces(of, size_ms, self.copy) for key, (of, _) in old.items()}
        latest: dict[bytes, int] = {}
        updates: list[Update] = []
        rows = zip(
            group.keys, group.values, group.timestamps, time.at_each(group.timestamps), strict=True
        )
        for number, (key, value, at, clock) in enumerate(rows):
            since = clock - self._open_ms
            if at < max(0, since):
                self.late += 1
                self.late_count.add([group.offsets[number] if group.offsets else None])
                if group.offsets is not None and self._declared.late is not None:
                    missed = Missed(group.offsets[number], at, at - size_ms, at, clock)
                    self.missed.append(missed)
                continue
            pieces[key].close_before(since)
            changed = pieces[key].add(at, since, self._step(value, at))
            latest[key] = max(latest.get(key, old[key][1]), at)
            if self._coalesce:
                self._changed.setdefault(key, set()).update(map(_start, changed))
            else:
                updates += [self._update(key, of, self.copy(of.value)) for of in changed]
        self._put({key: (pieces[key].state(), at) for key, at in latest.items()}, old)
        return None if self._coalesce else self._chunk(updates)

    def _states(self, keys: dict[bytes, Any]) -> dict[bytes, tuple[Sliding, int]]:
        found = self._overlay.touch([KEY + key for key in keys])
        return {
            key: entry if entry and entry[0] is not None else (NONE, -1)
            for key, entry in zip(keys, found, strict=True)
        }

    def _step(self, value: Any, at: int) -> Callable[[Piece], Piece]:
        step = self._declared.fold.step

        def add(piece: Piece) -> Piece:
            entry = None if piece.value is None else (piece.value, piece.latest)
            result, latest = step(entry, value, at, self)
            # The record's own value must not be that of several windows.
            return Piece(piece.start, latest, self.copy(value) if result is value else result)

        return add

    def _put(
        self,
        new: dict[bytes, tuple[Sliding, int]],
        old: dict[bytes, tuple[Sliding, int]],
    ) -> None:
        changes: dict[bytes, Entry] = {}
        for key, (state, at) in new.items():
            changes[KEY + key] = (state, at)
            before = old[key][0].windows
            if not before or state.windows[0].start < before[0].start:
                # Else there is a timer that comes in time, or early.
                changes[self._timer(state, key)] = (NONE, at)
        self._overlay.put(changes)

    def _timer(self, state: Sliding, key: bytes) -> bytes:
        """Return the timer that looks at a key when its first window may be closed."""
        return self._timer_at(state.windows[0].start + self._open_ms, key)

    def updates(self, changes: Changes) -> Chunk:
        """Return what has changed since the last flush, by window."""
        changed, self._changed = self._changed, {}
        found: list[Update] = []
        for stored, state in zip(changes.keys, changes.values, strict=True):
            key = stored[1:]
            if stored[:1] == KEY and key in changed and state is not None:
                windows = [of for of in state.windows if of.start in changed[key]]
                found += [self._update(key, of, of.value) for of in windows]
        return self._chunk(found)

    def close(self, clock: int, now_ms: int, limit: int) -> tuple[Chunk | None, bool]:
        """Return the results of the windows that operator time has closed, and delete them."""
        due = self._due(clock, limit)
        if not due:
            return None, True
        states = self._states(dict.fromkeys(rest_of(of) for of, _ in due))
        last = clock - 1 - self._open_ms
        closed = merge(*[_closed(key, state, last) for key, (state, _) in states.items()])
        # Each timer is one of these windows: so no key that is not due yet has an earlier one.
        finals = list(islice(closed, limit))
        done = len(due) < limit and next(closed, None) is None
        changes: dict[bytes, Entry] = dict(due)
        counts = Counter(key for _, key, _ in finals)
        for key, (state, at) in states.items():
            if left := self._without(state, counts[key]):
                changes[self._timer(left, key)] = (NONE, at)
            if counts[key]:
                changes[KEY + key] = (left, at)
        self._overlay.put(changes)
        if not self.finals:
            return None, done
        return self._chunk([
            self._update(key, of, of.value) for _, key, of in finals if of.value is not None
        ]), done  # fmt: skip

    def _without(self, state: Sliding, count: int) -> Sliding | None:
        """Return what is left without the first windows, None if that is nothing.

        Behind the last window there is no record: nothing of what was in it is needed then.
        """
        windows = state.windows[count:]
        if not windows:
            return None
        base = state.base
        if count and (base is None or base.start < state.windows[count - 1].start):
            last = state.windows[count - 1]
            base = last._replace(value=self.copy(last.value))  # the other one goes out
        return Sliding(base, windows)

    def discard(self) -> None:
        """Forget what the batch has changed: it was aborted."""
        super().discard()
        self._changed = {}

    def _update(self, key: bytes, of: Piece, value: Any) -> Update:
        end = of.start + self._declared.windows.size_ms
        return Windowed(key, of.start, end), value, of.latest


def _closed(key: bytes, state: Sliding, last: int) -> Iterator[tuple[int, bytes, Piece]]:
    """Yield the windows of a key that begin up to a time, in their order."""
    for piece in state.windows:
        if piece.start > last:
            return
        yield piece.start, key, piece
