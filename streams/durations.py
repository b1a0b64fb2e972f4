"""Durations as users write them, milliseconds as the engine counts them.

A duration is a `timedelta` or text: a positive number and one unit of `ms s m h d`
("250ms", "1.5s", "10m", "1h", "7d"). Nothing else is accepted: a bare number has no unit.
"""

import datetime
import re
from typing import TypeAlias

from penstock.errors import TopologyError

Duration: TypeAlias = str | datetime.timedelta

_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_TEXT = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)\s*(ms|s|m|h|d)")


def milliseconds(duration: Duration) -> int:
    """Convert a duration to whole milliseconds.

    >>> milliseconds("1.5s"), milliseconds(datetime.timedelta(minutes=1))
    (1500, 60000)

    Raises:
        TopologyError: if the text is no duration, or the duration is negative.
    """
    if isinstance(duration, datetime.timedelta):
        total = round(duration.total_seconds() * 1000)
    else:
        match = _TEXT.fullmatch(duration.strip()) if isinstance(duration, str) else None
        if match is None:
            raise TopologyError(
                f"{duration!r} is not a duration. Write a timedelta or a number with a unit:"
                " '250ms', '10s', '5m', '1h', '7d'."
            )
        total = round(float(match[1]) * _UNIT_MS[match[2]])
    if total < 0:
        raise TopologyError(f"{duration!r} is negative. Durations run forward: use a positive one.")
    return total
