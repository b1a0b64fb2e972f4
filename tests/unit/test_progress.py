"""Progress: Spark's names in Spark's order, ours at the end, times that never fail."""

import datetime
import json
import math
import uuid
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.query.progress import (
    PartitionProgress,
    Progress,
    SinkProgress,
    SourceProgress,
    StateOperatorProgress,
    iso,
    lag_metrics,
    nested,
    query_id,
    rate,
)

# What Spark 4 writes, as in its guide, with every field that it may have.
SAMPLE = """{
 "id":"3b6d6c1a-a5b1-4b7e-9b1e-a1f7b6b7a001","runId":"3dc7c6f2-2f0d-4f8e-8f52-5b1c3c5a7002",
 "name":"MyQuery","timestamp":"2024-05-11T08:20:49.058Z","batchId":7,"batchDuration":228,
 "numInputRows":500,"inputRowsPerSecond":120.0,"processedRowsPerSecond":200.0,
 "durationMs":{"addBatch":39,"commitOffsets":81,"getBatch":0,"latestOffset":0,"queryPlanning":9,
  "triggerExecution":228,"walCommit":82},
 "eventTime":{"avg":"2024-05-11T08:20:40.000Z","max":"2024-05-11T08:20:49.000Z",
  "min":"2024-05-11T08:20:31.000Z","watermark":"2024-05-11T08:20:21.000Z"},
 "stateOperators":[{"operatorName":"stateStoreSave","numRowsTotal":192,"numRowsUpdated":28,
  "allUpdatesTimeMs":5,"numRowsRemoved":0,"allRemovalsTimeMs":0,"commitTimeMs":12,
  "memoryUsedBytes":204696,"numRowsDroppedByWatermark":0,"numShufflePartitions":5,
  "numStateStoreInstances":5,"customMetrics":{"rocksdbCommitFlushLatency":0}}],
 "sources":[{"description":"KafkaV2[Subscribe[t]]","startOffset":{"t":{"0":1}},
  "endOffset":{"t":{"0":534}},"latestOffset":{"t":{"0":600}},"numInputRows":533,
  "inputRowsPerSecond":120.0,"processedRowsPerSecond":200.0,
  "metrics":{"avgOffsetsBehindLatest":"66.0","maxOffsetsBehindLatest":"66",
   "minOffsetsBehindLatest":"66"}}],
 "sink":{"description":"KafkaSink","numOutputRows":500,"metrics":{"some":"1"}},
 "observedMetrics":{"m":{"rows":500}}}"""
OURS = {
    "": [
        "instanceId",
        "batches",
        "maxBatchDuration",
        "waitingMs",
        "sinks",
        "lag",
        "fallingBehindMs",
        "latencyMs",
        "numDroppedRows",
        "numFailedRows",
        "numDeadLetters",
        "numLateRows",
        "rebalances",
        "restoredRows",
        "restoreMs",
        "rebalanceMs",
    ],
    "sources": ["partitions"],
}


class SparkEventTime(msgspec.Struct, forbid_unknown_fields=True):
    """Times as Spark writes them."""

    avg: datetime.datetime
    max: datetime.datetime
    min: datetime.datetime
    watermark: datetime.datetime


class SparkState(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """StateOperatorProgress."""

    operator_name: str
    num_rows_total: int
    num_rows_updated: int
    all_updates_time_ms: int
    num_rows_removed: int
    all_removals_time_ms: int
    commit_time_ms: int
    memory_used_bytes: int
    num_rows_dropped_by_watermark: int
    num_shuffle_partitions: int
    num_state_store_instances: int
    custom_metrics: dict[str, int]


class SparkKafkaMetrics(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """What the Kafka source says: numbers as text."""

    avg_offsets_behind_latest: Annotated[str, msgspec.Meta(pattern=r"^\d+\.\d$")]
    max_offsets_behind_latest: Annotated[str, msgspec.Meta(pattern=r"^\d+$")]
    min_offsets_behind_latest: Annotated[str, msgspec.Meta(pattern=r"^\d+$")]


SparkOffsets = dict[str, dict[Annotated[str, msgspec.Meta(pattern=r"^\d+$")], int]]


class SparkSource(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """SourceProgress."""

    description: str
    start_offset: SparkOffsets
    end_offset: SparkOffsets
    latest_offset: SparkOffsets
    num_input_rows: int
    input_rows_per_second: float
    processed_rows_per_second: float
    metrics: SparkKafkaMetrics


class SparkSink(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """SinkProgress."""

    description: str
    num_output_rows: int
    metrics: dict[str, str]


class SparkProgress(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """StreamingQueryProgress."""

    id: uuid.UUID
    run_id: uuid.UUID
    name: str
    timestamp: Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")]
    batch_id: int
    batch_duration: int
    num_input_rows: int
    input_rows_per_second: float
    processed_rows_per_second: float
    duration_ms: dict[str, int]
    event_time: SparkEventTime
    state_operators: list[SparkState]
    sources: list[SparkSource]
    sink: SparkSink
    observed_metrics: dict[str, dict[str, Any]]


def progress() -> dict[str, Any]:
    """A progress as JSON, with something in every field."""
    one = Progress(
        id=query_id("app"),
        run_id=uuid.UUID(int=1),
        name="app",
        timestamp=iso(0),
        batch_id=3,
        batch_duration=5,
        num_input_rows=7,
        input_rows_per_second=1.0,
        processed_rows_per_second=2.0,
        duration_ms={"addBatch": 1},
        event_time={name: iso(0) for name in ("avg", "max", "min", "watermark")},
        state_operators=(StateOperatorProgress(operator_name="s", custom_metrics={"n": 1}),),
        sources=(
            SourceProgress(
                description="Kafka[in]",
                start_offset={"in": {"0": 1}},
                end_offset={"in": {"0": 8}},
                latest_offset={"in": {"0": 9}},
                num_input_rows=7,
                input_rows_per_second=1.0,
                processed_rows_per_second=2.0,
                metrics=lag_metrics([1, 2, 2]),
                partitions={"in": {"0": PartitionProgress(num_input_rows=7)}},
            ),
        ),
        sink=SinkProgress(description="out", num_output_rows=7, metrics={"some": "1"}),
        observed_metrics={"m": {"rows": 500}},
    )
    found: dict[str, Any] = json.loads(one.to_json())
    return found


def parts(of: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A progress and what it is made of."""
    [state], [source] = of["stateOperators"], of["sources"]
    return {"": of, "stateOperators": state, "sources": source, "sink": of["sink"]}


def test_sparks_sample_is_what_the_schema_says() -> None:
    """The schema that ours is held to is Spark's."""
    msgspec.json.decode(SAMPLE, type=SparkProgress, strict=True)


def test_the_fields_are_sparks_and_then_ours() -> None:
    """A dashboard for Spark reads every field; new facts stand under new names at the end."""
    sparks = parts(json.loads(SAMPLE))
    for name, found in parts(progress()).items():
        assert list(found) == [*sparks[name], *OURS.get(name, [])], name


def test_without_what_is_ours_it_is_sparks() -> None:
    """Names and types are Spark's, field by field."""
    found = progress()
    for name, part in parts(found).items():
        for ours in OURS.get(name, []):
            del part[ours]
    msgspec.json.decode(json.dumps(found), type=SparkProgress, strict=True)


def test_what_is_empty_is_there_all_the_same() -> None:
    """Spark leaves empty maps out; here a reader need not ask whether one is there."""
    bare = Progress(
        id=query_id("app"),
        run_id=uuid.UUID(int=1),
        name="app",
        timestamp=iso(0),
        batch_id=0,
        batch_duration=0,
        num_input_rows=0,
        input_rows_per_second=0.0,
        processed_rows_per_second=0.0,
        state_operators=(),
        sources=(),
        sink=SinkProgress(description="", num_output_rows=0),
    )
    assert list(json.loads(bare.to_json())) == list(progress())
    assert msgspec.json.decode(bare.to_json(), type=Progress) == bare


def test_what_spark_leaves_out_is_read() -> None:
    """A progress without its empty maps is read as one that has them."""
    sample = json.loads(SAMPLE)
    for name in ("durationMs", "eventTime", "observedMetrics"):
        del sample[name]
    found = msgspec.json.decode(json.dumps(sample), type=Progress)
    assert (found.duration_ms, found.event_time, found.observed_metrics) == ({}, {}, {})


@pytest.mark.parametrize(
    ("rows", "seconds", "shown"),
    [(10, 3.0, 3.3), (7, 0.0, 0.0), (7, -1.0, 0.0), (7, math.inf, 0.0), (7, math.nan, 0.0),
     (2**62, 5e-324, 0.0), (1, 0.001, 1_000.0)],
)  # fmt: skip
def test_a_rate_is_a_number_with_one_decimal(rows: int, seconds: float, shown: float) -> None:
    """No time, or one that cannot be, gives no rate: JSON has no word for infinity."""
    assert rate(rows, seconds) == shown


def test_lag_is_told_as_text() -> None:
    """As Spark's Kafka source does: average, maximum and minimum over partitions."""
    assert lag_metrics([3, 0, 4]) == {
        "avgOffsetsBehindLatest": "2.3",
        "maxOffsetsBehindLatest": "4",
        "minOffsetsBehindLatest": "0",
    }
    assert lag_metrics([]) == {}


def test_the_query_has_one_id_for_ever() -> None:
    """The id of a query depends on its application alone."""
    assert query_id("app") == uuid.uuid5(uuid.NAMESPACE_URL, "penstock:app")
    assert query_id("app") != query_id("other")


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_times_are_written_as_spark_does(milliseconds: int) -> None:
    """ISO 8601 in UTC with exactly three digits of the second."""
    text = iso(milliseconds)
    assert len(text) == 24
    assert text.endswith("Z")
    epoch = datetime.datetime.fromtimestamp(0, datetime.UTC)
    assert datetime.datetime.fromisoformat(text) - epoch == datetime.timedelta(
        milliseconds=milliseconds
    )


@pytest.mark.parametrize("milliseconds", [10**15, 2**63 - 1, -(2**63)])
def test_a_time_beyond_all_calendars_is_the_last_one(milliseconds: int) -> None:
    """A record's timestamp is anybody's: nonsense must not stop a worker that reports it."""
    shown = "9999-12-31T23:59:59.999Z" if milliseconds > 0 else "0001-01-01T00:00:00.000Z"
    assert iso(milliseconds) == shown


def test_offsets_are_nested_by_topic_and_partition() -> None:
    """Partitions are text, as JSON keys are."""
    assert nested({("b", 0): 1, ("a", 10): 2, ("a", 9): 3}) == {
        "a": {"9": 3, "10": 2},
        "b": {"0": 1},
    }
