"""Progress: what one batch did, with Spark's field names and meanings.

Attributes are snake_case, `to_json()` is Spark's camelCase (StreamingQueryProgress), so that
what reads Spark's progress reads ours. Facts that Spark does not have stand under new names
at the end. Counts are exact; rates are derived from them.
"""

import datetime
import uuid
from collections.abc import Mapping
from typing import Any

import msgspec

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999  # the years 1 and 9999


class StateOperatorProgress(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One store in one batch.

    Attributes:
        operator_name: the store's name.
        num_rows_updated: keys that the batch changed.
        commit_time_ms: how long writing them to disk took.
        num_rows_dropped_by_watermark: windows that records came too late for, of each record all
            that it has missed, as Kafka Streams counts them; a session is one.
        num_state_store_instances: partitions of the store in this worker.
        custom_metrics: `numDroppedDuplicateRows` where the store is one of drop_duplicates.
    """

    operator_name: str
    num_rows_updated: int = 0
    commit_time_ms: int = 0
    num_rows_dropped_by_watermark: int = 0
    num_state_store_instances: int = 0
    custom_metrics: Mapping[str, int] = msgspec.field(default_factory=dict[str, int])


class SourceProgress(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The topics that a batch read.

    Attributes:
        description: what is read.
        start_offset: first offset of the batch, by topic and partition.
        end_offset: offset behind its last record, by topic and partition.
        latest_offset: end of the partition as the client last saw it, where known.
        num_input_rows: records read.
        metrics: offsets behind the latest: average, maximum, minimum over partitions.
    """

    description: str
    start_offset: Mapping[str, Mapping[str, int]]
    end_offset: Mapping[str, Mapping[str, int]]
    latest_offset: Mapping[str, Mapping[str, int]]
    num_input_rows: int
    input_rows_per_second: float
    processed_rows_per_second: float
    metrics: Mapping[str, str]


class SinkProgress(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The topics that a batch wrote.

    Attributes:
        description: their names.
        num_output_rows: records written, changelogs not counted.
    """

    description: str
    num_output_rows: int


class Progress(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What one batch did.

    Attributes:
        id: of the query, the same over restarts.
        run_id: of this run.
        name: the application id.
        timestamp: when the batch began, ISO 8601, UTC.
        batch_id: number of the batch in this run.
        batch_duration: milliseconds from the first record to the written state.
        num_input_rows: records read.
        input_rows_per_second: records over the time since the previous batch began.
        processed_rows_per_second: records over the time that the batch took.
        duration_ms: milliseconds per phase.
        event_time: largest event time seen, ISO 8601, where something is stateful.
        state_operators: one per store.
        sources: one per sub-topology.
        sink: all outputs together.
        observed_metrics: empty so far.
        num_dropped_rows: records without key or value that the batch has dropped.
        num_failed_rows: records that failed and were skipped, or are dead letters; those without
            an event time, or with one too far ahead, among them.
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
    duration_ms: Mapping[str, int]
    event_time: Mapping[str, str]
    state_operators: tuple[StateOperatorProgress, ...]
    sources: tuple[SourceProgress, ...]
    sink: SinkProgress
    observed_metrics: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])
    num_dropped_rows: int = 0
    num_failed_rows: int = 0

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


def behind(ends: Mapping[tuple[str, int], int], latest: Mapping[tuple[str, int], int]) -> list[int]:
    """Return how many offsets each partition is behind, where its end is known."""
    return [max(0, latest[at] - offset) for at, offset in ends.items() if latest.get(at, -1) >= 0]
