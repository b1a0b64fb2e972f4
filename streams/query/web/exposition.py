"""The exposition: what a worker measures, in Prometheus' text format, made when it is asked for.

Between scrapes it costs nothing: numbers come from the monitor's totals, from the last record of
progress, and from a look at what the worker does now. What is measured by the user's own
prometheus_client metrics, in its default registry, stands behind ours.
"""

import datetime
import logging
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Final, cast

from prometheus_client import REGISTRY, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from penstock.query.monitor import View
from penstock.query.progress import Progress
from penstock.query.totals import BATCH_SECONDS
from penstock.query.web.metrics import CATALOGUE, Name
from penstock.query.web.subject import Subject
from penstock.topology.graph import Topology
from penstock.version import __version__

log = logging.getLogger("penstock")

FRESH_S: Final = 30.0  # what the last records were like says nothing of now for longer
PHASES: Final = ("running", "restoring", "waiting for stable offsets")
OURS: Final = ("penstock_", "process_")
QUANTILES: Final = {"0.5": "p50", "0.95": "p95", "0.99": "p99", "1": "max"}

Samples = Iterable[tuple[tuple[str, ...], float]]


class Exposition:
    """The metrics of a worker.

    Args:
        subject: the run.
    """

    def __init__(self, subject: Subject) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Worker(subject))
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """Return all metrics as they are now."""
        return generate_latest(self._registry) + _of_the_user()


class _Worker(Collector):
    """What the catalogue has of a worker."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    def collect(self) -> Iterator[Family]:
        monitor, view = self._subject.monitor, self._subject.monitor.look()
        recent = monitor.recent
        last = recent[-1] if recent else None
        found: dict[Name, Samples] = {
            **self._of_the_worker(view),
            **self._of_totals(view),
            **_of_tasks(view),
            **self._of_progress(last, view),
        }
        for name, samples in found.items():
            yield family(name, samples)
        yield self._batches()

    def _of_the_worker(self, view: View) -> dict[Name, Samples]:
        monitor = self._subject.monitor
        names = (monitor.topology.application, monitor.instance_id, __version__)
        return {
            "penstock_info": [(names, 1)],
            "penstock_ready": [((), self._subject.not_ready(view) is None)],
            "penstock_loop_silent_seconds": [((), round(self._subject.silent_s(), 3))],
        }

    def _of_totals(self, view: View) -> dict[Name, Samples]:
        totals, topology = self._subject.monitor.totals, self._subject.monitor.topology
        inputs = {topic for task in view.tasks for topic in task.inputs}
        stores = [store.name for store in topology.stores]
        return {
            "penstock_records_in_total": _labelled(totals.rows_in, inputs),
            "penstock_value_bytes_in_total": _plain(totals.bytes_in),
            "penstock_records_out_total": _labelled(totals.rows_by_sink, _sinks(topology)),
            "penstock_batches_total": _plain(totals.batches),
            "penstock_phase_seconds_total": _labelled(_phases(totals.duration_ms)),
            "penstock_state_updates_total": _labelled(totals.updated, stores),
            "penstock_late_records_total": _plain(totals.late_rows),
            "penstock_late_windows_total": _labelled(totals.late, stores),
            "penstock_duplicates_total": _labelled(totals.duplicates, ()),
            "penstock_dropped_records_total": _plain(totals.dropped),
            "penstock_failed_records_total": _plain(totals.failed),
            "penstock_dead_letters_total": _plain(totals.dead_letters),
            "penstock_rebalances_total": _plain(totals.rebalances),
            "penstock_restored_records_total": _plain(totals.restored_rows),
            "penstock_restore_seconds_total": _plain(totals.restore_ms / 1000),
        }

    def _of_progress(self, last: Progress | None, view: View) -> dict[Name, Samples]:
        if last is None:
            return {}
        stores = {store.name for task in view.tasks for store in task.stores}
        state = [of for of in last.state_operators if of.operator_name in stores]
        now_s = self._subject.now_ms() / 1000
        found: dict[Name, Samples] = {
            "penstock_falling_behind_seconds": _plain(last.falling_behind_ms / 1000),
            "penstock_state_rows": [((of.operator_name,), of.num_rows_total) for of in state],
            "penstock_state_memory_bytes": [
                ((of.operator_name,), of.memory_used_bytes) for of in state
            ],
            "penstock_state_disk_bytes": [
                ((of.operator_name,), of.custom_metrics["stateOnDiskBytes"])
                for of in state
                if "stateOnDiskBytes" in of.custom_metrics
            ],
            **_headroom(last, view),
        }
        if last.latency_ms and now_s - _seconds(last.timestamp) < FRESH_S:
            latency = last.latency_ms
            found["penstock_latency_seconds"] = [
                ((quantile,), getattr(latency, name) / 1000) for quantile, name in QUANTILES.items()
            ]
        if "watermark" in last.event_time:
            behind = now_s - _seconds(last.event_time["watermark"])
            found["penstock_watermark_lag_seconds"] = _plain(round(behind, 3))
        return found

    def _batches(self) -> Family:
        totals = self._subject.monitor.totals
        ends = [*map(str, BATCH_SECONDS), "+Inf"]
        counts = accumulate(totals.batches_by_s)
        return HistogramMetricFamily(
            "penstock_batch_seconds",
            CATALOGUE["penstock_batch_seconds"].help,
            buckets=[(end, float(count)) for end, count in zip(ends, counts, strict=True)],
            sum_value=totals.batch_s,
        )


def family(name: Name, samples: Samples) -> Family:
    """Return samples under their name, as the catalogue has it."""
    metric = CATALOGUE[name]
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    found = kind(name, metric.help, labels=metric.labels)
    for labels, value in samples:
        found.add_metric(labels, value)
    return found


def _of_tasks(view: View) -> dict[Name, Samples]:
    phases = [task.phase for task in view.tasks]
    remaining: dict[str, int] = {}
    for store in (store for task in view.tasks for store in task.stores):
        left = 0 if store.restored else store.remaining
        remaining[store.name] = remaining.get(store.name, 0) + left
    return {
        "penstock_lag_records": [
            ((topic, str(task.partition)), lag)
            for task in view.tasks
            for topic, lag in task.lag.items()
        ],
        "penstock_tasks": [((phase,), phases.count(phase)) for phase in PHASES],
        "penstock_restoring": _plain("restoring" in phases),
        "penstock_restore_remaining_records": _labelled(remaining),
    }


def _headroom(last: Progress, view: View) -> dict[Name, Samples]:
    assigned = {(topic, str(task.partition)) for task in view.tasks for topic in task.inputs}
    partitions = {
        (topic, number): of
        for source in last.sources
        for topic, numbers in source.partitions.items()
        for number, of in numbers.items()
        if (topic, number) in assigned
    }
    return {
        "penstock_retention_headroom_records": [
            (at, of.retention_headroom_offsets)
            for at, of in partitions.items()
            if of.retention_headroom_offsets is not None
        ],
        "penstock_retention_headroom_seconds": [
            (at, of.retention_headroom_ms / 1000)
            for at, of in partitions.items()
            if of.retention_headroom_ms is not None
        ],
    }


def _phases(durations_ms: Mapping[str, int]) -> dict[str, float]:
    """Return seconds by phase, without the sum of all of them."""
    return {
        name: ms / 1000 for name, ms in list(durations_ms.items()) if name != "triggerExecution"
    }


def _sinks(topology: Topology) -> set[str]:
    return {node.detail for node in topology if node.sink and not node.sink.internal}


def _plain(value: float) -> Samples:
    return [((), value)]


def _labelled(values: Mapping[str, float], known: Iterable[str] = ()) -> Samples:
    """Return one sample per name; those that are known begin with nothing."""
    found = {**dict.fromkeys(known, 0), **dict(list(values.items()))}
    return [((name,), value) for name, value in sorted(found.items())]


def _seconds(iso: str) -> float:
    return datetime.datetime.fromisoformat(iso).timestamp()


class _Others(Collector):
    """The default registry without what we have ourselves."""

    def collect(self) -> Iterator[Family]:
        for found in REGISTRY.collect():
            if not found.name.startswith(OURS):
                yield found


def _of_the_user() -> bytes:
    try:
        return generate_latest(cast("CollectorRegistry", _Others()))
    except Exception:
        log.exception(
            "The metrics in prometheus_client's default registry cannot be collected: they are"
            " left out. Correct the collector that raises."
        )
        return b""
