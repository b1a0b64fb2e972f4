"""Narrowing: from a batch that fails because of a record to that record.

The broker does not say which record of which input it refuses. So the batch is run again with
half of its records, and so on; when the only record of a batch is refused, it is the one. What is
committed on the way stays committed, and batches then grow again. A record that is known, because
it took too long alone, needs no search.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from penstock.engine.batch import Batch

_NOTHING: Mapping[int, Exception] = MappingProxyType({})


@dataclass
class Narrowing:
    """How many records a batch may have while a bad one is looked for.

    Attributes:
        limit: the number; None while nothing is wrong.
        found: what was said of the bad ones, by (topic, partition) and offset.
    """

    limit: int | None = None
    found: dict[tuple[str, int], dict[int, Exception]] = field(
        default_factory=dict[tuple[str, int], dict[int, Exception]]
    )

    def refused(self, batch: Batch, error: Exception) -> bool:
        """Make the next batch smaller, or find the record: it is the only one.

        Returns:
            whether that is a step forward.
        """
        if batch.rows > 1:
            self.limit = batch.rows // 2
            return True
        self.limit = 1
        for at, rows in batch.rows_in.items():
            offset = batch.start_offsets[at]
            if rows and offset not in self.found.get(at, ()):
                self.blame(at, offset, error)
                return True
        return False

    def blame(self, at: tuple[str, int], offset: int, error: Exception) -> None:
        """Let a record fail when it is run again, whatever the steps say of it."""
        self.found.setdefault(at, {})[offset] = error

    def found_in(self, at: tuple[str, int]) -> Mapping[int, Exception]:
        """Return what was found in an input, by offset."""
        return self.found.get(at, _NOTHING)

    def committed(self, batch: Batch, most: int) -> None:
        """Forget what a batch has let go, and let batches grow again, up to `most` records."""
        for at, errors in list(self.found.items()):
            reached = batch.next_offsets.get(at, 0)
            left = {offset: error for offset, error in errors.items() if offset >= reached}
            if left:
                self.found[at] = left
            else:
                del self.found[at]
        if self.limit is not None:
            self.limit = self.limit * 2 if self.limit * 2 < most else None

    def room(self, batch: Batch, most: int) -> int:
        """How many records may still come into a batch, at most `most`."""
        return most if self.limit is None else min(most, self.limit - batch.rows)

    def full(self, batch: Batch) -> bool:
        """Whether a batch has all the records that it may have."""
        return self.limit is not None and batch.rows >= self.limit
