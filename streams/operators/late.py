"""Late: which records came too late, for what, and how late it was then."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from penstock.operators.operator import EVERYTHING, NOTHING, Column


@dataclass(frozen=True, kw_only=True)
class InTime:
    """What an aggregation that goes by event time says of late records.

    Attributes:
        late: the topic of late records; None for none.
    """

    late: str | None = None
    timed = True

    @property
    def reads(self) -> frozenset[Column]:
        """What it needs of a record beside key, value and time."""
        return EVERYTHING if self.late else NOTHING


class Missed(NamedTuple):
    """A window that a record came too late for.

    Attributes:
        offset: of the record.
        timestamp: its event time.
        start: of the window, milliseconds since the epoch.
        end: of the window.
        clock: operator time when the record came.
    """

    offset: int
    timestamp: int
    start: int
    end: int
    clock: int


def by_record(missed: Iterable[Missed]) -> dict[int, list[Missed]]:
    """Gather what each record has missed, each window once: a record may have become several.

    >>> first, second = Missed(7, 9, 0, 10, 25), Missed(7, 9, 5, 15, 25)
    >>> by_record([first, second, first])
    {7: [Missed(offset=7, timestamp=9, start=0, ...), Missed(offset=7, timestamp=9, start=5, ...)]}
    """
    found: dict[int, list[Missed]] = {}
    for each in dict.fromkeys(missed):
        found.setdefault(each.offset, []).append(each)
    return found
