"""Progress of workers that never ran, for what reads it."""

import uuid
from typing import Any

from penstock.query.progress import (
    PartitionProgress,
    Progress,
    SinkProgress,
    SourceProgress,
    StateOperatorProgress,
    iso,
    query_id,
)

NAME = "app"


def common(instance: str, at_ms: int, run: int = 1) -> dict[str, Any]:
    """What progress and events have both."""
    return {
        "id": query_id(NAME),
        "run_id": uuid.UUID(int=run),
        "instance_id": instance,
        "name": NAME,
        "timestamp": iso(at_ms),
    }


def a_progress(
    instance: str,
    at_ms: int,
    rows: dict[int, int],
    *,
    run: int = 1,
    lag: int = 0,
    **changed: Any,
) -> Progress:
    """A record of a worker that has read so many rows of each partition of the topic "in"."""
    read = sum(rows.values())
    fields: dict[str, Any] = {
        "batch_id": 1,
        "batch_duration": read,
        "num_input_rows": read,
        "input_rows_per_second": float(read),
        "processed_rows_per_second": float(2 * read),
        "duration_ms": {"addBatch": read},
        "event_time": {},
        "state_operators": (
            StateOperatorProgress(
                operator_name="counts",
                num_rows_total=10 * read,
                num_rows_updated=read,
                num_shuffle_partitions=4,
                num_state_store_instances=len(rows),
            ),
        ),
        "sources": (a_source(rows, lag),),
        "sink": SinkProgress(description="out", num_output_rows=read),
        "lag": lag * len(rows),
    }
    return Progress(**{**common(instance, at_ms, run), **fields, **changed})


def a_source(rows: dict[int, int], lag: int = 0) -> SourceProgress:
    """What was read of the topic "in", from the offset 100 on."""
    numbers = {str(number): read for number, read in rows.items()}
    ends = {number: 100 + read for number, read in numbers.items()}
    read = sum(rows.values())
    behind = {"avgOffsetsBehindLatest": f"{lag:.1f}"}
    behind |= {"maxOffsetsBehindLatest": str(lag), "minOffsetsBehindLatest": str(lag)}
    return SourceProgress(
        description="Kafka[in]",
        start_offset={"in": dict.fromkeys(numbers, 100)},
        end_offset={"in": ends},
        latest_offset={"in": {number: end + lag for number, end in ends.items()}},
        num_input_rows=read,
        input_rows_per_second=float(read),
        processed_rows_per_second=float(2 * read),
        metrics=behind if rows else {},
        partitions={
            "in": {
                number: PartitionProgress(
                    num_input_rows=read, input_rows_per_second=float(read), lag=lag
                )
                for number, read in numbers.items()
            }
        },
    )
