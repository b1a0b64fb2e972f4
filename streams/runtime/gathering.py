"""Gathering: what the batches since the last progress did, added up."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from penstock.engine.batch import Batch
from penstock.query.progress import Latency
from penstock.runtime.tasks import OwnedTask

SAMPLED_PER_CHUNK = 8
MOST_SAMPLED = 20_000

At = tuple[str, int]


@dataclass
class Gathered:
    """Sums over batches.

    Attributes:
        began: monotonic seconds at which the first of them began.
        began_ms: the same by the wall clock.
        batches: how many were committed.
        last: number of the last one.
        took_s: seconds that they took together.
        longest_s: seconds of the longest.
        rows_in: records read, by input partition.
        rows_out: records written.
        rows_by_sink: the same, by topic.
        failed: records that failed and were let go.
        dead_letters: those of them that are written to a topic.
        dropped: records without key or value.
        starts: first offset, by input partition.
        ends: offset behind the last record.
        updated: keys changed, by store.
        late: windows missed, by store.
        duplicates: dropped, by store.
        phases: seconds by name.
        latencies_ms: of a sample of the records.
        rebalances: how often the group has given or taken.
        restored_rows: changelog records read.
        restore_s: seconds that restoring took.
    """

    began: float
    began_ms: int
    batches: int = 0
    last: int = -1
    took_s: float = 0.0
    longest_s: float = 0.0
    rows_in: Counter[At] = field(default_factory=Counter[At])
    rows_out: int = 0
    rows_by_sink: Counter[str] = field(default_factory=Counter[str])
    failed: int = 0
    dead_letters: int = 0
    dropped: int = 0
    starts: dict[At, int] = field(default_factory=dict[At, int])
    ends: dict[At, int] = field(default_factory=dict[At, int])
    updated: Counter[str] = field(default_factory=Counter[str])
    late: Counter[str] = field(default_factory=Counter[str])
    duplicates: Counter[str] = field(default_factory=Counter[str])
    phases: Counter[str] = field(default_factory=Counter[str])
    latencies_ms: list[int] = field(default_factory=list[int])
    rebalances: int = 0
    restored_rows: int = 0
    restore_s: float = 0.0

    def add(self, batch: Batch, tasks: Iterable[OwnedTask], took_s: float) -> None:
        """Add what a committed batch did; the counts of its tasks begin anew."""
        self.batches += 1
        self.last = batch.id.number
        self.took_s += took_s
        self.longest_s = max(self.longest_s, took_s)
        self.rows_in.update(batch.rows_in)
        self.rows_out += batch.rows_out
        self.rows_by_sink.update(batch.rows_by_sink)
        self.failed += batch.rows_failed
        self.dead_letters += batch.dead_letters
        self.starts = {**batch.start_offsets, **self.starts}
        self.ends.update(batch.next_offsets)
        for owned in tasks:
            task = owned.task
            if task is None:
                continue
            self.dropped += task.take_dropped()
            self.late += task.take_late()
            self.duplicates.update(task.take_duplicates())
            for name in owned.stores:
                self.updated[name] += task.overlays[name].last_updated

    def timed(self, phases: dict[str, float]) -> None:
        """Add seconds by phase."""
        for name, seconds in phases.items():
            self.phases[name] += seconds  # type: ignore[assignment]  # a Counter counts anything

    def waited(self, timestamps: Sequence[int], now_ms: int) -> None:
        """Add how long records with these timestamps took."""
        if len(self.latencies_ms) < MOST_SAMPLED:
            self.latencies_ms += [max(0, now_ms - at) for at in timestamps if at > 0]

    @property
    def rows(self) -> int:
        """Records read in all."""
        return sum(self.rows_in.values())


def sample(timestamps: Sequence[int]) -> Sequence[int]:
    """Return a few of them, evenly spread."""
    step = -(-len(timestamps) // SAMPLED_PER_CHUNK)
    return timestamps[::step] if step > 1 else timestamps


def latency(sampled: list[int]) -> Latency | None:
    """Return what a sample says, None where it is empty."""
    if not sampled:
        return None
    ordered = sorted(sampled)

    def at(share: float) -> int:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    return Latency(p50=at(0.5), p95=at(0.95), p99=at(0.99), max=ordered[-1])
