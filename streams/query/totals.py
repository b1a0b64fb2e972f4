"""Totals: sums over a whole run, for counters that only rise."""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from penstock.engine.batch import Batch
from penstock.query.progress import Progress

# The upper ends of batches' durations. A batch is 100 ms long by default, and 15 s at most.
BATCH_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
DUPLICATES: Final = "numDroppedDuplicateRows"  # as Spark calls them


@dataclass
class Totals:
    """Sums since the run began.

    Attributes:
        batches: that were committed.
        rows_in: records read, by topic.
        bytes_in: of their values.
        rows_out: records written.
        rows_by_sink: the same, by topic.
        dropped: records without key or value.
        failed: records that failed and were let go.
        dead_letters: those of them that were written to a topic.
        late_rows: records that came too late for a window.
        late: windows that records came too late for, by store.
        duplicates: records that drop_duplicates has dropped, by store.
        updated: keys changed, by store.
        rebalances: how often the group has given or taken partitions.
        restored_rows: changelog records that were read.
        restore_ms: milliseconds that took.
        duration_ms: milliseconds by phase.
        batch_s: seconds that the batches took.
        batches_by_s: how many batches took up to each of BATCH_SECONDS, and longer.
    """

    batches: int = 0
    rows_in: Counter[str] = field(default_factory=Counter[str])
    bytes_in: int = 0
    rows_out: int = 0
    rows_by_sink: Counter[str] = field(default_factory=Counter[str])
    dropped: int = 0
    failed: int = 0
    dead_letters: int = 0
    late_rows: int = 0
    late: Counter[str] = field(default_factory=Counter[str])
    duplicates: Counter[str] = field(default_factory=Counter[str])
    updated: Counter[str] = field(default_factory=Counter[str])
    rebalances: int = 0
    restored_rows: int = 0
    restore_ms: int = 0
    duration_ms: Counter[str] = field(default_factory=Counter[str])
    batch_s: float = 0.0
    batches_by_s: list[int] = field(default_factory=lambda: [0] * (len(BATCH_SECONDS) + 1))

    def committed(self, batch: Batch, seconds: float) -> None:
        """Add a batch, as it is committed: a partition may be gone before its progress is told."""
        self.batches += 1
        for (topic, _), rows in batch.rows_in.items():
            self.rows_in[topic] += rows
        self.bytes_in += batch.bytes_in
        self.rows_out += batch.rows_out
        self.rows_by_sink.update(batch.rows_by_sink)
        self.failed += batch.rows_failed
        self.dead_letters += batch.dead_letters
        self.batch_s += seconds
        self.batches_by_s[bisect_left(BATCH_SECONDS, seconds)] += 1

    def add(self, progress: Progress) -> None:
        """Add what a record of progress says beside its batches."""
        self.dropped += progress.num_dropped_rows
        self.late_rows += progress.num_late_rows
        for store in progress.state_operators:
            self.duplicates[store.operator_name] += store.custom_metrics.get(DUPLICATES, 0)
            self.late[store.operator_name] += store.num_rows_dropped_by_watermark
            self.updated[store.operator_name] += store.num_rows_updated
        self.rebalances += progress.rebalances
        self.restored_rows += progress.restored_rows
        self.restore_ms += progress.restore_ms
        self.duration_ms.update(progress.duration_ms)
