"""Totals: sums over all progress of a run, for counters that only rise."""

from collections import Counter
from dataclasses import dataclass, field

from penstock.query.progress import Progress


@dataclass
class Totals:
    """Sums since the run began.

    Attributes:
        batches: that were committed.
        rows_in: records read, by topic.
        rows_out: records written.
        dropped: records without key or value.
        failed: records that failed and were let go.
        dead_letters: those of them that were written to a topic.
        late: windows that records came too late for, by store.
        updated: keys changed, by store.
        rebalances: how often the group has given or taken partitions.
        restored_rows: changelog records that were read.
        duration_ms: milliseconds by phase.
    """

    batches: int = 0
    rows_in: Counter[str] = field(default_factory=Counter[str])
    rows_out: int = 0
    dropped: int = 0
    failed: int = 0
    dead_letters: int = 0
    late: Counter[str] = field(default_factory=Counter[str])
    updated: Counter[str] = field(default_factory=Counter[str])
    rebalances: int = 0
    restored_rows: int = 0
    duration_ms: Counter[str] = field(default_factory=Counter[str])

    def add(self, progress: Progress) -> None:
        """Add what a record of progress says."""
        self.batches += progress.batches
        for source in progress.sources:
            for topic, partitions in source.partitions.items():
                self.rows_in[topic] += sum(of.num_input_rows for of in partitions.values())
        self.rows_out += progress.sink.num_output_rows
        self.dropped += progress.num_dropped_rows
        self.failed += progress.num_failed_rows
        self.dead_letters += progress.num_dead_letters
        for store in progress.state_operators:
            self.late[store.operator_name] += store.num_rows_dropped_by_watermark
            self.updated[store.operator_name] += store.num_rows_updated
        self.rebalances += progress.rebalances
        self.restored_rows += progress.restored_rows
        self.duration_ms.update(progress.duration_ms)
