"""Progress: what a worker did since it last told, with Spark's field names and meanings.

Attributes are snake_case, `to_json()` is Spark's camelCase (StreamingQueryProgress), so that
what reads Spark's progress reads ours. Facts that Spark does not have stand under new names
at the end. Counts are exact; rates are derived from them. Maps and lists that are empty are there
all the same, where Spark leaves them out.

Batches are many and small, so one record covers all since the record before it, at most one a
second: counts and durations are sums, `batchId` is the last one's, `batches` how many they are.
"""

import datetime
import math
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999  # the years 1 and 9999

Offsets = Mapping[str, Mapping[str, int]]  # by topic, then by partition as text


class StateOperatorProgress(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One store of a worker.

    Attributes:
        operator_name: the store's name.
        num_rows_total: keys in it, of the partitions that this worker runs; stores of sessions and
            processors have some for what time will do, too. It is exact, but where
            `customMetrics` has `numRowsTotalIsEstimate`.
        num_rows_updated: keys that the batches put, once for each batch.
        all_updates_time_ms: how long its step took over records, with what users' functions take
            and with encoding changes; of a step with several stores it is told of the first.
        num_rows_removed: keys that the batches deleted.
        all_removals_time_ms: how long closing windows, timers, expiring and deleting took.
        commit_time_ms: how long taking over and writing its changes took, behind the commit.
        memory_used_bytes: about: entries in memory, as if each were a count under a short key, and
            what RocksDB has not written to files yet. Its block cache is all stores' together.
        num_rows_dropped_by_watermark: windows that records came too late for, of each record all
            that it has missed, as Kafka Streams counts them; a session is one.
        num_shuffle_partitions: partitions of the store in the whole application.
        num_state_store_instances: partitions of the store in this worker.
        custom_metrics: `stateOnDiskBytes`: of its files; `numDroppedDuplicateRows` where the store
            is one of drop_duplicates; `numRowsTotalIsEstimate`, 1 where RocksDB has estimated the
            keys when the store was opened, after more than 100,000 changelog records were
            restored.
    """

    operator_name: str
    num_rows_total: int = 0
    num_rows_updated: int = 0
    all_updates_time_ms: int = 0
    num_rows_removed: int = 0
    all_removals_time_ms: int = 0
    commit_time_ms: int = 0
    memory_used_bytes: int = 0
    num_rows_dropped_by_watermark: int = 0
    num_shuffle_partitions: int = 0
    num_state_store_instances: int = 0
    custom_metrics: Mapping[str, int] = msgspec.field(default_factory=dict[str, int])


class PartitionProgress(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One input partition.

    Attributes:
        num_input_rows: records read.
        input_rows_per_second: records over the time that the progress covers.
        lag: records, or markers of transactions, from our position to the end; None where the
            end is not known.
        retention_headroom_offsets: how many offsets our position is ahead of the first one that
            the broker still has; None where that is not known.
        retention_headroom_ms: for how long what comes next is still safe from retention; None
            where nothing is deleted by time, or it is not known.
    """

    num_input_rows: int = 0
    input_rows_per_second: float = 0.0
    lag: int | None = None
    retention_headroom_offsets: int | None = None
    retention_headroom_ms: int | None = None


class SourceProgress(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The topics that the batches read: all partitions that the worker has, or had meanwhile.

    Attributes:
        description: what is read.
        start_offset: where the batches began, by topic and partition: what was committed before.
        end_offset: where they have ended; what is committed now.
        latest_offset: end of the partition as the client last saw it, where known.
        num_input_rows: records read.
        input_rows_per_second: records over the time since the record before was begun.
        processed_rows_per_second: records over the time that all batches took.
        metrics: offsets behind the latest: average, maximum, minimum over partitions, as text.
        partitions: by topic and partition, of all that the worker has.
    """

    description: str
    start_offset: Offsets
    end_offset: Offsets
    latest_offset: Offsets
    num_input_rows: int
    input_rows_per_second: float
    processed_rows_per_second: float
    metrics: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
    partitions: Mapping[str, Mapping[str, PartitionProgress]] = msgspec.field(
        default_factory=dict[str, Mapping[str, PartitionProgress]]
    )


class SinkProgress(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The topics that the batches wrote.

    Attributes:
        description: their names.
        num_output_rows: records that were written to topics, or handed to a console or a memory
            that does not show whole tables; changelogs, repartition topics and dead letters are
            not counted.
        metrics: nothing so far.
    """

    description: str
    num_output_rows: int
    metrics: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])


class Latency(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """From a record's timestamp to its commit, in milliseconds, of a sample of the records.

    Attributes:
        p50: half of them took at most so long.
        p95: 95 of 100.
        p99: 99 of 100.
        max: the longest of the sample.
    """

    p50: int
    p95: int
    p99: int
    max: int


class Progress(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What a worker did since it last told.

    Attributes:
        id: of the query, the same over restarts.
        run_id: of this run.
        name: the application id.
        timestamp: when the first batch began, ISO 8601, UTC.
        batch_id: number of the last batch in this run.
        batch_duration: milliseconds that the batches took together, without those in which they
            waited for records: the same as `durationMs.triggerExecution`.
        num_input_rows: records read.
        input_rows_per_second: records over the time since the record before was begun.
        processed_rows_per_second: records over the time that the batches took.
        duration_ms: milliseconds per phase, of all batches together: `latestOffset` (looking up
            the ends of inputs), `getBatch` (taking records from the client), `queryPlanning` (0:
            the topology is planned once, before the first), `addBatch` (processing), `walCommit`
            (flushing stores into changelogs, and the producer), `commitOffsets` (the
            transaction's end), `stateCommit` (taking the batch into the stores); and
            `triggerExecution`, their sum. What was aborted is not among it.
        event_time: `max`, `min` and `avg` of the event times of the records that were read, and the
            `watermark`, ISO 8601, where something goes by event time: the least of all tasks' and
            steps' times, each less what its records may be late. A partition that nothing has
            come to yet does not hold it back.
        state_operators: one per store.
        sources: one per sub-topology that reads records.
        sink: all outputs together.
        observed_metrics: what `observe` has asked, by its name.
        instance_id: of the worker, the same over restarts on the same disk.
        batches: how many the record covers.
        max_batch_duration: milliseconds of the longest of them.
        waiting_ms: for how long they waited for records while they were open.
        sinks: one per output, where there are several.
        lag: records from our positions to the ends of all inputs, as far as these are known.
        falling_behind_ms: for how long the lag has been growing without a break.
        latency_ms: from a record's timestamp to its commit; None where no record came.
        num_dropped_rows: records without key or value that steps have dropped.
        num_failed_rows: records that failed and were skipped, or are dead letters; those without
            an event time, or with one too far ahead, among them.
        num_dead_letters: those of them that were written to a topic.
        num_late_rows: records that came too late for a window, or to be told from a duplicate, once
            each.
        rebalances: how often the group has given or taken partitions.
        restored_rows: records that were read to restore stores.
        restore_ms: milliseconds that restoring took.
        rebalance_ms: milliseconds that giving partitions back took, with the batches that were
            committed for it.
    """

    id: uuid.UUID
    run_id: uuid.UUID
    name: str
    timestamp: str
    batch_id: int
    batch_duration: int
    num_input_rows: int
    input_rows_per_second: float
    processed_rows_per_second: float
    duration_ms: Mapping[str, int] = msgspec.field(default_factory=dict[str, int])
    event_time: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
    state_operators: tuple[StateOperatorProgress, ...]
    sources: tuple[SourceProgress, ...]
    sink: SinkProgress
    observed_metrics: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])
    instance_id: str = ""
    batches: int = 1
    max_batch_duration: int = 0
    waiting_ms: int = 0
    sinks: tuple[SinkProgress, ...] = ()
    lag: int = 0
    falling_behind_ms: int = 0
    latency_ms: Latency | None = None
    num_dropped_rows: int = 0
    num_failed_rows: int = 0
    num_dead_letters: int = 0
    num_late_rows: int = 0
    rebalances: int = 0
    restored_rows: int = 0
    restore_ms: int = 0
    rebalance_ms: int = 0

    @property
    def falling_behind(self) -> bool:
        """Whether more comes than is processed: the lag has grown over several records."""
        return self.falling_behind_ms > 0

    def to_json(self) -> str:
        """Return the progress as JSON with Spark's names."""
        return msgspec.json.encode(self, order=None).decode()


def query_id(application: str) -> uuid.UUID:
    """Return the id of an application's query: the same in every run, on every host."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"penstock:{application}")


def iso(milliseconds: int) -> str:
    """Return milliseconds since the epoch as Spark writes them.

    >>> iso(0)
    '1970-01-01T00:00:00.000Z'
    """
    # A record's timestamp is anybody's, and may be beyond what a calendar holds.
    within = min(max(milliseconds, _FIRST_MS), _LAST_MS)
    moment = _EPOCH + datetime.timedelta(milliseconds=within)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def nested(offsets: Mapping[tuple[str, int], int]) -> dict[str, dict[str, int]]:
    """Return offsets as Spark nests them: by topic, then by partition as text."""
    found: dict[str, dict[str, int]] = {}
    for (topic, partition), offset in sorted(offsets.items()):
        found.setdefault(topic, {})[str(partition)] = offset
    return found


def rate(rows: int, seconds: float) -> float:
    """Return rows per second with one decimal, 0.0 where the time is none.

    >>> rate(10, 3)
    3.3
    """
    found = rows / seconds if seconds > 0 else 0.0
    return round(found, 1) if math.isfinite(found) else 0.0


def lag_metrics(lags: Sequence[int]) -> dict[str, str]:
    """Return what Spark's Kafka source says of lags: numbers, as text."""
    if not lags:
        return {}
    return {
        "avgOffsetsBehindLatest": f"{sum(lags) / len(lags):.1f}",
        "maxOffsetsBehindLatest": str(max(lags)),
        "minOffsetsBehindLatest": str(min(lags)),
    }
