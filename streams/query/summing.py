"""Summing: from what the workers of an application tell to one progress of all of them.

Rule 1: of each worker its last record counts. One that has told of idling since counts with its
        state and its lag, and with no rows.
Rule 2: a worker is known by its instance id: one that has restarted counts once.
Rule 3: one that has ended, or has told nothing for long, does not count. How long is told by the
        timestamps of what comes, not by this process's clock.
Rule 4: counts, durations, rates and lag add; of the watermark the lowest counts, of the longest
        batch, the latency and falling behind the worst.
"""

import datetime
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from penstock.query.events import Idle, Rebalance, Terminated, Told
from penstock.query.progress import (
    Latency,
    Offsets,
    PartitionProgress,
    Progress,
    SinkProgress,
    SourceProgress,
    StateOperatorProgress,
    iso,
)

T = TypeVar("T")
At = tuple[str, str]
Assigned = Mapping[str, tuple[int, ...]]

SILENT_MS = 30_000  # an idle worker tells that every ten seconds
_AVERAGE, _MOST, _LEAST = (f"{which}OffsetsBehindLatest" for which in ("avg", "max", "min"))


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
        at_ms = _milliseconds(told.timestamp)
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


def total(parts: Iterable[Progress | None]) -> Progress | None:
    """Return several workers' progress as one, which is of no instance; None for none.

    What `observe` has counted is in it where one worker alone has told it: whether numbers add
    depends on the aggregator.
    """
    found = sorted((part for part in parts if part), key=lambda part: part.timestamp)
    if not found:
        return None
    last = found[-1]
    return Progress(
        id=last.id,
        run_id=last.run_id,
        name=last.name,
        timestamp=last.timestamp,
        batch_id=_most(found, "batch_id"),
        duration_ms=_added(part.duration_ms for part in found),
        event_time=_event_time(found),
        state_operators=_by_name(found, lambda p: p.state_operators, "operator_name", _operator),
        sources=tuple(map(_source, _same_sources(found))),
        sink=_sink([part.sink for part in found]),
        sinks=_by_name(found, lambda p: p.sinks, "description", _sink),
        observed_metrics=_observed(found),
        latency_ms=_latency(found),
        max_batch_duration=_most(found, "max_batch_duration"),
        falling_behind_ms=_most(found, "falling_behind_ms"),
        **{name: _sum(found, name) for name in ADDED},
    )


ADDED = (
    "batch_duration",
    "num_input_rows",
    "input_rows_per_second",
    "processed_rows_per_second",
    "batches",
    "lag",
    "num_dropped_rows",
    "num_failed_rows",
    "num_dead_letters",
    "num_late_rows",
    "rebalances",
    "restored_rows",
    "rebalance_ms",
    "restore_ms",
    "waiting_ms",
)


def _told(told: Told) -> dict[str, Any]:
    if isinstance(told, Progress):
        return {"progress": told, "assigned": _of_sources(told), "idle": None}
    if isinstance(told, Idle):
        return {"idle": told}
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
        custom_metrics={n: v for n, v in store.custom_metrics.items() if n.endswith("Bytes")},
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


# Parts of a progress


def _event_time(parts: Sequence[Progress]) -> dict[str, str]:
    found: dict[str, str] = {}
    times = [(part.event_time, part.num_input_rows) for part in parts]
    for name, choose in (("max", max), ("min", min), ("watermark", min)):
        told = [of[name] for of, _ in times if name in of]  # ISO 8601 sorts as time does
        if told:
            found[name] = choose(told)
    averages = [(_milliseconds(of["avg"]), rows) for of, rows in times if "avg" in of]
    rows = sum(n for _, n in averages)
    if rows:
        found["avg"] = iso(sum(at * n for at, n in averages) // rows)
    return dict(sorted(found.items()))


def _operator(parts: Sequence[StateOperatorProgress]) -> StateOperatorProgress:
    added = {
        name: _sum(parts, name)
        for name in StateOperatorProgress.__struct_fields__
        if name not in ("operator_name", "num_shuffle_partitions", "custom_metrics")
    }
    return StateOperatorProgress(
        operator_name=parts[0].operator_name,
        num_shuffle_partitions=_most(parts, "num_shuffle_partitions"),
        custom_metrics=_added(part.custom_metrics for part in parts),
        **added,
    )


def _same_sources(parts: Sequence[Progress]) -> list[list[SourceProgress]]:
    """Return the sources of each sub-topology: a topic belongs to one, a worker may lack some."""
    groups: list[tuple[set[str], list[SourceProgress]]] = []
    for source in (source for part in parts for source in part.sources):
        topics = {source.description, *source.partitions, *source.end_offset}
        mine = [group for group in groups if not group[0].isdisjoint(topics)]
        merged = (
            topics.union(*(names for names, _ in mine)),
            [*(of for _, members in mine for of in members), source],
        )
        groups = [*(group for group in groups if group not in mine), merged]
    return [members for _, members in groups]


def _source(parts: Sequence[SourceProgress]) -> SourceProgress:
    return SourceProgress(
        description=max((part.description for part in parts), key=len),
        start_offset=_offsets((part.start_offset for part in parts), min),
        end_offset=_offsets((part.end_offset for part in parts), max),
        latest_offset=_offsets((part.latest_offset for part in parts), max),
        num_input_rows=_sum(parts, "num_input_rows"),
        input_rows_per_second=_sum(parts, "input_rows_per_second"),
        processed_rows_per_second=_sum(parts, "processed_rows_per_second"),
        metrics=_behind(parts),
        partitions=_partitions(parts),
    )


def _offsets(several: Iterable[Offsets], choose: Callable[[int, int], int]) -> Offsets:
    found: dict[str, dict[str, int]] = {}
    for offsets in several:
        for topic, numbers in offsets.items():
            of = found.setdefault(topic, {})
            for number, offset in numbers.items():
                of[number] = choose(of.get(number, offset), offset)
    return {topic: dict(sorted(of.items(), key=_by_number)) for topic, of in sorted(found.items())}


def _behind(parts: Sequence[SourceProgress]) -> dict[str, str]:
    told = [part for part in parts if _AVERAGE in part.metrics]
    if not told:
        return {}
    partitions = [sum(map(len, part.end_offset.values())) or 1 for part in told]
    offsets = sum(float(p.metrics[_AVERAGE]) * n for p, n in zip(told, partitions, strict=True))
    return {
        _AVERAGE: f"{offsets / sum(partitions):.1f}",
        _MOST: str(max(int(part.metrics.get(_MOST, 0)) for part in told)),
        _LEAST: str(min(int(part.metrics.get(_LEAST, 0)) for part in told)),
    }


def _partitions(parts: Sequence[SourceProgress]) -> dict[str, dict[str, PartitionProgress]]:
    found: dict[str, dict[str, PartitionProgress]] = {}
    for part in parts:
        for topic, numbers in part.partitions.items():
            of = found.setdefault(topic, {})
            for number, told in numbers.items():
                before = of.get(number)
                of[number] = _partition(before, told) if before else told
    return {topic: dict(sorted(of.items(), key=_by_number)) for topic, of in sorted(found.items())}


def _partition(before: PartitionProgress, last: PartitionProgress) -> PartitionProgress:
    """Return what two owners in a row have told of a partition: the last one knows where it is."""
    return msgspec.structs.replace(
        last,
        num_input_rows=before.num_input_rows + last.num_input_rows,
        input_rows_per_second=before.input_rows_per_second + last.input_rows_per_second,
    )


def _sink(parts: Sequence[SinkProgress]) -> SinkProgress:
    return msgspec.structs.replace(parts[-1], num_output_rows=_sum(parts, "num_output_rows"))


def _observed(parts: Sequence[Progress]) -> dict[str, Any]:
    told = Counter(name for part in parts for name in part.observed_metrics)
    return {
        name: value
        for part in parts
        for name, value in part.observed_metrics.items()
        if told[name] == 1
    }


def _latency(parts: Sequence[Progress]) -> Latency | None:
    told = [part.latency_ms for part in parts if part.latency_ms]
    if not told:
        return None
    return Latency(**{name: _most(told, name) for name in Latency.__struct_fields__})


def _by_name(
    parts: Sequence[Progress],
    members: Callable[[Progress], Sequence[T]],
    name: str,
    merged: Callable[[Sequence[T]], T],
) -> tuple[T, ...]:
    groups: dict[str, list[T]] = {}
    for member in (member for part in parts for member in members(part)):
        groups.setdefault(getattr(member, name), []).append(member)
    return tuple(map(merged, groups.values()))


def _added(several: Iterable[Mapping[str, int]]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for counts in several:
        found.update(counts)
    return dict(sorted(found.items()))


def _sum(parts: Sequence[object], name: str) -> Any:
    added = sum(getattr(part, name) for part in parts)
    return round(added, 1) if isinstance(added, float) else added


def _most(parts: Sequence[object], name: str) -> int:
    found: int = max(getattr(part, name) for part in parts)
    return found


def _by_number(item: tuple[str, Any]) -> int:
    return int(item[0])


def _milliseconds(text: str) -> int:
    moment = datetime.datetime.fromisoformat(text)
    return round((moment - _EPOCH) / datetime.timedelta(milliseconds=1))


_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
