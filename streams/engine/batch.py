"""A batch: what has been read and made since the last commit, and when to commit it.

A batch ends when its input is drained and the pause since the last commit is long enough,
or at the commit interval, or at a limit of records or bytes. Transactions are not free for
the broker (84 near-empty ones a second took 73 % of a core), so commits begin at least
`min_interval_ms` apart, and four times the moving average of what a commit takes.
"""

from dataclasses import dataclass, field
from typing import TypeAlias

from penstock.engine.metadata import BatchId

PerInput: TypeAlias = dict[tuple[str, int], int]  # by (topic, partition)

PAUSE_PER_COMMIT = 4
AVERAGE_OVER = 8


@dataclass
class Batch:
    """The input and output of one batch.

    Attributes:
        id: what its commit leaves in the metadata of each lead partition.
        opened_ms: when its first record came, monotonic milliseconds.
        next_offsets: per (topic, partition), the offset behind the last processed record.
        start_offsets: per (topic, partition), the offset of its first record.
        rows_in: records read, by (topic, partition).
        bytes_in: bytes of their values.
        rows_out: records written to topics, changelogs not counted.
    """

    id: BatchId
    opened_ms: float
    next_offsets: PerInput = field(default_factory=PerInput)
    start_offsets: PerInput = field(default_factory=PerInput)
    rows_in: PerInput = field(default_factory=PerInput)
    bytes_in: int = 0
    rows_out: int = 0

    def add(self, source: tuple[str, int], first: int, next_offset: int, rows: int) -> None:
        """Note records that were processed."""
        self.start_offsets.setdefault(source, first)
        self.next_offsets[source] = next_offset
        self.rows_in[source] = self.rows_in.get(source, 0) + rows

    @property
    def rows(self) -> int:
        """Records read in all."""
        return sum(self.rows_in.values())


@dataclass
class Pace:
    """Decide when a batch is due, all times in monotonic milliseconds.

    Attributes:
        interval_ms: the longest time that a batch stays open.
        min_interval_ms: the shortest time between the beginnings of two commits, if a batch is
            not full.
        max_records: a batch of this many records is due.
        max_bytes: a batch of this many bytes is due.
    """

    interval_ms: int
    min_interval_ms: int
    max_records: int
    max_bytes: int
    committed_ms: float = 0.0
    average_ms: float = 0.0

    def due(self, batch: Batch, now_ms: float, *, drained: bool) -> bool:
        """Whether the batch is to be committed now."""
        if batch.rows >= self.max_records or batch.bytes_in >= self.max_bytes:
            return True
        if now_ms - batch.opened_ms >= self.interval_ms:
            return True
        return drained and self.wait_ms(batch, now_ms) <= 0

    def wait_ms(self, batch: Batch, now_ms: float) -> float:
        """How long a drained batch has to wait until it is due."""
        pause = max(self.min_interval_ms, PAUSE_PER_COMMIT * self.average_ms)
        return min(self.committed_ms + pause - now_ms, batch.opened_ms + self.interval_ms - now_ms)

    def committed(self, started_ms: float, now_ms: float) -> None:
        """Note a commit that took from started_ms until now; the pause begins with it."""
        took = now_ms - started_ms
        weight = 1 / AVERAGE_OVER if self.average_ms else 1.0
        self.average_ms += weight * (took - self.average_ms)
        self.committed_ms = started_ms
