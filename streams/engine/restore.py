"""Restoring a store from its changelog, as a state machine.

Rule 1: the end is the changelog's last offset for read_uncommitted readers, taken once,
        after the stable committed offsets: what a predecessor committed is before it.
Rule 2: records are read as read_committed up to an end-of-partition event at or behind that
        end. The event's offset steps over transaction markers, positions do not. One before
        the end means that a transaction is still open: keep waiting.
Rule 3: of the records that are written together the last one of a key wins.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass
class Restore:
    """The restoring of one partition of one store.

    Attributes:
        store: name of the store.
        topic: its changelog.
        partition: its partition.
        start: the first offset that is missing.
        end: the offset up to which the changelog has to be applied.
        next_offset: how far it is applied.
        records: how many records were applied.
        done: whether the store is complete.
    """

    store: str
    topic: str
    partition: int
    start: int
    end: int
    next_offset: int = -1
    records: int = 0
    done: bool = False

    def __post_init__(self) -> None:
        self.next_offset = self.start
        self.done = self.start >= self.end

    def applied(self, records: int, next_offset: int) -> None:
        """Note records that were written to the store."""
        self.records += records
        self.next_offset = max(self.next_offset, next_offset)

    def reached(self, eof_offset: int) -> None:
        """Note an end-of-partition event."""
        self.next_offset = max(self.next_offset, eof_offset)
        self.done = self.done or eof_offset >= self.end

    @property
    def remaining(self) -> int:
        """An upper bound of the records that are still to be read."""
        return 0 if self.done else max(0, self.end - self.next_offset)


@dataclass(frozen=True, kw_only=True)
class RestoreProgress:
    """How far the stores are that a worker restores together.

    What is left is known in offsets: markers of transactions, aborted records and those that
    compaction has removed have some too. It bounds the records that are left, and the time
    left is that of offsets.

    Attributes:
        left: the stores and partitions that are not complete yet.
        complete: those that are.
        records: records applied so far.
        offsets: offsets passed so far.
        remaining: offsets that are left.
        seconds: the time since the first of them began.
    """

    left: tuple[tuple[str, int], ...]
    complete: tuple[tuple[str, int], ...]
    records: int
    offsets: int
    remaining: int
    seconds: float

    @classmethod
    def of(cls, restores: Iterable[Restore], seconds: float) -> "RestoreProgress":
        """Add the progress of several stores up."""
        found = list(restores)
        return cls(
            left=tuple((each.store, each.partition) for each in found if not each.done),
            complete=tuple((each.store, each.partition) for each in found if each.done),
            records=sum(each.records for each in found),
            offsets=sum(each.next_offset - each.start for each in found),
            remaining=sum(each.remaining for each in found),
            seconds=seconds,
        )

    @property
    def records_per_second(self) -> float:
        """The records applied, over the time."""
        return self.records / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at this pace; None while nothing is read and nobody knows."""
        if not self.remaining:
            return 0.0
        return self.remaining * self.seconds / self.offsets if self.offsets else None
