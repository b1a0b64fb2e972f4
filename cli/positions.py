"""Points in time and positions in a topic, as they are written on the command line.

earliest  latest          the beginning, the end
-10                       the last ten records
2026-03-01T10:30          a time; without a zone it is UTC
10m                       ten minutes ago
"""

import datetime
import re
from dataclasses import dataclass
from typing import Literal

from penstock.durations import milliseconds
from penstock.errors import TopologyError

_BACK = re.compile(r"-\d+")
_DURATION = re.compile(r"\d+(\.\d+)?\s*[a-z]+")


@dataclass(frozen=True)
class Position:
    """Where to begin.

    Attributes:
        kind: which of the others counts.
        number: how many of the last records, or the time in milliseconds.
    """

    kind: Literal["earliest", "latest", "last", "time"]
    number: int = 0


def parse_position(text: str, now_ms: int) -> Position:
    """Read a position.

    >>> parse_position("-10", 0)
    Position(kind='last', number=10)

    Raises:
        TopologyError: if it is none.
    """
    if text == "earliest":
        return Position("earliest")
    if text == "latest":
        return Position("latest")
    if _BACK.fullmatch(text):
        return Position("last", -int(text))
    return Position("time", parse_time(text, now_ms))


def parse_time(text: str, now_ms: int) -> int:
    """Read a time, or how long ago it is, as milliseconds since the epoch.

    >>> parse_time("1970-01-01T00:00:01Z", 0), parse_time("10s", 15_000)
    (1000, 5000)

    Raises:
        TopologyError: if it is neither.
    """
    if _DURATION.fullmatch(text):
        return now_ms - milliseconds(text)
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise TopologyError(
            f"{text!r} is no position in time. Write a date and time (2026-03-01T10:30, UTC if"
            " it has no zone), or how long ago ('10m')."
        ) from None
    if at.tzinfo is None:
        at = at.replace(tzinfo=datetime.UTC)
    return round(at.timestamp() * 1000)
