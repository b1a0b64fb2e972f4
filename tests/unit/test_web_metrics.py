"""The metrics: what stands in the catalogue is exposed, and nothing else of ours."""

import re
from typing import Any, get_args

import msgspec
import prometheus_client
import pytest
from prometheus_client.parser import text_string_to_metric_families

from penstock.engine.batch import Batch
from penstock.engine.metadata import BatchId
from penstock.query.progress import Latency, PartitionProgress, StateOperatorProgress, iso
from penstock.query.web.metrics import CATALOGUE, Name
from tests.unit.progresses import a_progress, a_source
from tests.unit.shown import NOW_MS, Shown, task

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def exposed(shown: Shown) -> tuple[dict[str, str], Samples]:
    """Types by name, and values by name and labels, as Prometheus reads them."""
    with shown.served() as web:
        found = web.get("/metrics")
    assert found.status == 200
    assert found.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(found.body.decode()))
    suffix = {"counter": "_total"}
    types = {of.name + suffix.get(of.type, ""): of.type for of in families}
    every = [
        ((sample.name, tuple(sorted(sample.labels.items()))), sample.value)
        for of in families
        for sample in of.samples
    ]
    samples = dict(every)
    assert len(samples) == len(every), "Prometheus refuses what stands there twice"
    return types, samples


def told(**changed: Any) -> Any:
    """A progress with all that can stand in one."""
    of = a_progress(
        "host-1",
        NOW_MS - 1_000,
        {3: 40},
        batches=4,
        duration_ms={"addBatch": 30, "triggerExecution": 50},
        num_late_rows=3,
        latency_ms=Latency(p50=5, p95=50, p99=90, max=100),
        event_time={"watermark": iso(NOW_MS - 2_500)},
        state_operators=(
            StateOperatorProgress(
                operator_name="counts",
                num_rows_total=11,
                num_rows_updated=6,
                memory_used_bytes=1_000,
                num_rows_dropped_by_watermark=4,
                custom_metrics={"stateOnDiskBytes": 2_000, "numDroppedDuplicateRows": 9},
            ),
        ),
        sources=(
            msgspec.structs.replace(
                a_source({3: 40}),
                partitions={
                    "words": {
                        "3": PartitionProgress(
                            num_input_rows=40,
                            retention_headroom_offsets=70,
                            retention_headroom_ms=9_000,
                        ),
                        "4": PartitionProgress(retention_headroom_ms=1),
                    }
                },
            ),
        ),
    )
    return msgspec.structs.replace(of, **changed)


def a_batch() -> Batch:
    made = Batch(BatchId(1, 1), 0, bytes_in=250, rows_out=5, rows_failed=2, dead_letters=1)
    made.rows_by_sink["out"] += 5
    made.add(("words", 3), 0, 30, 30)
    made.add(("words", 4), 0, 10, 10)
    return made


def test_the_names_are_those_of_the_catalogue_and_their_types_too() -> None:
    shown = Shown()
    shown.monitor.tell(told())
    types, samples = exposed(shown)
    ours = {name: kind for name, kind in types.items() if name.startswith(("penstock_", "process"))}
    expected = {name: of.kind for name, of in CATALOGUE.items() if not of.supervisor}
    assert ours == expected
    for name, labels in samples:
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        if base in CATALOGUE:
            names = {label for label, _ in labels} - {"le"}
            assert names == set(CATALOGUE[base].labels), name


def test_the_catalogue_holds_every_name_and_follows_the_conventions() -> None:
    assert set(CATALOGUE) == set(get_args(Name))
    for name, metric in CATALOGUE.items():
        assert name.startswith(("penstock_", "process_"))
        assert name.endswith("_total") == (metric.kind == "counter")
        assert not re.search(r"_(ms|milliseconds|kb|mb|count|sum|bucket)(_total)?$", name)
        assert metric.help.endswith(".")
        assert metric.combine == "sum" or metric.kind == "gauge"


def test_numbers_are_those_of_the_run() -> None:
    shown = Shown()
    shown.monitor.totals.committed(a_batch(), 0.03)
    shown.monitor.totals.committed(a_batch(), 99)
    shown.monitor.tell(told())
    shown.monitor.tell(told())
    shown.silent_s = 1.5
    _, samples = exposed(shown)

    def value(name: str, **labels: str) -> float | None:
        return samples.get((name, tuple(sorted(labels.items()))))

    assert value("penstock_records_in_total", topic="words") == 80
    assert value("penstock_value_bytes_in_total") == 500
    assert value("penstock_lag_records", topic="words", partition="3") == 5
    assert value("penstock_batches_total") == 2
    assert value("penstock_records_out_total", topic="out") == 10
    assert value("penstock_batch_seconds_bucket", le="0.025") == 0
    assert value("penstock_batch_seconds_bucket", le="0.05") == 1
    assert value("penstock_batch_seconds_bucket", le="10.0") == 1
    assert value("penstock_batch_seconds_bucket", le="+Inf") == 2
    assert value("penstock_batch_seconds_count") == 2
    assert value("penstock_batch_seconds_sum") == pytest.approx(99.03)
    assert value("penstock_phase_seconds_total", phase="addBatch") == 0.06
    assert value("penstock_phase_seconds_total", phase="triggerExecution") is None
    assert value("penstock_latency_seconds", quantile="0.99") == 0.09
    assert value("penstock_watermark_lag_seconds") == 2.5
    assert value("penstock_state_rows", store="counts") == 11
    assert value("penstock_state_memory_bytes", store="counts") == 1_000
    assert value("penstock_state_disk_bytes", store="counts") == 2_000
    assert value("penstock_state_updates_total", store="counts") == 12
    assert value("penstock_late_records_total") == 6
    assert value("penstock_late_windows_total", store="counts") == 8
    assert value("penstock_duplicates_total", store="counts") == 18
    assert value("penstock_failed_records_total") == 4
    assert value("penstock_dead_letters_total") == 2
    at = {"topic": "words", "partition": "3"}
    assert value("penstock_retention_headroom_records", **at) == 70
    assert value("penstock_retention_headroom_seconds", **at) == 9
    assert value("penstock_retention_headroom_seconds", topic="words", partition="4") is None
    assert value("penstock_ready") == 1
    assert value("penstock_loop_silent_seconds") == 1.5
    assert value("penstock_tasks", phase="running") == 1
    assert value("penstock_tasks", phase="restoring") == 0
    assert value("penstock_restoring") == 0
    assert value("process_resident_memory_bytes")


def test_a_store_that_is_restored_shows_how_much_is_left() -> None:
    shown = Shown()
    shown.show("Restoring", task("restoring"), task("running", partition=1))
    _, samples = exposed(shown)
    assert samples["penstock_restoring", ()] == 1
    assert samples["penstock_ready", ()] == 0
    assert samples["penstock_restore_remaining_records", (("store", "counts"),)] == 7


def test_counters_begin_at_nothing_and_what_is_not_known_is_absent() -> None:
    _, samples = exposed(Shown())
    assert samples["penstock_records_in_total", (("topic", "words"),)] == 0
    assert samples["penstock_records_out_total", (("topic", "out"),)] == 0
    assert samples["penstock_batches_total", ()] == 0
    names = {name for name, _ in samples}
    assert names.isdisjoint({"penstock_latency_seconds", "penstock_watermark_lag_seconds"})


def test_latency_is_absent_once_no_records_have_come_for_a_while() -> None:
    shown = Shown()
    shown.monitor.tell(told(timestamp=iso(NOW_MS - 31_000)))
    assert "penstock_latency_seconds" not in {name for name, _ in exposed(shown)[1]}


@pytest.fixture
def registered() -> Any:
    made: list[Any] = []

    def register(collector: Any) -> None:
        prometheus_client.REGISTRY.register(collector)
        made.append(collector)

    yield register
    for collector in made:
        prometheus_client.REGISTRY.unregister(collector)


def test_the_users_own_metrics_stand_behind_ours(registered: Any) -> None:
    mine = prometheus_client.Counter("orders_refused", "Refused.", registry=None)
    mine.inc(3)
    registered(mine)
    assert exposed(Shown())[1]["orders_refused_total", ()] == 3


def test_a_users_collector_that_raises_costs_its_own_metrics_alone(
    registered: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def describe(self) -> list[Any]:
            return []

        def collect(self) -> Any:
            raise ValueError("no such luck")

    registered(Broken())
    assert exposed(Shown())[1]["penstock_ready", ()] == 1
    assert "Correct the collector that raises" in caplog.text
