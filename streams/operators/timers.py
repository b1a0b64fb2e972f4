"""The timers of a processor in one task: kept in a store, the earliest ones in memory too.

Rule 1: the store says what is set; memory says where to look next. What memory has is looked up
        before it fires, so what was moved, cancelled or undone since is passed over.
Rule 2: memory has all that stands in the store in front of its `_edge`, and all that was set
        since the last flush. Only what was flushed can be read in order.
Rule 3: timers fire in the order of their times, then of their keys and names: in the same one
        however the input is cut.
"""

from heapq import heapify, heappop, heappush

from penstock.serde.timers import (
    LAST_TIME,
    NAMED,
    ORDER,
    Clock,
    Filed,
    rest_of,
    sized,
    split,
    time_of,
    timed,
)
from penstock.state.overlay import Entry, Overlay

NEVER = 2**63
PAGE = 4_000  # timers that are read at a time
MOST = 50_000  # timers that stay in memory, for each clock
_UNKNOWN = -1


class Due:
    """A timer that has come due.

    Attributes:
        raw: bytes of its key.
        at: the time that it was set for.
        set_at: event time when it was set.
        depth: how many timers, due at once, have set each other before it.
    """

    __slots__ = ("at", "clock", "depth", "name", "raw", "set_at")

    def __init__(self, rest: bytes, filed: Filed, set_at: int, depth: int) -> None:
        self.raw, name = split(rest)
        self.name = name.decode()
        self.at, _, clock = filed
        self.clock: Clock = clock
        self.set_at = set_at
        self.depth = depth


class Queue:
    """The timers of one clock, the earliest first.

    Attributes:
        next_at: nothing is due before it.
    """

    def __init__(self, overlay: Overlay, prefix: bytes) -> None:
        self._overlay = overlay
        self._prefix = prefix
        self._end = prefix + b"\xff"
        self.forget()

    def forget(self) -> None:
        """Begin anew with what is committed."""
        self._heap: list[bytes] = []
        self._taken: list[bytes] = []
        self._edge = self._prefix
        self.next_at = _UNKNOWN

    def undo(self) -> None:
        """Have again what was taken since the last flush."""
        self._heap += self._taken
        heapify(self._heap)
        self._taken = []
        self._look()

    def add(self, key: bytes, at: int) -> None:
        """File a timer."""
        heappush(self._heap, key)
        if at < self.next_at:
            self.next_at = at

    def take(self, until: int) -> bytes | None:
        """Return the first that is due, None if none is."""
        while self.next_at <= until:
            if self._heap and self._heap[0] < self._edge and time_of(self._heap[0]) <= until:
                key = heappop(self._heap)
                self._taken.append(key)
                return key
            if self._edge < timed(self._prefix, until + 1, b""):
                self._read()
            self._look()
        return None

    def first(self) -> int:
        """Return when the first may be due."""
        if self.next_at == _UNKNOWN:
            self._read()
            self._look()
        return self.next_at

    def flushed(self) -> None:
        """Keep the earliest ones only: all are in the store now."""
        self._taken = []
        if len(self._heap) > MOST:
            kept = sorted(set(self._heap))
            if len(kept) > MOST // 2:
                self._edge = min(self._edge, kept[MOST // 2])
            self._heap = kept[: MOST // 2]

    def _read(self) -> None:
        rows = self._overlay.scan(self._edge, self._end, PAGE)
        self._heap += [key for key, _ in rows]
        heapify(self._heap)
        self._edge = self._end if len(rows) < PAGE else rows[-1][0] + b"\0"

    def _look(self) -> None:
        first = self._heap[0] if self._heap else self._end
        first = min(first, self._edge)
        if first == self._end:
            self.next_at = NEVER
        else:
            self.next_at = _UNKNOWN if first == self._prefix else time_of(first)


class Timers:
    """What is set, for both clocks."""

    def __init__(self, overlay: Overlay) -> None:
        self._overlay = overlay
        self.queues: dict[Clock, Queue] = {
            clock: Queue(overlay, prefix) for clock, prefix in ORDER.items()
        }
        self._names: dict[str, bytes] = {}
        self._depths: dict[bytes, int] = {}
        self._firing: Due | None = None

    def set(self, raw: bytes, name: str, at: int, clock: Clock, now: int) -> None:
        """Set a timer of a key: 2 us.

        Args:
            raw: bytes of the key.
            name: which of its timers.
            at: when it fires.
            clock: of which clock that is.
            now: event time.
        """
        if type(at) is not int or not 0 <= at <= LAST_TIME or clock not in ORDER:
            at = _checked(name, at, clock)
        rest = self._rest(raw, name)
        named = NAMED + rest
        if self._firing is not None:
            self._note_depth(named, at, clock)
        entry = self._overlay.get(named)
        filed: Filed | None = None if entry is None else entry[0]
        if filed is not None and filed[2] == clock and filed[1] <= at:
            self._overlay.put({named: ((at, filed[1], clock), now)})
            return
        key = timed(ORDER[clock], at, rest)
        changed: dict[bytes, Entry] = {named: ((at, at, clock), now), key: ((), now)}
        if filed is not None:
            changed[_key(filed, rest)] = (None, now)
        self._overlay.put(changed)
        self.queues[clock].add(key, at)

    def cancel(self, raw: bytes, name: str, now: int) -> None:
        """Forget a timer of a key."""
        rest = self._rest(raw, name)
        named = NAMED + rest
        entry = self._overlay.get(named)
        if entry is not None and entry[0] is not None:
            self._overlay.put({named: (None, now), _key(entry[0], rest): (None, now)})

    def take(self, clock: Clock, until: int) -> Due | None:
        """Take the first timer of a clock that is due, None if none is."""
        queue = self.queues[clock]
        while (key := queue.take(until)) is not None:
            rest = rest_of(key)
            named = NAMED + rest
            entry = self._overlay.get(named)
            if entry is None or entry[0] is None:
                continue
            filed: Filed = entry[0]
            at, under, _ = filed
            if _key(filed, rest) != key:
                continue
            if at > under:
                self._file_again(key, named, filed, entry[1])
                continue
            self._overlay.put({key: (None, entry[1]), named: (None, entry[1])})
            return Due(rest, filed, entry[1], self._depths.pop(named, 0))
        return None

    def settled(self) -> None:
        """Note that none is due any more: those that are set wait for time to go on."""
        self._depths.clear()

    def firing(self, due: Due | None) -> None:
        """Note which timer is being fired, None for none."""
        self._firing = due

    def forget(self) -> None:
        """Begin anew with what is committed."""
        self._depths.clear()
        self._firing = None
        for queue in self.queues.values():
            queue.forget()

    def undo(self) -> None:
        """Have again what was taken since the last flush."""
        self._depths.clear()
        self._firing = None
        for queue in self.queues.values():
            queue.undo()

    def flushed(self) -> None:
        """Keep the earliest ones in memory only: all are in the store now."""
        for queue in self.queues.values():
            queue.flushed()

    def _file_again(self, key: bytes, named: bytes, filed: Filed, now: int) -> None:
        """File a timer that was moved under the time that it has now."""
        at, _, clock = filed
        again = timed(ORDER[clock], at, rest_of(key))
        self._overlay.put({key: (None, now), again: ((), now), named: ((at, at, clock), now)})
        self.queues[clock].add(again, at)

    def _rest(self, raw: bytes, name: str) -> bytes:
        encoded = self._names.get(name)
        if encoded is None:
            if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(f"the name of a timer is text, not {name!r}")
            encoded = name.encode()
            if len(self._names) < PAGE:  # names may be made of values
                self._names[name] = encoded
        return sized(raw) + encoded

    def _note_depth(self, named: bytes, at: int, clock: Clock) -> None:
        firing = self._firing
        if firing is not None and (clock != firing.clock or at <= firing.at):
            self._depths[named] = firing.depth + 1


def _key(filed: Filed, rest: bytes) -> bytes:
    """Return where a timer is filed."""
    return timed(ORDER[filed[2]], filed[1], rest)


def _checked(name: str, at: int, clock: Clock) -> int:
    if clock not in ORDER:
        raise ValueError(f"clock={clock!r} of the timer {name!r}: use 'event' or 'wall'")
    if isinstance(at, bool) or not isinstance(at, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"at={at!r} of the timer {name!r}: use milliseconds as a whole number")
    if at > LAST_TIME:
        raise ValueError(f"at={at} of the timer {name!r} is too far away")
    return max(0, at)
