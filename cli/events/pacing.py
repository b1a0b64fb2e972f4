"""How many records are due: the pace of `penstock produce`, as arithmetic.

Rule 1. Record i of a paced run is due i / rate seconds after the start, so that a run of
        10 s at 1000/s is 10,000 records.
Rule 2. What is more than one second behind is forgotten: a broker that stalled for a minute
        is not hit by a minute's worth of records at once.
Rule 3. Up to 2,000 records a second each is sent by itself, when it is due; beyond, those of
        half a millisecond go together.
Rule 4. Time is an argument, in seconds of a monotonic clock. Nothing here sleeps.
"""

import math
import re
from dataclasses import dataclass

from penstock.errors import TopologyError

TICK_S = 0.0005  # the pause between two blocks of a paced run, at least
_LONGEST_WAIT_S = 1.0  # so that a slow run still notices a failure and a stop


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How fast and how much; None is unlimited.

    Args:
        rate: records per second.
        count: records in all.
        duration_ms: milliseconds from the first record.
    """

    rate: float | None = None
    count: int | None = None
    duration_ms: int | None = None

    def total(self) -> int | None:
        """Count the records of a run that keeps its pace; None if it has no known number."""
        timed = None
        if self.rate is not None and self.duration_ms is not None:
            timed = math.ceil(self.rate * self.duration_ms / 1000)
        known = [number for number in (self.count, timed) if number is not None]
        return min(known, default=None)


def parse_rate(text: str) -> float:
    """Read records per second: "1000/s", or just "1000".

    >>> parse_rate("2500/s"), parse_rate("0.5")
    (2500.0, 0.5)

    Raises:
        TopologyError: if the text is no positive number.
    """
    match = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*(?:/\s*s)?\s*", text)
    if match is None or float(match[1]) == 0:
        raise TopologyError(f"{text!r} is not a rate. Write records per second: '1000/s'.")
    return float(match[1])


class Schedule:
    """Say, at any time of a run, how many records to send now."""

    def __init__(self, pace: Pace, *, block_rows: int, start_s: float) -> None:
        self._rate = pace.rate
        self._total = pace.total()
        self._block_rows = block_rows
        self._origin_s = start_s
        self._end_s = math.inf if pace.duration_ms is None else start_s + pace.duration_ms / 1000
        self.sent = 0

    def due(self, now_s: float) -> int:
        """Tell how many records to send now, at most a block; 0 means wait or finished."""
        wanted = self._block_rows if self._rate is None else self._backlog(self._rate, now_s)
        if self._rate is None and now_s >= self._end_s:
            return 0
        left = math.inf if self._total is None else self._total - self.sent
        return int(min(wanted, left, self._block_rows))

    def finished(self, now_s: float) -> bool:
        """Tell whether nothing will be due any more."""
        if self._total is not None and self.sent >= self._total:
            return True
        return now_s >= self._end_s and self.due(now_s) == 0

    def wait_s(self, now_s: float) -> float:
        """Tell how long to wait before asking again, when nothing is due."""
        next_s = now_s if self._rate is None else self._origin_s + self.sent / self._rate
        return min(max(next_s - now_s, TICK_S), _LONGEST_WAIT_S)

    def _backlog(self, rate: float, now_s: float) -> int:
        elapsed_s = min(now_s, self._end_s) - self._origin_s
        behind_s = elapsed_s - self.sent / rate
        if behind_s > 1:
            self._origin_s += behind_s - 1
            elapsed_s -= behind_s - 1
        # A clock that is a rounding error short of the time would cost a whole tick.
        return max(int(elapsed_s * rate + 1e-6) + 1 - self.sent, 0)


class EventTimes:
    """Say when events happen: now, or from a given time on as if the pace were kept exactly.

    Args:
        pace: the pace; without a rate there is a millisecond between two events.
        start_ms: when the first event happens; None is now.
    """

    def __init__(self, pace: Pace, start_ms: int | None) -> None:
        self._start_ms = start_ms
        self._step_ms = 1.0 if pace.rate is None else 1000 / pace.rate
        self._made = 0

    def next(self, events: int, now_ms: int) -> list[int]:
        """Return the times of the next events, in milliseconds since the epoch."""
        if self._start_ms is None:
            return [now_ms] * events
        start, step = self._start_ms, self._step_ms
        return [start + int(n * step) for n in range(self._made, self._made + events)]

    def made(self, events: int) -> None:
        """Go on by so many events, those of the times that were used."""
        self._made += events
