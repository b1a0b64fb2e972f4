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

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from penstock.operators.aggregation import Group
from penstock.operators.chunk import Chunk
from penstock.operators.operator import NOTHING
from penstock.operators.time import START, OperatorTime
from penstock.serde.sessions import KEY, Session, timer, timer_time
from penstock.serde.types import Serde, is_immutable
from penstock.state.definition import StoreDefinition
from penstock.state.overlay import Changes, Entry, Overlay
from penstock.windows import SessionWindows, Windowed

_NEVER = 2**62

Sessions = tuple[Session, ...]
Place = tuple[int, int]
Update = tuple[Windowed[bytes], Any, int]


class MergingFold(Protocol):
    """A fold whose results can be merged."""

    def step(self, entry: Entry | None, value: Any, timestamp: int, overlay: Any) -> Entry:
        """Fold one record into one entry."""
        ...

    def merge(self, earlier: Any, later: Any) -> Any:
        """Return the result of two."""
        ...


@dataclass(frozen=True)
class SessionAggregation:
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
    reads = NOTHING
    timed = True

    @property
    def open_ms(self) -> int:
        """How long after its last record a session takes others."""
        return self.windows.gap_ms + self.grace_ms

    def open(self, overlay: Overlay, *, coalesce: bool) -> "OpenSessions":
        """Bind the aggregation to the store of one task."""
        return OpenSessions(self, overlay, coalesce=coalesce)


class OpenSessions:
    """The sessions of one task.

    Attributes:
        dropped: records without key or value, until the task counts them.
        late: records that came too late for a session, until the task counts them.
    """

    wake_ms = None

    def __init__(self, declared: SessionAggregation, overlay: Overlay, *, coalesce: bool) -> None:
        self._declared = declared
        self._overlay = overlay
        self._coalesce = coalesce
        self._open_ms = declared.open_ms
        self._mutable = not is_immutable(declared.value)
        self._before: dict[bytes, set[Place]] = {}  # since the last flush, as are the next
        self._changed: dict[bytes, set[Place]] = {}
        self._earliest: int | None = None  # time of the first timer; None: nobody has looked
        self.dropped = self.late = 0

    def process(self, chunk: Chunk, time: OperatorTime = START) -> Chunk | None:
        """Fold a chunk; return its updates where they must not be coalesced."""
        group = Group(chunk, self._declared.key)
        self.dropped += group.dropped
        if not group.keys:
            return None
        keys = list(dict.fromkeys(group.keys))
        found = self._overlay.touch([KEY + key for key in keys])
        old: dict[bytes, Sessions] = {
            key: entry[0] if entry and entry[0] else ()
            for key, entry in zip(keys, found, strict=True)
        }
        sessions, latest = dict(old), dict[bytes, int]()
        updates: list[Update] = []
        for key, value, at, clock in zip(
            group.keys, group.values, group.timestamps, time.at_each(group.timestamps), strict=True
        ):
            near = self._near(sessions[key], at, clock)
            merged = self._merged(near, value, at, clock)
            if merged is None:
                self.late += 1
                continue
            rest = [of for of in sessions[key] if of not in near]
            sessions[key] = tuple(sorted([*rest, merged], key=_by_start))
            latest[key] = max(latest.get(key, at), at)
            self._note(key, old[key], merged)
            if not self._coalesce:
                updates += self._gone(key, {_place(of) for of in near} - {_place(merged)}, at)
                updates.append(
                    (Windowed(key, *_place(merged)), self.copy(merged.value), merged.end)
                )
        self._put(old, sessions, latest)
        return None if self._coalesce else self._chunk(updates)

    def _near(self, sessions: Sessions, at: int, clock: int) -> list[Session]:
        """Return the open sessions that a record belongs to; a closed one may still be there."""
        since = max(at - self._declared.windows.gap_ms, clock - self._open_ms)
        until = at + self._declared.windows.gap_ms
        return [of for of in sessions if of.end >= since and of.start <= until]

    def _merged(self, near: Sequence[Session], value: Any, at: int, clock: int) -> Session | None:
        """Return the session that a record makes of those near to it; None if it is late."""
        start, end = min([at, *[of.start for of in near]]), max([at, *[of.end for of in near]])
        if end + self._open_ms < clock:
            return None
        fold = self._declared.fold
        entry: Entry | None = None
        for of in near:
            entry = (of.value if entry is None else fold.merge(entry[0], of.value), of.end)
        return Session(start, end, fold.step(entry, value, at, self)[0])

    def _note(self, key: bytes, before: Sessions, changed: Session) -> None:
        self._before.setdefault(key, {_place(of) for of in before})
        self._changed.setdefault(key, set()).add(_place(changed))

    def _put(
        self, old: dict[bytes, Sessions], new: dict[bytes, Sessions], latest: dict[bytes, int]
    ) -> None:
        changes: dict[bytes, Entry] = {}
        for key, at in latest.items():
            changes[KEY + key] = (new[key], at)
            if not old[key] or _first_end(new[key]) < _first_end(old[key]):
                # Else there is a timer that comes in time, or early.
                changes[self._timer(new[key], key)] = ((), at)
        self._overlay.put(changes)

    def _timer(self, sessions: Sessions, key: bytes) -> bytes:
        """Return the timer that looks at a key's first session when it may be closed."""
        at = _first_end(sessions) + self._open_ms
        if self._earliest is not None:
            self._earliest = min(self._earliest, at)
        return timer(at, key)

    def updates(self, changes: Changes) -> Chunk:
        """Return what has changed since the last flush, by session."""
        before, changed = self._before, self._changed
        self._before, self._changed = {}, {}
        found: list[Update] = []
        for stored, value, at in zip(changes.keys, changes.values, changes.timestamps, strict=True):
            key = stored[1:]
            if stored[:1] != KEY or key not in changed:
                continue
            now: Sessions = value or ()
            found += self._gone(key, before[key] - {_place(of) for of in now}, at)
            found += [
                (Windowed(key, of.start, of.end), of.value, of.end)
                for of in now
                if _place(of) in changed[key]
            ]
        return self._chunk(found)

    def _gone(self, key: bytes, places: set[Place], at: int) -> list[Update]:
        return [(Windowed(key, *place), None, at) for place in sorted(places)]

    def is_due(self, clock: int) -> bool:
        """Whether a key is to be looked at, at an operator time."""
        if self._earliest is None:
            first = self._overlay.scan(timer(0, b""), KEY, 1)
            self._earliest = timer_time(first[0][0]) if first else _NEVER
        return self._earliest < clock

    def close(self, clock: int, now_ms: int, limit: int) -> tuple[Chunk | None, bool]:
        """Return the results of the sessions that operator time has closed, and delete them."""
        if not self.is_due(clock):
            return None, True
        self._earliest = None
        due = self._overlay.scan(timer(0, b""), timer(clock, b""), limit)
        if not due:
            return None, True
        done = len(due) < limit
        # In slices too, one that ends later is not returned before one that ends earlier.
        bound = clock - 1 if done else timer_time(due[-1][0])
        keys = list(dict.fromkeys(of[9:] for of, _ in due))
        changes: dict[bytes, Entry] = {of: (None, at) for of, (_, at) in due}
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
        finals.sort(key=lambda row: (row[0].end, row[0].start, row[0].key))
        return self._chunk(finals), done

    def discard(self) -> None:
        """Forget what the batch has changed: it was aborted."""
        self._before, self._changed = {}, {}
        self._earliest = None

    def copy(self, value: Any) -> Any:
        """Return a value that shares nothing with this one."""
        serde = self._declared.value
        return serde.decode(serde.encode(value)) if self._mutable and value is not None else value

    def _chunk(self, rows: Sequence[Update]) -> Chunk:
        decode = self._declared.key.decode
        return Chunk(
            [value for _, value, _ in rows],
            [at for _, _, at in rows],
            keys=[Windowed(decode(of.key), of.start, of.end) for of, _, _ in rows],
        )


def _first_end(sessions: Sessions) -> int:
    """When the first of them ends: a new one may begin before one that is closed."""
    return min([of.end for of in sessions])


def _by_start(session: Session) -> int:
    return session.start


def _place(session: Session) -> Place:
    return session.start, session.end
