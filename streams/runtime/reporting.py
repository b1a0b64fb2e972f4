"""Reporting: from what the worker did in a batch to its Progress."""

import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence

from penstock.engine.batch import Batch
from penstock.query.progress import (
    Progress,
    SinkProgress,
    SourceProgress,
    StateOperatorProgress,
    behind,
    iso,
    nested,
    query_id,
)
from penstock.runtime.tasks import OwnedTask
from penstock.topology.graph import Topology

RECENT = 100
DUPLICATES = "numDroppedDuplicateRows"  # as Spark calls them

Latest = Callable[[Iterable[tuple[str, int]]], dict[tuple[str, int], int]]


class Reporter:
    """Measure the phases of each batch and keep the recent progress.

    Attributes:
        recent: the last hundred batches.
    """

    def __init__(self, topology: Topology, run_id: uuid.UUID) -> None:
        self.recent: deque[Progress] = deque(maxlen=RECENT)
        self._topology = topology
        self._run_id = run_id
        self._began = self._before = self._last = 0.0
        self._began_ms = 0
        self._durations: dict[str, float] = {}

    def begin(self, now: float, now_ms: int) -> None:
        """Note that a batch begins."""
        self._before, self._began, self._last = self._began, now, now
        self._began_ms = now_ms
        self._durations = {}

    def phase(self, name: str, now: float) -> None:
        """Note that a phase has ended: it took since the phase before it."""
        self._durations[name] = now - self._last
        self._last = now

    def committed(
        self, batch: Batch, tasks: Sequence[OwnedTask], latest: Latest, now: float
    ) -> None:
        """Keep the progress of a committed batch."""
        took = max(0.001, now - self._began)
        pause = self._began - self._before if self._before else 0.0
        self.recent.append(
            Progress(
                id=query_id(self._topology.application),
                run_id=self._run_id,
                name=self._topology.application,
                timestamp=iso(self._began_ms),
                batch_id=batch.id.number,
                batch_duration=round(took * 1000),
                num_input_rows=batch.rows,
                input_rows_per_second=_rate(batch.rows, pause),
                processed_rows_per_second=_rate(batch.rows, took),
                duration_ms=self._milliseconds(took),
                event_time=_event_time(tasks),
                state_operators=_stores(tasks),
                sources=(self._source(batch, latest, pause, took),),
                sink=SinkProgress(
                    description=", ".join(self._sinks()), num_output_rows=batch.rows_out
                ),
                num_failed_rows=batch.rows_failed,
                num_dropped_rows=sum(owned.task.take_dropped() for owned in tasks if owned.task),
            )
        )

    def _milliseconds(self, took: float) -> dict[str, int]:
        found = {name: round(seconds * 1000) for name, seconds in sorted(self._durations.items())}
        return found | {"triggerExecution": round(took * 1000)}

    def _source(self, batch: Batch, latest: Latest, pause: float, took: float) -> SourceProgress:
        ends = latest(batch.next_offsets)
        lags = behind(batch.next_offsets, ends)
        topics = sorted({topic for topic, _ in batch.next_offsets})
        return SourceProgress(
            description=f"Kafka[{', '.join(topics)}]",
            start_offset=nested(batch.start_offsets),
            end_offset=nested(batch.next_offsets),
            latest_offset=nested({at: end for at, end in ends.items() if end >= 0}),
            num_input_rows=batch.rows,
            input_rows_per_second=_rate(batch.rows, pause),
            processed_rows_per_second=_rate(batch.rows, took),
            metrics=_lag_metrics(lags),
        )

    def _sinks(self) -> list[str]:
        return sorted(
            {node.detail for node in self._topology if node.sink and not node.sink.internal}
        )


def _rate(rows: int, seconds: float) -> float:
    return round(rows / seconds, 1) if seconds else 0.0


def _lag_metrics(lags: list[int]) -> dict[str, str]:
    if not lags:
        return {}
    return {
        "avgOffsetsBehindLatest": f"{sum(lags) / len(lags):.1f}",
        "maxOffsetsBehindLatest": str(max(lags)),
        "minOffsetsBehindLatest": str(min(lags)),
    }


def _event_time(tasks: Sequence[OwnedTask]) -> dict[str, str]:
    clocks = [clock for owned in tasks if owned.task for clock in owned.task.clocks.values()]
    newest = max(clocks, default=-1)  # -1 is the clock that no record has moved
    return {"max": iso(newest)} if newest >= 0 else {}


def _stores(tasks: Sequence[OwnedTask]) -> tuple[StateOperatorProgress, ...]:
    names = dict.fromkeys(name for owned in tasks for name in owned.stores)
    late = sum((owned.task.take_late() for owned in tasks if owned.task), Counter[str]())
    duplicates = sum(
        (owned.task.take_duplicates() for owned in tasks if owned.task), Counter[str]()
    )
    return tuple(
        StateOperatorProgress(
            operator_name=name,
            num_rows_updated=sum(
                owned.task.overlays[name].last_updated
                for owned in tasks
                if owned.task and name in owned.stores
            ),
            num_rows_dropped_by_watermark=late[name],
            custom_metrics={DUPLICATES: duplicates[name]} if name in duplicates else {},
            num_state_store_instances=sum(name in owned.stores for owned in tasks),
        )
        for name in names
    )
