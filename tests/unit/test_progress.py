"""Progress: Spark's names in Spark's order, ours at the end, times that never fail."""

import datetime
import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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

# StreamingQueryProgress, StateOperatorProgress, SourceProgress, SinkProgress of Spark 4.
SPARK = [
    "id",
    "runId",
    "name",
    "timestamp",
    "batchId",
    "batchDuration",
    "numInputRows",
    "inputRowsPerSecond",
    "processedRowsPerSecond",
    "durationMs",
    "eventTime",
    "stateOperators",
    "sources",
    "sink",
    "observedMetrics",
]
SPARK_STATE = [
    "operatorName",
    "numRowsTotal",
    "numRowsUpdated",
    "allUpdatesTimeMs",
    "numRowsRemoved",
    "allRemovalsTimeMs",
    "commitTimeMs",
    "memoryUsedBytes",
    "numRowsDroppedByWatermark",
    "numShufflePartitions",
    "numStateStoreInstances",
    "customMetrics",
]
SPARK_SOURCE = [
    "description",
    "startOffset",
    "endOffset",
    "latestOffset",
    "numInputRows",
    "inputRowsPerSecond",
    "processedRowsPerSecond",
    "metrics",
]
SPARK_SINK = ["description", "numOutputRows", "metrics"]
OURS = ["numDroppedRows", "numFailedRows"]


def progress() -> dict[str, Any]:
    """A progress as JSON."""
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
        event_time={},
        state_operators=(StateOperatorProgress(operator_name="s"),),
        sources=(
            SourceProgress(
                description="Kafka[in]",
                start_offset={"in": {"0": 1}},
                end_offset={"in": {"0": 8}},
                latest_offset={},
                num_input_rows=7,
                input_rows_per_second=1.0,
                processed_rows_per_second=2.0,
                metrics={},
            ),
        ),
        sink=SinkProgress(description="out", num_output_rows=7),
    )
    return json.loads(one.to_json())


def in_order(names: list[str], of: list[str]) -> bool:
    """Whether all names are among others, in their order."""
    return [name for name in of if name in names] == names


def test_the_fields_are_sparks_and_then_ours() -> None:
    """A dashboard for Spark reads every field; new facts stand under new names at the end."""
    assert list(progress()) == [*SPARK, *OURS]


def test_nested_fields_are_sparks() -> None:
    """What is said of sources, stores and sinks has Spark's names, in its order."""
    found = progress()
    assert in_order(list(found["stateOperators"][0]), SPARK_STATE)
    assert list(found["sources"][0]) == SPARK_SOURCE
    assert in_order(list(found["sink"]), SPARK_SINK)
    assert not in_order(["numInputRows", "startOffset"], SPARK_SOURCE)


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


def test_lag_is_known_where_the_end_is() -> None:
    """A partition whose end is not known says nothing, and none is ahead of its end."""
    ends = {("a", 0): 5, ("a", 1): 5, ("a", 2): 5, ("a", 3): 5}
    assert behind(ends, {("a", 0): 9, ("a", 1): -1001, ("a", 2): 3}) == [4, 0]
