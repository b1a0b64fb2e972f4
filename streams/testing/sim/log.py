"""The log of one partition: records, transaction markers, and who may see them.

Rule 1: every record and every marker takes one offset, and offsets are never reused.
Rule 2: the last stable offset is the first record of the oldest open transaction, or the end.
Rule 3: readers of committed records see neither aborted records nor what stands behind the
        last stable offset; nobody sees markers.
"""

from typing import NamedTuple, TypeAlias

Headers: TypeAlias = "list[tuple[str, bytes | None]] | None"


class Row(NamedTuple):
    """A record as a producer sends it."""

    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Headers = None


class Entry(NamedTuple):
    """What stands at an offset: a record, or a marker where `row` is None."""

    offset: int
    row: Row | None


class PartitionLog:
    """One partition.

    Attributes:
        start: the first offset that can be read.
        open: by producer id, where its open transaction begins.
        held_until: before that time nobody fetches from it: seconds of the simulation.
    """

    def __init__(self) -> None:
        self.start = 0
        self.open: dict[int, int] = {}
        self.held_until = 0.0
        self._entries: list[Entry] = []
        self._producers: list[int] = []
        self._aborted: set[int] = set()

    @property
    def end(self) -> int:
        """The offset that the next record gets."""
        return len(self._entries)

    @property
    def stable_end(self) -> int:
        """The last stable offset."""
        return min(self.open.values(), default=self.end)

    def append(self, row: Row, producer_id: int = -1) -> int:
        """Append a record, of a transaction if a producer is named, and return its offset."""
        if producer_id >= 0:
            self.open.setdefault(producer_id, self.end)
        return self._append(row, producer_id)

    def mark(self, producer_id: int, *, commit: bool) -> None:
        """End a producer's open transaction by a marker."""
        first = self.open.pop(producer_id)
        if not commit:
            mine = range(first, self.end)
            self._aborted.update(at for at in mine if self._producers[at] == producer_id)
        self._append(None, producer_id)

    def delete_before(self, offset: int) -> None:
        """Move the start."""
        self.start = max(self.start, min(offset, self.end))

    def at_time(self, time_ms: int) -> int:
        """Return the first offset of a record at or after a time, -1 if there is none."""
        for offset, row in self._entries[self.start :]:
            if row and row.timestamp >= time_ms:
                return offset
        return -1

    def read(self, position: int, limit: int, *, committed: bool) -> tuple[list[Entry], int]:
        """Return records from a position on, and the position behind them.

        What a reader does not see is stepped over, also where no record follows.
        """
        end = self.stable_end if committed else self.end
        found: list[Entry] = []
        while position < end:
            entry = self._entries[position]
            if entry.row is not None and not (committed and position in self._aborted):
                if len(found) == limit:
                    break
                found.append(entry)
            position += 1
        return found, position

    def _append(self, row: Row | None, producer_id: int) -> int:
        offset = self.end
        self._entries.append(Entry(offset, row))
        self._producers.append(producer_id)
        return offset
