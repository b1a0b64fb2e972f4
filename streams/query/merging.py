"""Merging: several workers' progress as one.

Counts, durations, rates and lag add; of the watermark the lowest counts; of the longest batch, the
latency and falling behind the worst.
"""

import datetime
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

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

IS_ESTIMATE = "IsEstimate"  # metrics that end so are 1 for yes
_AVERAGE, _MOST, _LEAST = (f"{which}OffsetsBehindLatest" for which in ("avg", "max", "min"))


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


def _event_time(parts: Sequence[Progress]) -> dict[str, str]:
    found: dict[str, str] = {}
    times = [(part.event_time, part.num_input_rows) for part in parts]
    for name, choose in (("max", max), ("min", min), ("watermark", min)):
        told = [of[name] for of, _ in times if name in of]  # ISO 8601 sorts as time does
        if told:
            found[name] = choose(told)
    averages = [(milliseconds_of(of["avg"]), rows) for of, rows in times if "avg" in of]
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
        custom_metrics={
            name: min(1, told) if name.endswith(IS_ESTIMATE) else told
            for name, told in _added(part.custom_metrics for part in parts).items()
        },
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


def milliseconds_of(text: str) -> int:
    """Return a time of ISO 8601 as milliseconds since the epoch."""
    moment = datetime.datetime.fromisoformat(text)
    return round((moment - _EPOCH) / datetime.timedelta(milliseconds=1))


_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
