"""Gathering: what the batches since the last progress did, added up."""

import logging
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from penstock.engine.batch import Batch
from penstock.engine.tally import Tally
from penstock.operators.event_time import EventTimes
from penstock.operators.observe import Observe
from penstock.query.progress import Latency, iso
from penstock.runtime.tasks import OwnedTask

log = logging.getLogger("penstock")

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
        late_records: those that came too late for a window.
        starts: position before the first record, by input partition.
        ends: position behind the last record.
        updated: keys put, by store.
        removed: keys deleted, by store.
        late: windows missed, by store.
        duplicates: dropped, by store.
        updating_s: seconds that steps took over records, by store.
        removing_s: seconds that closing and deleting took, by store.
        times: the event times of the records.
        observed: what each `observe` has, None where it has failed.
        phases: seconds by name.
        latencies_ms: of a sample of the records.
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
    late_records: int = 0
    starts: dict[At, int] = field(default_factory=dict[At, int])
    ends: dict[At, int] = field(default_factory=dict[At, int])
    updated: Counter[str] = field(default_factory=Counter[str])
    removed: Counter[str] = field(default_factory=Counter[str])
    late: Counter[str] = field(default_factory=Counter[str])
    duplicates: Counter[str] = field(default_factory=Counter[str])
    updating_s: dict[str, float] = field(default_factory=dict[str, float])
    removing_s: dict[str, float] = field(default_factory=dict[str, float])
    times: EventTimes = field(default_factory=EventTimes)
    observed: dict[Observe, list[Any] | None] = field(
        default_factory=dict[Observe, list[Any] | None]
    )
    phases: dict[str, float] = field(default_factory=dict[str, float])
    latencies_ms: list[int] = field(default_factory=list[int])

    def add(self, batch: Batch, tasks: Iterable[OwnedTask], phases: dict[str, float]) -> None:
        """Add what a committed batch did; the counts of its tasks begin anew."""
        took_s = sum(phases.values())
        self.batches += 1
        self.last = batch.id.number
        self.took_s += took_s
        self.longest_s = max(self.longest_s, took_s)
        _add(self.phases, phases)
        self.rows_in.update(batch.rows_in)
        self.rows_out += batch.rows_out
        self.rows_by_sink.update(batch.rows_by_sink)
        self.failed += batch.rows_failed
        self.dead_letters += batch.dead_letters
        self.starts = {**batch.positions, **self.starts}
        self.ends.update(batch.next_offsets)
        for owned in tasks:
            if owned.task is None:
                continue
            self._count(owned.task.take_tally())
            for name in owned.stores:
                updated, removed = owned.task.overlays[name].rows.take_changes()
                self.updated[name] += updated
                self.removed[name] += removed

    def waited(self, timestamps: Sequence[int], now_ms: int) -> None:
        """Add how long records with these timestamps took."""
        if len(self.latencies_ms) < MOST_SAMPLED:
            self.latencies_ms += [max(0, now_ms - at) for at in timestamps if at > 0]

    @property
    def rows(self) -> int:
        """Records read in all."""
        return sum(self.rows_in.values())

    def event_times(self) -> dict[str, str]:
        """Return the event times as Spark tells them; nothing where there is none."""
        times = self.times
        if not times.count:
            return {}
        return {
            "avg": iso(times.mean),
            "max": iso(times.latest),
            "min": iso(times.earliest),
        }

    def observations(self, operators: Iterable[Observe]) -> dict[str, Any]:
        """Return what was observed as JSON has it, by name; what has failed is left out."""
        found: dict[str, Any] = {}
        for of in operators:
            states = self.observed.get(of, _empty(of))
            if states is None:
                continue
            try:
                found[of.name] = msgspec.to_builtins(of.results(states), enc_hook=str)
            except Exception as error:  # noqa: BLE001 - a user's aggregator raises what it likes
                _warn(of, error)
        return found

    def _count(self, tally: Tally) -> None:
        self.dropped += tally.dropped
        self.late_records += tally.late_records
        if tally.late:
            self.late.update(tally.late)
        if tally.duplicates:
            self.duplicates.update(tally.duplicates)
        _add(self.updating_s, tally.updating_s)
        _add(self.removing_s, tally.removing_s)
        self.times.merge(tally.times)
        if tally.delivered:
            self.rows_out += tally.delivered.total()
            self.rows_by_sink.update(tally.delivered)
        for of, found in tally.observed.items():
            self._observe(of, found)

    def _observe(self, of: Observe, found: Sequence[list[Any]]) -> None:
        try:
            for states in found:
                so_far = self.observed.get(of, [])
                if so_far is not None:
                    self.observed[of] = of.merge(so_far, states) if so_far else states
        except Exception as error:  # noqa: BLE001 - a user's aggregator raises what it likes
            self.observed[of] = None
            _warn(of, error)


def sample(timestamps: Sequence[int]) -> Sequence[int]:
    """Return a few of them, evenly spread."""
    step = -(-len(timestamps) // SAMPLED_PER_CHUNK)
    return timestamps[::step] if step > 1 else timestamps


def latency(sampled: list[int]) -> Latency | None:
    """Return what a sample says, None where it is empty.

    >>> latency([4, 1, 3, 2])
    Latency(p50=2, p95=4, p99=4, max=4)
    """
    if not sampled:
        return None
    ordered = sorted(sampled)

    def at(percent: int) -> int:
        return ordered[math.ceil(percent * len(ordered) / 100) - 1]

    return Latency(p50=at(50), p95=at(95), p99=at(99), max=ordered[-1])


def _add(so_far: dict[str, float], more: dict[str, float]) -> None:
    for name, seconds in more.items():
        so_far[name] = so_far.get(name, 0.0) + seconds


def _empty(of: Observe) -> list[Any]:
    return [column.init() for column in of.columns.values()]


def _warn(of: Observe, error: Exception) -> None:
    log.warning(
        "What observe %r asks cannot be told: %s: %s. The records are processed all the same.",
        of.name, type(error).__name__, error,
    )  # fmt: skip
