"""Summing: from what the workers of an application tell to one progress of all of them.

Rule 1: of each worker its last record counts. One that has told of idling since counts with its
        state and its lag, and with no rows.
Rule 2: a worker is known by its instance id: one that has restarted counts once.
Rule 3: one that has ended, or has told nothing for long, does not count. How long is told by the
        timestamps of what comes, not by this process's clock.

How their records become one stands in `merging`.
"""

import uuid
from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.query.events import Idle, Rebalance, Terminated, Told
from penstock.query.merging import ADDED, IS_ESTIMATE, milliseconds_of, total
from penstock.query.progress import Progress, SourceProgress, StateOperatorProgress

Assigned = Mapping[str, tuple[int, ...]]

SILENT_MS = 30_000  # an idle worker tells that every ten seconds


class WorkerProgress(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What one worker of an application has told last.

    Attributes:
        instance_id: of the worker, the same over restarts on the same disk.
        run_id: of its run.
        last_seen_ms: when it has told anything, milliseconds since the epoch.
        progress: its last record of progress; None where it has told none yet.
        assigned: what it reads, by topic.
        idle: what it has told since, where it idles.
    """

    instance_id: str
    run_id: uuid.UUID
    last_seen_ms: int
    progress: Progress | None = None
    assigned: Assigned = msgspec.field(default_factory=dict[str, tuple[int, ...]])
    idle: Idle | None = None


class Application:
    """The progress of all workers of one application, told in the order of its topic.

    Args:
        silent_ms: a worker that has told nothing for longer does not count. It has to be longer
            than `ProgressSettings.interval_ms` and the ten seconds between two events of idling.
    """

    def __init__(self, *, silent_ms: int = SILENT_MS) -> None:
        self._silent_ms = silent_ms
        self._seen: dict[str, WorkerProgress] = {}
        self._now_ms = 0

    def add(self, told: Told) -> None:
        """Take note of what a worker has told."""
        at_ms = milliseconds_of(told.timestamp)
        self.reach(at_ms)
        before = self._seen.get(told.instance_id)
        if before and before.run_id != told.run_id:
            if at_ms < before.last_seen_ms or isinstance(told, Terminated):
                return  # the last words of a run that another one has followed
            before = None
        if isinstance(told, Terminated):
            self._seen.pop(told.instance_id, None)
            return
        worker = before or WorkerProgress(
            instance_id=told.instance_id, run_id=told.run_id, last_seen_ms=at_ms
        )
        changed = {"last_seen_ms": max(worker.last_seen_ms, at_ms), **_told(told)}
        self._seen[told.instance_id] = msgspec.structs.replace(worker, **changed)

    def reach(self, now_ms: int) -> None:
        """Note that it is this late, though nobody has told anything.

        Args:
            now_ms: milliseconds since the epoch.
        """
        self._now_ms = max(self._now_ms, now_ms)

    @property
    def workers(self) -> tuple[WorkerProgress, ...]:
        """Those who run, by their instance ids."""
        since = self._now_ms - self._silent_ms
        return tuple(of for _, of in sorted(self._seen.items()) if of.last_seen_ms >= since)

    @property
    def progress(self) -> Progress | None:
        """The sum over those who run; None where none of them has told any progress."""
        return total([_counted(worker) for worker in self.workers if worker.progress])


def _told(told: Told) -> dict[str, Any]:
    if isinstance(told, Progress):
        return {"progress": told, "assigned": _of_sources(told), "idle": None}
    if isinstance(told, Idle):
        return {"idle": told, **({} if told.assigned is None else {"assigned": told.assigned})}
    return {"assigned": told.assigned} if isinstance(told, Rebalance) else {}


def _of_sources(progress: Progress) -> Assigned:
    return {
        topic: tuple(sorted(map(int, numbers)))
        for source in progress.sources
        for topic, numbers in source.partitions.items()
    }


def _counted(worker: WorkerProgress) -> Progress | None:
    """Return what of a worker's last record holds still."""
    progress, idle = worker.progress, worker.idle
    if progress is None:
        return None
    if idle is None:
        return msgspec.structs.replace(progress, lag=_lag_left(progress, worker.assigned))
    kept = {name: text for name, text in progress.event_time.items() if name == "watermark"}
    return msgspec.structs.replace(
        progress,
        **{**dict.fromkeys(ADDED, 0), "lag": idle.lag},
        timestamp=idle.timestamp,
        duration_ms={},
        event_time=kept,
        state_operators=tuple(map(_at_rest, progress.state_operators)),
        sources=tuple(map(_unread, progress.sources)),
        sink=msgspec.structs.replace(progress.sink, num_output_rows=0),
        sinks=tuple(msgspec.structs.replace(of, num_output_rows=0) for of in progress.sinks),
        observed_metrics={},
        latency_ms=None,
        max_batch_duration=0,
        falling_behind_ms=0,
    )


def _lag_left(progress: Progress, assigned: Assigned) -> int:
    """Leave out partitions that the worker has given back since: another one tells of them."""
    given = (
        of.lag or 0
        for source in progress.sources
        for topic, numbers in source.partitions.items()
        for number, of in numbers.items()
        if int(number) not in assigned.get(topic, ())
    )
    return max(0, progress.lag - sum(given))


def _at_rest(store: StateOperatorProgress) -> StateOperatorProgress:
    return StateOperatorProgress(
        operator_name=store.operator_name,
        num_rows_total=store.num_rows_total,
        memory_used_bytes=store.memory_used_bytes,
        num_shuffle_partitions=store.num_shuffle_partitions,
        num_state_store_instances=store.num_state_store_instances,
        custom_metrics={
            name: told
            for name, told in store.custom_metrics.items()
            if name.endswith(("Bytes", IS_ESTIMATE))
        },
    )


def _unread(source: SourceProgress) -> SourceProgress:
    return SourceProgress(
        description=source.description,
        start_offset=source.end_offset,
        end_offset=source.end_offset,
        latest_offset=source.latest_offset,
        num_input_rows=0,
        input_rows_per_second=0.0,
        processed_rows_per_second=0.0,
        metrics={},
        partitions={
            topic: {
                number: msgspec.structs.replace(of, num_input_rows=0, input_rows_per_second=0.0)
                for number, of in numbers.items()
            }
            for topic, numbers in source.partitions.items()
        },
    )
