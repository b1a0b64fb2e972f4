"""Time zones: where days, and parts of them, begin by the clocks of a place.

Rule 1: a period begins when the clocks first show its time. Where they are turned forward past
        that time, it begins at that moment; where nothing is left of a period, it does not exist.
Rule 2: every instant is in one period: the last that has begun.
"""

import datetime
from dataclasses import dataclass
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from penstock.errors import TopologyError

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
_BLOCK_MS = HOUR_MS // 4
_BLOCKS = 4_096  # what is remembered of a calendar: six weeks, of which a stream needs few
# No zone has turned its clocks back further since 1970 (Antarctica/Vostok, 1994).
_TURNED_BACK_MS = 7 * HOUR_MS
_EPOCH = datetime.datetime(1970, 1, 1)  # what the clocks show has no zone
_MS = datetime.timedelta(milliseconds=1)


@dataclass(frozen=True)
class Calendar:
    """Periods of one size by the clocks of a zone.

    Attributes:
        size_ms: how long a period is by these clocks.
        offset_ms: how far behind a midnight one begins.
        zone: the zone.
    """

    size_ms: int
    offset_ms: int
    zone: ZoneInfo

    @property
    def longest_ms(self) -> int:
        """How long a period may take, at most."""
        return self.size_ms + _TURNED_BACK_MS

    def describe(self) -> str:
        """Return the periods as text: equal text means equal periods."""
        text = f"{self.size_ms} {self.zone.key}"
        return f"{text}+{self.offset_ms}" if self.offset_ms else text

    def start(self, timestamp: int) -> int:
        """Return where the period of an instant begins: 0.4 us where its hour is known."""
        first, last = _block(self, timestamp // _BLOCK_MS)
        return first if first == last else self._start(timestamp)

    def end(self, start: int) -> int:
        """Return where the period that begins at a time ends."""
        number = self._shown(start)
        while (end := self._begin(number)) <= start:
            number += 1
        return end

    def _start(self, timestamp: int) -> int:
        number = self._shown(timestamp)
        while self._begin(number + 1) <= timestamp:  # it had begun before clocks were turned back
            number += 1
        return self._begin(number)

    def _shown(self, timestamp: int) -> int:
        """Return the number of the period that the clocks show."""
        return (shown(timestamp, self.zone) - self.offset_ms) // self.size_ms

    def _begin(self, number: int) -> int:
        return first_shown(number * self.size_ms + self.offset_ms, self.zone)


@lru_cache(maxsize=_BLOCKS)
def _block(of: Calendar, number: int) -> tuple[int, int]:
    """Return the first and the last period of a quarter of an hour; mostly they are the same."""
    begin = number * _BLOCK_MS
    return of._start(begin), of._start(begin + _BLOCK_MS - 1)  # pyright: ignore[reportPrivateUsage]


def calendar(size_ms: int, offset_ms: int, zone: str) -> Calendar:
    """Make the calendar of a zone.

    Raises:
        TopologyError: if the zone is not known, or its days are no multiple of the size.
    """
    if size_ms % DAY_MS and (size_ms % HOUR_MS or DAY_MS % size_ms):
        raise TopologyError(
            f"Windows of {size_ms} ms do not fit the days of zone={zone!r}. Use whole days, or 1,"
            " 2, 3, 4, 6, 8 or 12 hours; for other sizes leave zone= out."
        )
    try:
        return Calendar(size_ms, offset_ms, ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError) as error:
        raise TopologyError(
            f"zone={zone!r} is not known here. Use a name of the IANA database, such as"
            " 'Europe/Madrid'. If it is one, this system has no time zones: pip install tzdata."
        ) from error


def first_shown(clock_ms: int, zone: ZoneInfo) -> int:
    """Return when the clocks of a zone first show a time, or go past it.

    Args:
        clock_ms: what they show, in milliseconds since 1970 as they counted it.
        zone: the zone.

    Returns:
        milliseconds since the epoch.
    """
    clock = _EPOCH + clock_ms * _MS
    before, after = (_ahead(clock.replace(tzinfo=zone, fold=fold)) for fold in (0, 1))
    if after <= before:  # shown once, or twice: the first time counts
        return clock_ms - before
    # Never shown: clocks went past it somewhere between these two.
    low, high = clock_ms - after, clock_ms - before
    while low < high:
        middle = (low + high) // 2
        if shown(middle, zone) < clock_ms:
            low = middle + 1
        else:
            high = middle
    return low


def shown(timestamp: int, zone: ZoneInfo) -> int:
    """Return what the clocks of a zone show at an instant, in milliseconds."""
    instant = (_EPOCH + timestamp * _MS).replace(tzinfo=datetime.UTC)
    return timestamp + _ahead(instant.astimezone(zone))


def _ahead(moment: datetime.datetime) -> int:
    """Return how far ahead of UTC a zone is at a moment, in milliseconds."""
    ahead = moment.utcoffset()
    assert ahead is not None
    return ahead // _MS
