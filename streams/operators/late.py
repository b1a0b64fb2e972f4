"""Late: which records came too late, for what, and how late it was then."""

from collections.abc import Iterable
from dataclasses import dataclass, field
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


@dataclass
class LateCount:
    """Records that came too late for a step.

    Attributes:
        offsets: where they stand; each counts once, however many steps and windows it missed.
        others: how many of no offset there are: results of a store.
    """

    offsets: set[int] = field(default_factory=set[int])
    others: int = 0

    def add(self, offsets: Iterable[int | None]) -> None:
        """Add records by their offsets, None for those that have none.

        >>> count = LateCount()
        >>> count.add([7, 7, None])
        >>> count
        LateCount(offsets={7}, others=1)
        """
        for offset in offsets:
            if offset is None:
                self.others += 1
            else:
                self.offsets.add(offset)


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
