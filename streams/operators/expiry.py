"""State that expires: what was not written for its time to live is deleted from the store.

What has expired reads as absent at once, by the time of its entry. Here is what makes it leave
the disk: beside each entry stands a note of when to look at it. Times of notes are rounded up to
a 16th of the time to live, so that an entry that is always written has a few of them at most.
"""

from collections.abc import Callable, Mapping

from penstock.operators.earliest import Earliest
from penstock.serde.timers import EXPIRES, LAST_TIME, rest_of, sized, split, time_of, timed
from penstock.state.overlay import Entry, Overlay

_PARTS = 16

Expire = Callable[[bytes, int], int | None]
"""Delete an entry if it has expired at a time; else return when it was written."""


class Expiry:
    """The notes of all states of a processor that expire.

    Args:
        overlay: the store of the processor's timers.
        ttls: milliseconds that they live, by name.
    """

    def __init__(self, overlay: Overlay, ttls: Mapping[str, int]) -> None:
        self._overlay = overlay
        self._ttls = {name.encode(): ttl for name, ttl in ttls.items()}
        self._expire: dict[bytes, Expire] = {}
        self._earliest = Earliest(self._first_note)

    def add(self, name: str, expire: Expire) -> None:
        """Have a state's entries expired by a function."""
        self._expire[name.encode()] = expire

    def written(self, name: str, key: bytes, before: int | None, now: int) -> None:
        """Note that an entry is written.

        Args:
            name: of the state.
            key: of the entry.
            before: when it was written before, None for never.
            now: event time.
        """
        encoded = name.encode()
        ttl = self._ttls[encoded]
        look_at = _rounded(now + ttl, ttl)
        if before is None or _rounded(before + ttl, ttl) != look_at:
            self._note(look_at, sized(encoded) + key, now)

    def discard(self) -> None:
        """Forget what was noted: the batch was aborted."""
        self._earliest.forget()

    def flushed(self) -> None:
        """Take note that all was flushed."""
        self._earliest.flushed()

    def expire(self, clock: int, limit: int) -> bool:
        """Delete what has expired of what was flushed; return whether that was all.

        Args:
            clock: event time.
            limit: how many entries to look at.
        """
        if self._earliest.first() > clock:
            return True
        self._earliest.passed()
        stop = timed(EXPIRES, min(clock, LAST_TIME) + 1, b"")
        notes = self._overlay.scan(EXPIRES, stop, limit, values=False)
        self._overlay.put(dict(notes))
        for note, _ in notes:
            self._look(rest_of(note), clock)
        return len(notes) < limit

    def _first_note(self) -> int | None:
        first = self._overlay.scan(EXPIRES, EXPIRES + b"\xff", 1, values=False)
        return time_of(first[0][0]) if first else None

    def _look(self, rest: bytes, clock: int) -> None:
        name, key = split(rest)
        expire = self._expire.get(name)
        if expire is None:
            return  # of a state that expires no more
        written = expire(key, clock)
        if written is not None:
            ttl = self._ttls[name]
            self._note(_rounded(written + ttl, ttl), rest, written)

    def _note(self, look_at: int, rest: bytes, now: int) -> None:
        self._earliest.add(look_at)
        entry: Entry = ((), now)
        self._overlay.put({timed(EXPIRES, look_at, rest): entry})


def _rounded(time: int, ttl: int) -> int:
    """Return a time by which an entry that expires at another has expired, soon after that."""
    part = max(1, ttl // _PARTS)
    return min(-(-time // part) * part, LAST_TIME)
