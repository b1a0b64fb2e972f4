"""Tally: what a task counts beside its results, for those who report them.

Rule 1: what a chunk counts is undone where the chunk is, and what a batch counts where the batch
        is: `accept` and `undo`, `take` and `discard`, as for its stores.
Rule 2: time that was spent is spent, also on what was undone within the batch.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.operators.chunk import Chunk
from penstock.operators.deliver import Deliver
from penstock.operators.event_time import EventTimes
from penstock.operators.late import LateCount
from penstock.operators.observe import Observe
from penstock.topology.node import Node


@dataclass
class Tally:
    """What was counted.

    Attributes:
        dropped: records without key or value.
        late: windows that records came too late for, by store.
        late_records: records that came too late for any, once each.
        duplicates: records that were dropped as such, by store.
        times: the event times of the records, where something goes by them.
        updating_s: seconds that steps took over their records, by store.
        removing_s: seconds that closing, expiring and deleting took, by store.
        delivered: rows handed to outputs in this process, by what they are called.
        observed: states of each `observe`, one for each chunk.
    """

    dropped: int = 0
    late: Counter[str] = field(default_factory=Counter[str])
    late_records: int = 0
    duplicates: Counter[str] = field(default_factory=Counter[str])
    times: EventTimes = field(default_factory=EventTimes)
    updating_s: dict[str, float] = field(default_factory=dict[str, float])
    removing_s: dict[str, float] = field(default_factory=dict[str, float])
    delivered: Counter[str] = field(default_factory=Counter[str])
    observed: dict[Observe, list[list[Any]]] = field(default_factory=dict[Observe, list[list[Any]]])

    def updated_for(self, store: str, seconds: float) -> None:
        """Add how long a step took over records."""
        self.updating_s[store] = self.updating_s.get(store, 0.0) + seconds

    def removed_for(self, store: str, seconds: float) -> None:
        """Add how long a step took to close and delete."""
        self.removing_s[store] = self.removing_s.get(store, 0.0) + seconds


class Counting:
    """Count for one task.

    Args:
        opened: the steps at work.

    Attributes:
        times: event times that the chunk has.
        nulls: records of the chunk without a value.
        batch: what was accepted so far.
    """

    def __init__(self, opened: Mapping[Node, Any]) -> None:
        self._steps = [(node.clock, step) for node, step in opened.items() if node.per_task]
        self.times = EventTimes()
        self.nulls = 0
        self.batch = Tally()
        self._observed: list[tuple[Observe, list[Any]]] = []
        self._delivered: list[tuple[str, int]] = []

    def deliver(self, operator: Deliver, rows: int) -> None:
        """Count rows for an output that is not shown whole tables."""
        if operator.mode != "complete":
            self._delivered.append((operator.kind, rows))

    def observe(self, operator: Observe, chunk: Chunk) -> None:
        """Add up what an `observe` asks of a chunk; a function that it calls may raise."""
        self._observed.append((operator, operator.states(chunk)))

    def accept(self) -> None:
        """Count what was counted since the last call."""
        batch = self.batch
        batch.dropped += self.nulls
        self.nulls = 0
        if self.times.count:
            batch.times.merge(self.times)
            self.times = EventTimes()
        for operator, states in self._observed:
            batch.observed.setdefault(operator, []).append(states)
        for kind, rows in self._delivered:
            batch.delivered[kind] += rows
        self._observed, self._delivered = [], []
        late_at = set[int]()
        for store, step in self._steps:
            batch.dropped += step.dropped
            if step.late:
                batch.late[store] += step.late
                late_at |= step.late_count.offsets
                batch.late_records += step.late_count.others
            if getattr(step, "duplicates", 0):
                batch.duplicates[store] += step.duplicates
        batch.late_records += len(late_at)
        self._begin()

    def undo(self) -> None:
        """Forget what was counted since the last `accept`."""
        self.nulls, self._observed, self._delivered = 0, [], []
        self.times = EventTimes()
        self._begin()

    def discard(self) -> None:
        """Forget what the batch has counted: it was aborted."""
        self.undo()
        self.batch = Tally()

    def take(self) -> Tally:
        """Return what the batch has counted, and begin anew."""
        taken, self.batch = self.batch, Tally()
        return taken

    def _begin(self) -> None:
        for _, step in self._steps:
            step.dropped = 0
            if step.late:
                step.late, step.late_count = 0, LateCount()
            if hasattr(step, "duplicates"):
                step.duplicates = 0
