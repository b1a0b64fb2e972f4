"""Windows: how event time is cut, and the key that a result has in one.

    tumbling("1m")            |--1--|--2--|--3--|       every instant is in one
    hopping("10m", "5m")      |-----1-----|             every instant is in size / advance
                                    |-----2-----|
    sliding("10m")            |-----*-----|             one before each record, and one behind it
    session("5m")             |*--*---*|     |*-*|      as long as records follow each other

Tumbling and hopping windows are aligned to the epoch, or to an offset or a time zone. A start
belongs to its window; their end does not, that of sliding windows and sessions does.
"""

import datetime
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic

import msgspec
from typing_extensions import TypeVar

from penstock.durations import Duration, milliseconds
from penstock.errors import TopologyError
from penstock.zones import Calendar, calendar

K_co = TypeVar("K_co", covariant=True)


class Windowed(msgspec.Struct, Generic[K_co], frozen=True, order=True, gc=False):
    """A key in a window.

    Attributes:
        key: the key.
        start: first millisecond of the window, since the epoch, UTC.
        end: first millisecond behind it; of sliding windows and sessions their last one.
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
        offset_ms: from the epoch to a start.
    """

    size_ms: int
    advance_ms: int
    offset_ms: int = 0

    @property
    def longest_ms(self) -> int:
        """How long the longest of them is."""
        return self.size_ms

    @property
    def overlap(self) -> bool:
        """Whether an instant can be in several."""
        return self.size_ms != self.advance_ms

    def describe(self) -> str:
        """Return them as text: equal text means that state can be read."""
        text = f"windows {self.size_ms}/{self.advance_ms}"
        return f"{text}+{self.offset_ms}" if self.offset_ms else text

    def starts(self, timestamp: int) -> range:
        """Return where the windows of an instant begin, the earliest first.

        Without an offset, none of an instant since 1970 begins before 1970, as in Kafka Streams.
        """
        into = (timestamp - self.offset_ms) % self.advance_ms
        last = timestamp - into
        first = last - (self.size_ms - 1 - into) // self.advance_ms * self.advance_ms
        return range(
            first if self.offset_ms or last < 0 else max(0, first), last + 1, self.advance_ms
        )

    def last_starts(self, timestamps: Sequence[int]) -> list[int]:
        """Return where the last window of each instant begins.

        It takes 60 ns each; 8 ns where they are in order, and many of them begin in one window.
        """
        advance, offset = self.advance_ms, self.offset_ms
        if not _is_dense(timestamps, advance):
            return [at - (at - offset) % advance for at in timestamps]
        found: list[int] = []
        while len(found) < len(timestamps):
            at = timestamps[len(found)]
            start = at - (at - offset) % advance
            behind = bisect_left(timestamps, start + advance, len(found))
            found += [start] * (behind - len(found))
        return found

    def end(self, start: int) -> int:
        """Return where the window of a start ends."""
        return start + self.size_ms

    def open_from(self, time: int) -> int:
        """Return a start: windows before it have ended at a time, all others have not."""
        return time - self.size_ms + 1

    def open_from_each(self, times: Sequence[int]) -> list[int]:
        """Return the same for each of many times: 20 ns each."""
        shift = 1 - self.size_ms
        return [time + shift for time in times]

    def first_from(self, start: int) -> int | None:
        """Return the first start that is not before another time, None where it is not known."""
        return start + (self.offset_ms - start) % self.advance_ms


@dataclass(frozen=True)
class ZonedWindows:
    """Windows that begin when the clocks of a time zone say so; they do not overlap.

    Attributes:
        calendar: where they begin.
    """

    calendar: Calendar
    overlap = False

    @property
    def longest_ms(self) -> int:
        """How long the longest of them is."""
        return self.calendar.longest_ms

    def describe(self) -> str:
        """Return them as text: equal text means that state can be read."""
        return f"windows {self.calendar.describe()}"

    def starts(self, timestamp: int) -> range:
        """Return where the window of an instant begins, as the only one."""
        start = self.calendar.start(timestamp)
        return range(start, start + 1)

    def last_starts(self, timestamps: Sequence[int]) -> list[int]:
        """Return where the window of each instant begins."""
        return list(map(self.calendar.start, timestamps))

    def end(self, start: int) -> int:
        """Return where the window of a start ends."""
        return self.calendar.end(start)

    def open_from(self, time: int) -> int:
        """Return a start: windows before it have ended at a time, all others have not."""
        return self.calendar.start(time)

    def open_from_each(self, times: Sequence[int]) -> list[int]:
        """Return the same for each of many times."""
        return list(map(self.open_from, times))

    def first_from(self, start: int) -> int | None:
        """Return None: clocks decide, and they are looked up where a window is."""
        return None


@dataclass(frozen=True)
class SlidingWindows:
    """Windows of one size that end at a record, or begin behind one.

    Attributes:
        size_ms: from the start to the end, which both belong to them.
    """

    size_ms: int

    def describe(self) -> str:
        """Return them as text: equal text means that state can be read."""
        return f"sliding {self.size_ms}"


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


Windows = TimeWindows | ZonedWindows | SlidingWindows | SessionWindows


def tumbling(
    size: Duration, *, offset: Duration = "0s", zone: str | None = None
) -> TimeWindows | ZonedWindows:
    """Cut event time into windows that neither overlap nor leave a gap.

    With a zone, windows begin by its clocks: a day has 23 or 25 hours where they change. A
    window of some hours goes from one clock time to another, so one in which clocks are turned
    back is an hour longer, one in which they are turned forward an hour shorter.

    Args:
        size: how long each is.
        offset: how far behind the epoch, or behind midnight of the zone, one of them begins.
        zone: a time zone by its IANA name, such as "Europe/Madrid"; UTC if left out. It takes
            sizes of whole days, or of 1, 2, 3, 4, 6, 8 or 12 hours.

    Raises:
        TopologyError: if the size is nothing, the offset is not shorter than the size, the zone
            is not known, or its days are no multiple of the size.

    >>> tumbling("10s").starts(12_345)
    range(10000, 10001, 10000)
    >>> day = tumbling("1d", zone="Europe/Madrid")
    >>> (day.end(1_743_289_200_000) - 1_743_289_200_000) / 3_600_000  # 30 March 2025
    23.0
    """
    size_ms = _positive("size", size)
    offset_ms = _offset(offset, "size", size_ms)
    if zone is not None:
        return ZonedWindows(calendar(size_ms, offset_ms, zone))
    return TimeWindows(size_ms, size_ms, offset_ms)


def hopping(size: Duration, advance: Duration, *, offset: Duration = "0s") -> TimeWindows:
    """Cut event time into windows that overlap: each record is in size / advance of them.

    Args:
        size: how long each is.
        advance: how far one begins behind the one before.
        offset: how far behind the epoch one of them begins.

    Raises:
        TopologyError: if size or advance is nothing, windows would leave gaps, or the offset is
            not shorter than the advance.

    >>> list(hopping("10s", "5s").starts(12_345))
    [5000, 10000]
    """
    size_ms, advance_ms = _positive("size", size), _positive("advance", advance)
    if advance_ms > size_ms:
        raise TopologyError(
            f"advance={advance!r} is larger than size={size!r}: records between two windows would"
            " be in none. Use an advance of at most the size."
        )
    return TimeWindows(size_ms, advance_ms, _offset(offset, "advance", advance_ms))


def sliding(size: Duration) -> SlidingWindows:
    """Look at what a key has had within a time, whenever that changes.

    Each record at `t` makes the window `[t - size, t]` that ends with it, and `[t + 1,
    t + 1 + size]` as soon as there is something in it: one window for each distinct set of
    records that lie within the size. Both ends belong to a window, so `Windowed.end` is its last
    millisecond, not the first behind it. None begins before 1970: `[0, size]` holds all records
    up to `size`. These are the windows of Kafka Streams' SlidingWindows.

    A record at `t` is late when `t + size + grace` is before stream time. One that is in time
    is in each window that is open and contains it, whichever of them is there first.

    A key's open windows are kept as one entry: about two for each of its records within
    `size + grace`. For keys with thousands of records in that time, use `hopping`.

    Args:
        size: how far apart the first and the last record of a window may be.

    Raises:
        TopologyError: if the size is nothing.
    """
    return SlidingWindows(_positive("size", size))


def session(gap: Duration) -> SessionWindows:
    """Cut event time where a key is silent: one session for records that follow each other soon.

    `Windowed.end` is the time of the last record.

    Args:
        gap: as long may pass between two records of one session.

    Raises:
        TopologyError: if the gap is nothing.
    """
    return SessionWindows(_positive("gap", gap))


def _is_dense(timestamps: Sequence[int], step_ms: int) -> bool:
    """Whether instants are in order, and more than 8 of them, on average, come in one step."""
    if len(timestamps) < 8 or timestamps[-1] - timestamps[0] > len(timestamps) // 8 * step_ms:
        return False
    return list(timestamps) == sorted(timestamps)


def _positive(name: str, duration: Duration) -> int:
    found = milliseconds(duration)
    if found < 1:
        raise TopologyError(f"{name}={_shown(duration)} of a window is nothing. Use 1 ms or more.")
    return found


def _offset(offset: Duration, step: str, step_ms: int) -> int:
    found = milliseconds(offset)
    if found >= step_ms:
        raise TopologyError(
            f"offset={_shown(offset)} is not shorter than the {step} of {step_ms} ms. As windows"
            f" begin every {step_ms} ms, offset='{found % step_ms}ms' means the same: use that."
        )
    return found


def _shown(duration: Duration) -> str:
    return repr(duration if isinstance(duration, str) else str(duration))


def moment(timestamp: int) -> str:
    """Show a time as text."""
    return datetime.datetime.fromtimestamp(timestamp / 1000, datetime.UTC).isoformat()
