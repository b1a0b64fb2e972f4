"""An aggregation in sessions: the records of a key that follow each other within a gap.

Rule 1: operator time is the largest event time so far. A session takes a record while
        `end + gap + grace >= operator time`; where a record joins sessions, the merged one counts.
        A closed session takes none, though a record follows it within the gap.
Rule 2: a session is closed from then on: its result is read and its state deleted, in one
        transaction. Timers say which keys to look at; one that comes early is set again.
Rule 3: an update of a batch is what its sessions are afterwards; one that was merged into another,
        or has another start or end now, is deleted under its old key.

Kafka Streams' SessionWindows (KStreamSessionWindowAggregate); a timer per key instead of segments.
"""

from bisect import insort
from dataclasses import dataclass
from typing import Any, Protocol

from penstock.operators.aggregation import Group
from penstock.operators.by_key import OpenByKey, Update
from penstock.operators.chunk import Chunk
from penstock.operators.late import InTime, Missed
from penstock.operators.time import START, OperatorTime
from penstock.serde.sessions import KEY, Session
from penstock.serde.timers import rest_of, time_of
from penstock.serde.types import Serde
from penstock.state.definition import StoreDefinition
from penstock.state.overlay import Changes, Entry, Overlay
from penstock.windows import SessionWindows, Windowed

Sessions = tuple[Session, ...]
Place = tuple[int, int]


class MergingFold(Protocol):
    """A fold whose results can be merged."""

    def step(self, entry: Entry | None, value: Any, timestamp: int, overlay: Any) -> Entry:
        """Fold one record into one entry."""
        ...

    def merge(self, earlier: Any, later: Any) -> Any:
        """Return the result of two."""
        ...


@dataclass(frozen=True)
class SessionAggregation(InTime):
    """A fold over sessions.

    Attributes:
        fold: what is done with the records of one session.
        windows: the gap.
        grace_ms: how long behind its gap a session takes records.
        key: serde of the keys.
        value: serde of the results.
    """

    fold: MergingFold
    windows: SessionWindows
    grace_ms: int
    key: Serde[Any]
    value: Serde[Any]
    store: StoreDefinition

    @property
    def open_ms(self) -> int:
        """How long after its last record a session takes others."""
        return self.windows.gap_ms + self.grace_ms

    def open(self, overlay: Overlay, *, coalesce: bool) -> "OpenSessions":
        """Bind the aggregation to the store of one task."""
        return OpenSessions(self, overlay, coalesce=coalesce)


class _Working:
    """A session while a chunk is folded."""

    __slots__ = ("changed", "end", "start", "value")

    def __init__(self, start: int, end: int, value: Any, *, changed: bool = False) -> None:
        self.start, self.end, self.value = start, end, value
        self.changed = changed

    @property
    def place(self) -> Place:
        return self.start, self.end


class _Work:
    """The sessions of one key while a chunk is folded, by their starts."""

    __slots__ = ("before", "latest", "sessions")

    def __init__(self, before: Sessions) -> None:
        self.before = before
        self.sessions = [_Working(*each) for each in before]
        self.latest = -1  # of the records that joined


Joined = tuple[_Working, set[Place]]  # with the places of what it was made of


class OpenSessions(OpenByKey[SessionAggregation]):
    """The sessions of one task."""

    def __init__(self, declared: SessionAggregation, overlay: Overlay, *, coalesce: bool) -> None:
        super().__init__(declared, overlay, coalesce=coalesce)
        self._before: dict[bytes, set[Place]] = {}  # since the last flush, as are the next
        self._changed: dict[bytes, set[Place]] = {}

    def process(self, chunk: Chunk, time: OperatorTime = START) -> Chunk | None:
        """Fold a chunk; return its updates where they must not be coalesced."""
        group = Group(chunk, self._declared.key, with_offsets=True)
        self.dropped += group.dropped
        if not group.keys:
            return None
        keys = list(dict.fromkeys(group.keys))
        entries = self._overlay.touch([KEY + key for key in keys])
        work = {
            key: _Work(entry[0] if entry and entry[0] else ())
            for key, entry in zip(keys, entries, strict=True)
        }
        updates: list[Update] = []
        late: list[tuple[int, int, int]] = []  # index, event time, operator time
        rows = zip(
            group.keys, group.values, group.timestamps, time.at_each(group.timestamps), strict=True
        )
        for number, (key, value, at, clock) in enumerate(rows):
            of = work[key]
            joined = self._join_last(of, value, at, clock) or self._join(of, value, at, clock)
            if joined is None:
                late.append((number, at, clock))
            elif not self._coalesce:
                session, gone = joined
                updates += self._gone(key, gone - {session.place})
                row = (Windowed(key, *session.place), self.copy(session.value), session.end)
                updates.append(row)
        self.late += len(late)
        self.late_count.add(group.offsets[row] if group.offsets else None for row, _, _ in late)
        if group.offsets is not None and self._declared.late is not None:
            self.missed += [
                Missed(group.offsets[row], at, at, at, clock) for row, at, clock in late
            ]
        self._put(work)
        return None if self._coalesce else self._chunk(updates)

    def _join_last(self, of: "_Work", value: Any, at: int, clock: int) -> "Joined | None":
        """Add a record that comes in order to the last session; None if it does not belong there.

        None of those before can be near to it: where it is, a gap lies between.
        """
        last = of.sessions[-1] if of.sessions else None
        since = max(at - self._declared.windows.gap_ms, clock - self._open_ms)
        if last is None or at < last.start or last.end < since:
            return None
        gone = set[Place]() if self._coalesce else {last.place}
        last.value = self._declared.fold.step((last.value, last.end), value, at, self)[0]
        last.end = max(last.end, at)
        last.changed = True
        of.latest = max(of.latest, at)
        return last, gone

    def _join(self, of: "_Work", value: Any, at: int, clock: int) -> "Joined | None":
        """Merge the sessions near to a record with it; None if it is late."""
        gap_ms, fold = self._declared.windows.gap_ms, self._declared.fold
        since = max(at - gap_ms, clock - self._open_ms)  # a closed one may still be there
        near = [each for each in of.sessions if each.end >= since and each.start <= at + gap_ms]
        start = min([at, *[each.start for each in near]])
        end = max([at, *[each.end for each in near]])
        if end + self._open_ms < clock:
            return None
        entry: Entry | None = None
        for each in near:
            held = each.value if entry is None else fold.merge(entry[0], each.value)
            entry = (held, each.end)
        merged = _Working(start, end, fold.step(entry, value, at, self)[0], changed=True)
        of.sessions = [each for each in of.sessions if each not in near]
        insort(of.sessions, merged, key=_start)
        of.latest = max(of.latest, at)
        return merged, {each.place for each in near}

    def _put(self, work: "dict[bytes, _Work]") -> None:
        changes: dict[bytes, Entry] = {}
        for key, of in work.items():
            if of.latest < 0:
                continue
            if self._coalesce:
                places = {each.place for each in of.sessions if each.changed}
                self._before.setdefault(key, set(map(_place, of.before)))
                self._changed.setdefault(key, set()).update(places)
            now = tuple([Session(each.start, each.end, each.value) for each in of.sessions])
            changes[KEY + key] = (now, of.latest)
            if not of.before or _first_end(now) < _first_end(of.before):
                # Else there is a timer that comes in time, or early.
                changes[self._timer(now, key)] = ((), of.latest)
        self._overlay.put(changes)

    def _timer(self, sessions: Sessions, key: bytes) -> bytes:
        """Return the timer that looks at a key's first session when it may be closed."""
        return self._timer_at(max(0, _first_end(sessions) + self._open_ms), key)

    def updates(self, changes: Changes) -> Chunk:
        """Return what has changed since the last flush, by session."""
        before, changed = self._before, self._changed
        self._before, self._changed = {}, {}
        found: list[Update] = []
        for stored, value in zip(changes.keys, changes.values, strict=True):
            key = stored[1:]
            if stored[:1] != KEY or key not in changed:
                continue
            now: Sessions = value or ()
            found += self._gone(key, before[key] - {_place(of) for of in now})
            found += [
                (Windowed(key, of.start, of.end), of.value, of.end)
                for of in now
                if _place(of) in changed[key]
            ]
        return self._chunk(found)

    def contents(self, most: int) -> Chunk:
        """Return the open sessions of the first keys as records."""
        found = self._overlay.scan(KEY, None, most)
        return self._chunk(
            [
                (Windowed(stored[1:], of.start, of.end), of.value, of.end)
                for stored, (sessions, _) in found
                for of in sessions
            ]
        )

    def _gone(self, key: bytes, places: set[Place]) -> list[Update]:
        """Delete sessions; that is as old as they are, as in Kafka Streams."""
        return [(Windowed(key, *place), None, place[1]) for place in sorted(places)]

    def close(self, clock: int, now_ms: int, limit: int) -> tuple[Chunk | None, bool]:
        """Return the results of the sessions that operator time has closed, and delete them."""
        # Where all that was changed was undone, there was nothing to hand on.
        self._before, self._changed = {}, {}
        due = self._due(clock, limit)
        if not due:
            return None, True
        done = len(due) < limit
        # In slices too, one that ends later is not returned before one that ends earlier.
        bound = clock - 1 if done else time_of(due[-1][0])
        keys = list(dict.fromkeys(rest_of(of) for of, _ in due))
        changes: dict[bytes, Entry] = dict(due)
        finals: list[Update] = []
        for key, entry in zip(keys, self._overlay.touch([KEY + key for key in keys]), strict=True):
            if entry is None or not entry[0]:
                continue
            sessions, at = entry
            closed = [of for of in sessions if of.end + self._open_ms <= bound]
            left = tuple([of for of in sessions if of.end + self._open_ms > bound])
            finals += [(Windowed(key, of.start, of.end), of.value, of.end) for of in closed]
            if closed:
                changes[KEY + key] = (left or None, at)
            if left:
                changes[self._timer(left, key)] = ((), at)
        self._overlay.put(changes)
        if not self.finals:
            return None, done
        finals.sort(key=lambda row: (row[0].end, row[0].start, row[0].key))
        return self._chunk(finals), done

    def discard(self) -> None:
        """Forget what the batch has changed: it was aborted."""
        super().discard()
        self._before, self._changed = {}, {}


def _first_end(sessions: Sessions) -> int:
    """When the first of them ends: a new one may begin before one that is closed."""
    return min([of.end for of in sessions])


def _start(session: "_Working") -> int:
    return session.start


def _place(session: Session) -> Place:
    return session.start, session.end
