"""Windows: how event time is cut, and the key that a result has in one.

    tumbling("1m")            |--1--|--2--|--3--|       every instant is in one
    hopping("10m", "5m")      |-----1-----|             every instant is in size / advance
                                    |-----2-----|

Windows are aligned to the epoch. A start belongs to its window, an end does not.
"""

import datetime
from dataclasses import dataclass
from typing import Generic

import msgspec
from typing_extensions import TypeVar

from penstock.durations import Duration, milliseconds
from penstock.errors import TopologyError

K_co = TypeVar("K_co", covariant=True)


class Windowed(msgspec.Struct, Generic[K_co], frozen=True, order=True, gc=False):
    """A key in a window.

    Attributes:
        key: the key.
        start: first millisecond of the window, since the epoch, UTC.
        end: first millisecond behind it.
    """

    key: K_co
    start: int
    end: int


@dataclass(frozen=True)
class TimeWindows:
    """Windows of one size that begin at regular times.

    Attributes:
        size_ms: from the start to the end.
        advance_ms: from one start to the next.
    """

    size_ms: int
    advance_ms: int

    def describe(self) -> str:
        """Return them as text: equal text means that state can be read."""
        return f"windows {self.size_ms}/{self.advance_ms}"

    def starts(self, timestamp: int) -> range:
        """Return where the windows of an instant begin, the earliest first; none before 1970."""
        last = timestamp - timestamp % self.advance_ms
        first = (
            last
            - (self.size_ms - 1 - timestamp % self.advance_ms) // self.advance_ms * self.advance_ms
        )
        return range(max(0, first), last + 1, self.advance_ms)


@dataclass(frozen=True)
class SessionWindows:
    """Sessions that a gap ends.

    Attributes:
        gap_ms: as long may pass between two records of one session.
    """

    gap_ms: int

    def describe(self) -> str:
        """Return them as text: equal text means that state can be read."""
        return f"gap {self.gap_ms}"


def tumbling(size: Duration) -> TimeWindows:
    """Cut event time into windows that neither overlap nor leave a gap.

    Args:
        size: how long each is.

    Raises:
        TopologyError: if the size is nothing.

    >>> tumbling("10s").starts(12_345)
    range(10000, 10001, 10000)
    """
    size_ms = _positive("size", size)
    return TimeWindows(size_ms, size_ms)


def hopping(size: Duration, advance: Duration) -> TimeWindows:
    """Cut event time into windows that overlap: each record is in size / advance of them.

    Args:
        size: how long each is.
        advance: how far one begins behind the one before.

    Raises:
        TopologyError: if one of them is nothing, or windows would leave gaps.

    >>> list(hopping("10s", "5s").starts(12_345))
    [5000, 10000]
    """
    size_ms, advance_ms = _positive("size", size), _positive("advance", advance)
    if advance_ms > size_ms:
        raise TopologyError(
            f"advance={advance!r} is larger than size={size!r}: records between two windows would"
            " be in none. Use an advance of at most the size."
        )
    return TimeWindows(size_ms, advance_ms)


def session(gap: Duration) -> SessionWindows:
    """Cut event time where a key is silent: one session for records that follow each other soon.

    Args:
        gap: as long may pass between two records of one session.

    Raises:
        TopologyError: if the gap is nothing.
    """
    return SessionWindows(_positive("gap", gap))


def _positive(name: str, duration: Duration) -> int:
    found = milliseconds(duration)
    if found < 1:
        shown = duration if isinstance(duration, str) else str(duration)
        raise TopologyError(f"{name}={shown!r} of a window is nothing. Use 1 ms or more.")
    return found


def moment(timestamp: int) -> str:
    """Show a time as text."""
    return datetime.datetime.fromtimestamp(timestamp / 1000, datetime.UTC).isoformat()
