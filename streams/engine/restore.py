"""Restoring a store from its changelog, as a state machine.

Rule 1: the end is the changelog's last offset for read_uncommitted readers, taken once,
        after the stable committed offsets: what a predecessor committed is before it.
Rule 2: records are read as read_committed up to an end-of-partition event at or behind that
        end. The event's offset steps over transaction markers, positions do not. One before
        the end means that a transaction is still open: keep waiting.
Rule 3: of the records that are written together the last one of a key wins.
"""

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
