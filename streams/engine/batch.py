"""A batch: what has been read and made since the last commit, and when to commit it.

A batch ends when its input is drained and the pause since the last commit is long enough,
or at the commit interval, or at a limit of records or bytes. Transactions are not free for
the broker (84 near-empty ones a second took 73 % of a core), so commits begin at least
`min_interval_ms` apart, and twice the moving average of what a commit takes.

While more records wait than are processed, a batch stays open longer where commits take long,
so that no more than a third of the time goes there: with 100,000 keys to count, a record costs
half a write then instead of 0.8.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import TypeAlias

from penstock.engine.metadata import BatchId

PerInput: TypeAlias = dict[tuple[str, int], int]  # by (topic, partition)

PAUSE_PER_COMMIT = 2
MOST_LONGER_MS = 400
NEXT_FETCH_MS = 10
AVERAGE_OVER = 8


@dataclass
class Batch:
    """The input and output of one batch.

    Attributes:
        id: what its commit leaves in the metadata of each lead partition.
        opened_ms: when its first record came, monotonic milliseconds.
        next_offsets: per (topic, partition), the offset behind the last processed record.
        start_offsets: per (topic, partition), the offset of its first record.
        positions: per (topic, partition), where it was committed before.
        rows_in: records read, by (topic, partition).
        bytes_in: bytes of their values.
        rows_out: records written to topics, changelogs not counted.
        rows_by_sink: the same by topic.
        rows_failed: records that failed and were let go.
        dead_letters: those of them that were written to a topic.
    """

    id: BatchId
    opened_ms: float
    next_offsets: PerInput = field(default_factory=PerInput)
    start_offsets: PerInput = field(default_factory=PerInput)
    positions: PerInput = field(default_factory=PerInput)
    rows_in: PerInput = field(default_factory=PerInput)
    bytes_in: int = 0
    rows_out: int = 0
    rows_by_sink: Counter[str] = field(default_factory=Counter[str])
    rows_failed: int = 0
    dead_letters: int = 0

    def add(self, source: tuple[str, int], first: int, next_offset: int, rows: int) -> None:
        """Note records that were processed."""
        self.start_offsets.setdefault(source, first)
        self.next_offsets[source] = next_offset
        self.rows_in[source] = self.rows_in.get(source, 0) + rows

    def wrote(self, topic: str, rows: int, *, dead: bool) -> None:
        """Note records that were written to a topic of the user's, dead letters or not."""
        if dead:
            self.dead_letters += rows
        else:
            self.rows_out += rows
            self.rows_by_sink[topic] += rows

    @property
    def rows(self) -> int:
        """Records read in all."""
        return sum(self.rows_in.values())


@dataclass
class Pace:
    """Decide when a batch is due, all times in monotonic milliseconds.

    Attributes:
        interval_ms: how long a batch stays open; up to 400 ms longer while records wait.
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
        if drained:
            return self.wait_ms(batch, now_ms) <= 0
        longer_ms = min(self._pause_ms - self.interval_ms, MOST_LONGER_MS)
        return now_ms - batch.opened_ms >= self.interval_ms + max(0, longer_ms)

    def poll_ms(self, batch: Batch, now_ms: float) -> float:
        """How long to wait for another record before a batch counts as drained.

        Where a batch stays open longer because records wait, the input is not at its end
        because nothing is fetched at this very moment.
        """
        may_grow = now_ms - batch.opened_ms >= self.interval_ms
        if may_grow and not self.due(batch, now_ms, drained=False):
            return NEXT_FETCH_MS
        return max(0, self.wait_ms(batch, now_ms))

    def wait_ms(self, batch: Batch, now_ms: float) -> float:
        """How long a drained batch has to wait until it is due."""
        paused_ms = self.committed_ms + max(self.min_interval_ms, self._pause_ms) - now_ms
        return min(paused_ms, batch.opened_ms + self.interval_ms - now_ms)

    @property
    def _pause_ms(self) -> float:
        return PAUSE_PER_COMMIT * self.average_ms

    def committed(self, started_ms: float, now_ms: float) -> None:
        """Note a commit that took from started_ms until now; the pause begins with it."""
        took = now_ms - started_ms
        weight = 1 / AVERAGE_OVER if self.average_ms else 1.0
        self.average_ms += weight * (took - self.average_ms)
        self.committed_ms = started_ms
