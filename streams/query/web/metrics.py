"""The metrics: a typed catalogue. What is exposed, summed and documented stands here alone.

Names follow Prometheus: a prefix, base units (seconds, bytes, records), `_total` for counters.
Each says how the workers of a supervisor become one: sums of what adds, the worst of what does
not. Advice for dashboards and alerts stands in the help texts, which people read there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
Combine: TypeAlias = Literal["sum", "min", "max"]
Name: TypeAlias = Literal[
    "penstock_info",
    "penstock_ready",
    "penstock_loop_silent_seconds",
    "penstock_records_in_total",
    "penstock_value_bytes_in_total",
    "penstock_records_out_total",
    "penstock_lag_records",
    "penstock_falling_behind_seconds",
    "penstock_retention_headroom_records",
    "penstock_retention_headroom_seconds",
    "penstock_batches_total",
    "penstock_batch_seconds",
    "penstock_phase_seconds_total",
    "penstock_latency_seconds",
    "penstock_watermark_lag_seconds",
    "penstock_state_rows",
    "penstock_state_memory_bytes",
    "penstock_state_disk_bytes",
    "penstock_state_updates_total",
    "penstock_late_records_total",
    "penstock_late_windows_total",
    "penstock_duplicates_total",
    "penstock_dropped_records_total",
    "penstock_failed_records_total",
    "penstock_dead_letters_total",
    "penstock_tasks",
    "penstock_rebalances_total",
    "penstock_restoring",
    "penstock_restore_remaining_records",
    "penstock_restored_records_total",
    "penstock_restore_seconds_total",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
    "process_start_time_seconds",
    "process_open_fds",
    "process_max_fds",
    "penstock_workers",
    "penstock_worker_restarts_total",
]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric.

    Attributes:
        kind: its type in Prometheus.
        help: what it says, and what to look at it for.
        combine: how several workers' values with the same labels become one.
        labels: names of its labels.
        supervisor: whether the supervisor alone has it.
    """

    kind: Kind
    help: str
    combine: Combine
    labels: tuple[str, ...] = ()
    supervisor: bool = False


def _counter(help: str, *labels: str, supervisor: bool = False) -> Metric:
    return Metric(kind="counter", help=help, combine="sum", labels=labels, supervisor=supervisor)


def _gauge(combine: Combine, help: str, *labels: str, supervisor: bool = False) -> Metric:
    return Metric(kind="gauge", help=help, combine=combine, labels=labels, supervisor=supervisor)


CATALOGUE: Final[Mapping[Name, Metric]] = {
    # The worker
    "penstock_info": _gauge(
        "max",
        "1, with the application id, the worker's lasting id and Penstock's version as labels.",
        *("application", "instance_id", "version"),
    ),
    "penstock_ready": _gauge(
        "min",
        "1 while everything that the worker has been given runs; 0 while it waits for partitions,"
        " restores or stops.",
    ),
    "penstock_loop_silent_seconds": _gauge(
        "max",
        "Time since the last step of the worker's loop. Beyond max_poll_interval_ms the worker is"
        " stuck, and loses its partitions.",
    ),
    # Input
    "penstock_records_in_total": _counter(
        "Records read, of committed batches. Repartition topics are inputs too.", "topic"
    ),
    "penstock_value_bytes_in_total": _counter(
        "Bytes of the values of records read, of committed batches."
    ),
    "penstock_lag_records": _gauge(
        "max",
        "Offsets from the committed one to the end of the partition, as the client last saw it."
        " Markers of transactions count.",
        *("topic", "partition"),
    ),
    "penstock_falling_behind_seconds": _gauge(
        "max",
        "For how long the lag has grown without a break; 0 where it has not.",
    ),
    "penstock_retention_headroom_records": _gauge(
        "min",
        "Offsets from the first one that the broker still has to the next one to be read. At 0"
        " retention deletes what was not processed.",
        *("topic", "partition"),
    ),
    "penstock_retention_headroom_seconds": _gauge(
        "min",
        "For how long the next record to be read is still safe from retention. Alert on it: below"
        " 0 data is lost.",
        *("topic", "partition"),
    ),
    # Output
    "penstock_records_out_total": _counter(
        "Records written, of committed batches, changelogs and repartition topics not counted.",
        "topic",
    ),
    # Batches
    "penstock_batches_total": _counter("Batches committed."),
    "penstock_batch_seconds": Metric(
        kind="histogram",
        help="Duration of committed batches, from the first record to the end of the commit.",
        combine="sum",
    ),
    "penstock_phase_seconds_total": _counter(
        "Time by phase of committed batches: getBatch fetches, addBatch processes, walCommit"
        " writes and flushes, commitOffsets commits.",
        "phase",
    ),
    "penstock_latency_seconds": _gauge(
        "max",
        "Time from a record's timestamp to its commit, of a sample of the last second's records;"
        " absent while none come. Several workers show the worst.",
        "quantile",
    ),
    "penstock_watermark_lag_seconds": _gauge(
        "max",
        "Time from the watermark to now, where something goes by event time. It grows while an"
        " input is silent.",
    ),
    # State
    "penstock_state_rows": _gauge("sum", "Keys in a store.", "store"),
    "penstock_state_memory_bytes": _gauge(
        "sum", "Memory that a store's entries take, about.", "store"
    ),
    "penstock_state_disk_bytes": _gauge("sum", "Size of a store's files.", "store"),
    "penstock_state_updates_total": _counter(
        "Keys changed by committed batches, once for each batch.", "store"
    ),
    # Records that come to nothing
    "penstock_late_records_total": _counter("Records that came too late for a window, once each."),
    "penstock_late_windows_total": _counter(
        "Windows that records came too late for, of each record all that it has missed.", "store"
    ),
    "penstock_duplicates_total": _counter("Records dropped by drop_duplicates.", "store"),
    "penstock_dropped_records_total": _counter("Records dropped for want of a key or value."),
    "penstock_failed_records_total": _counter(
        "Records that failed and were skipped or became dead letters. Alert on any."
    ),
    "penstock_dead_letters_total": _counter("Failed records that were written to a topic."),
    # Tasks
    "penstock_tasks": _gauge(
        "sum",
        "Tasks, by what they do: running, restoring, or waiting for the owner before them.",
        "phase",
    ),
    "penstock_rebalances_total": _counter(
        "How often the group has given partitions or taken some."
    ),
    "penstock_restoring": _gauge("max", "1 while a store is restored, 0 else."),
    "penstock_restore_remaining_records": _gauge(
        "sum", "Changelog records that are still to be read, at most.", "store"
    ),
    "penstock_restored_records_total": _counter("Changelog records read to restore stores."),
    "penstock_restore_seconds_total": _counter("Time that restoring stores took."),
    # The process
    "process_cpu_seconds_total": _counter("Processor time of the process."),
    "process_resident_memory_bytes": _gauge("sum", "Memory of the process that is in use."),
    "process_virtual_memory_bytes": _gauge("sum", "Address space of the process."),
    "process_start_time_seconds": _gauge("min", "When the process was started, since the epoch."),
    "process_open_fds": _gauge("max", "Open files, sockets among them."),
    "process_max_fds": _gauge("min", "How many files the process may have open."),
    # The supervisor
    "penstock_workers": _gauge(
        "sum", "Workers of this supervisor, by whether they answer.", "state", supervisor=True
    ),
    "penstock_worker_restarts_total": _counter(
        "How often a worker that had ended was started again.", "worker", supervisor=True
    ),
}
