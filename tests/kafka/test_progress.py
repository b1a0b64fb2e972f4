"""The progress of an application in this process, against what it has read and written."""

import itertools
import time
from pathlib import Path

import msgspec
import pytest

from penstock.query.query import Query
from penstock.testing.kafka_server import KafkaServer
from tests.kafka import apps, checking
from tests.kafka.conftest import TopicFactory
from tests.kafka.feeding import feed, words

pytestmark = pytest.mark.kafka

RECORDS = 20_000
SPARK = {
    "id", "runId", "name", "timestamp", "batchId", "batchDuration", "numInputRows",
    "inputRowsPerSecond", "processedRowsPerSecond", "durationMs", "eventTime", "stateOperators",
    "sources", "sink", "observedMetrics",
}  # fmt: skip
SPARK_SOURCE = {
    "description", "startOffset", "endOffset", "latestOffset", "numInputRows",
    "inputRowsPerSecond", "processedRowsPerSecond", "metrics",
}  # fmt: skip


def test_progress_is_what_was_read_and_written(
    kafka: KafkaServer, topic: TopicFactory, tmp_path: Path
) -> None:
    servers, inputs, out = kafka.bootstrap_servers, [topic("words"), topic("more")], topic("counts")
    for number, name in enumerate(inputs):
        feed(servers, name, words(RECORDS // 2, first=number * RECORDS))
    query = start_count(servers, tmp_path, inputs, out)
    ends = checking.ends(servers, inputs)
    try:
        wait_for_rows(query, RECORDS)
    finally:
        query.stop("10s")
    assert query.exception() is None
    assert not query.is_active
    batches = query.recent_progress
    written = len(checking.read(servers, out).records)

    assert {batch.run_id for batch in batches} == {query.run_id}
    assert {batch.id for batch in batches} == {query.id}
    assert [batch.batch_id for batch in batches] == list(range(batches[0].batch_id, len(batches)))
    assert sum(batch.num_input_rows for batch in batches) == RECORDS
    assert sum(batch.sink.num_output_rows for batch in batches) == written
    assert (
        sum(b.state_operators[0].num_rows_updated for b in batches if b.num_input_rows) == written
    )

    position = dict.fromkeys(ends, 0)
    for batch in batches:
        [source] = batch.sources
        began, ended = flat(source.start_offset), flat(source.end_offset)
        assert all(position[at] == offset for at, offset in began.items())
        position.update(ended)
        rows = sum(ended[at] - offset for at, offset in began.items())
        assert rows == source.num_input_rows == batch.num_input_rows
        latest = flat(source.latest_offset)
        assert all(latest[at] >= offset for at, offset in ended.items() if at in latest)
    assert position == ends


def test_progress_has_sparks_names(kafka: KafkaServer, topic: TopicFactory, tmp_path: Path) -> None:
    servers, source, out = kafka.bootstrap_servers, topic("words"), topic("counts")
    feed(servers, source, words(1_000))
    query = start_count(servers, tmp_path, [source], out)
    try:
        wait_for_rows(query, 1_000)
    finally:
        query.stop("10s")
    last = query.last_progress
    assert last is not None
    found = msgspec.json.decode(last.to_json())
    assert set(found) >= SPARK
    assert set(found["sources"][0]) == SPARK_SOURCE | {"partitions"}
    assert set(found["sink"]) >= {"description", "numOutputRows"}
    assert set(found["durationMs"]) >= {"addBatch", "triggerExecution", "walCommit"}
    assert all(isinstance(ms, int) for ms in found["durationMs"].values())


def start_count(servers: str, folder: Path, inputs: list[str], out: str) -> Query:
    arguments = ["count", "--brokers", servers, "--id", f"{out}-app", "--state-dir", str(folder)]
    return apps.build([*arguments, "--in", *inputs, "--out", out]).start()


def wait_for_rows(query: Query, rows: int) -> None:
    deadline = time.monotonic() + 30
    while sum(batch.num_input_rows for batch in query.recent_progress) < rows:
        assert query.is_active, query.exception()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def flat(offsets: dict[str, dict[str, int]]) -> dict[checking.Partition, int]:
    pairs = itertools.chain.from_iterable(
        (((topic, int(number)), offset) for number, offset in by_number.items())
        for topic, by_number in offsets.items()
    )
    return dict(pairs)
