"""The progress of an application, against what it has read and written and what the broker says."""

import datetime
import itertools
import random
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from penstock.query.query import Query
from penstock.testing.kafka_server import KafkaServer
from tests.kafka import apps, checking
from tests.kafka.conftest import (
    BROKER,
    ApplicationFactory,
    TopicFactory,
    applications,
    create_topic,
)
from tests.kafka.feeding import Load, endless_words, feed, words
from tests.kafka.telling import flat, gaps, ranges, told
from tests.kafka.workers import QUICK, Application

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
    covered = itertools.accumulate(batch.batches for batch in batches)
    assert [batch.batch_id + 1 for batch in batches] == list(covered)
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


def test_what_is_told_is_true_whoever_dies(
    application: ApplicationFactory, kafka: KafkaServer, topic: TopicFactory
) -> None:
    """What runs have told and what the dead did not tell any more make up the topic, once."""
    servers, inputs, out = kafka.bootstrap_servers, topic("words"), topic("counts")
    app = application("count", inputs, out, kafka=QUICK, progress={"interval_ms": 200})
    draw = random.Random(7)
    with Load(servers, {inputs: endless_words()}, 3_000) as load:
        app.start()
        for _ in range(4):
            app.wait_for_progress()
            time.sleep(draw.uniform(0.2, 1.5))
            app.kill()
            app.start()
        app.wait_for_progress()
        load.stop()
    app.wait_drained()
    app.stop()
    records, ends = told(servers, f"{app.id}-progress"), checking.ends(servers, [inputs])

    runs = list(dict.fromkeys(str(one.run_id) for one in records))
    assert len({one.id for one in records}) == 1
    assert len(runs) >= 3, "some have told before they died"
    untold = 0
    for at, those in ranges(records).items():
        assert all(of.rows == of.end - of.start for of in those), at
        for (start, end), (before, behind) in gaps(those).items():
            assert before != behind, f"{at}: a run has not told of {start} to {end} of its own"
            assert before != runs[-1], "who stops in order tells all"
            untold += end - start
        assert those[-1].end == ends[at]
        assert those[-1].run == runs[-1]
    assert sum(one.num_input_rows for one in records) + untold == sum(ends.values())
    for run in runs:
        mine = [one for one in records if str(one.run_id) == run]
        assert sum(of.batches for of in mine) == mine[-1].batch_id + 1, "batches are numbered"

    last = records[-1]
    [source], [store] = last.sources, last.state_operators
    assert flat(source.end_offset) == flat(source.latest_offset) == ends == app.committed()
    assert last.lag == 0
    assert source.metrics["maxOffsetsBehindLatest"] == "0"
    keys = {record.key for record in checking.read(servers, inputs).records}
    assert store.num_rows_total == len(keys), "through kills and restores"
    assert "numRowsTotalIsEstimate" not in store.custom_metrics
    assert store.num_state_store_instances == store.num_shuffle_partitions == 4
    written = len(checking.read(servers, app.changelog("counts")).records)
    assert sum(one.state_operators[0].num_rows_updated for one in records) <= written


def test_rates_lag_and_offsets_are_the_brokers(
    application: ApplicationFactory, kafka: KafkaServer, topic: TopicFactory
) -> None:
    """While a worker is behind, what it tells is what can be reckoned from the broker."""
    servers, inputs, out = kafka.bootstrap_servers, topic("words", partitions=2), topic("counts")
    rows = 6_000
    feed(servers, inputs, words(rows))
    ends = checking.ends(servers, [inputs])
    # One half millisecond each.
    app = application(
        "watched", inputs, out,
        progress={"interval_ms": 200}, commit={"max_batch_records": 200, "chunk_ms": 20},
    )  # fmt: skip
    app.run_through()
    records = told(servers, f"{app.id}-progress")
    assert len(records) > 5

    so_far, before = dict.fromkeys(ends, 0), None
    values = {record.value.decode() for record in checking.read(servers, inputs).records}  # type: ignore[union-attr]
    seen: list[str] = []
    for one in records:
        [source] = one.sources
        assert flat(source.start_offset) == so_far
        so_far = flat(source.end_offset)
        latest = flat(source.latest_offset)
        assert latest.items() <= ends.items()
        assert one.lag == sum(latest.values()) - sum(so_far[at] for at in latest)
        lags = [latest[at] - so_far[at] for at in latest]
        assert source.metrics["maxOffsetsBehindLatest"] == str(max(lags))
        assert source.metrics["minOffsetsBehindLatest"] == str(min(lags))
        assert source.metrics["avgOffsetsBehindLatest"] == f"{sum(lags) / len(lags):.1f}"
        assert one.processed_rows_per_second == pytest.approx(
            one.num_input_rows / one.batch_duration * 1_000, rel=0.02
        )
        assert one.processed_rows_per_second <= 2_000, "each takes half a millisecond"
        began = datetime.datetime.fromisoformat(one.timestamp)
        if before is None:
            assert one.input_rows_per_second == 0.0, "as Spark has it"
        else:
            since = (began - before).total_seconds()
            # Times are told in whole milliseconds.
            least, most = (one.num_input_rows / (since + slack) for slack in (0.002, -0.002))
            assert since > 0.002
            assert least - 0.1 <= one.input_rows_per_second <= most + 0.1
        before = began
        observed = one.observed_metrics["words"]
        assert observed["rows"] == one.num_input_rows
        seen += [observed[end] for end in ("first", "last") if observed["rows"]]
        phases = dict(one.duration_ms)
        assert abs(phases.pop("triggerExecution") - sum(phases.values())) <= len(phases)
    assert (min(seen), max(seen)) == (min(values), max(values))
    assert so_far == ends
    assert records[0].lag > 0 == records[-1].lag


HOW = ["full", "gone", "no name"]


@pytest.mark.parametrize("how", HOW)
def test_a_progress_topic_that_does_not_work_stops_nothing(
    how: str, application: ApplicationFactory, kafka: KafkaServer, topic: TopicFactory
) -> None:
    """It is not there any more, takes no record so large, or cannot be."""
    servers, inputs = kafka.bootstrap_servers, topic("words")
    feed(servers, inputs, words(RECORDS))
    well = application("count", inputs, topic("counts"), progress={"interval_ms": 100})
    ill = application("count", inputs, topic("counts"), progress={"interval_ms": 100})
    name = f"{ill.id}-progress"
    if how == "full":
        create_topic(servers, name, 1, max_message_bytes=100)
    elif how == "no name":
        ill.options["progress"] = {"interval_ms": 100, "topic": "no topic has this name"}
    seconds = took(well), took(ill, refused=how != "gone", gone=name if how == "gone" else None)
    assert seconds[1] < 1.5 * seconds[0] + 2
    assert len(told(servers, f"{well.id}-progress")) >= 1
    ill.check_count()


@pytest.fixture(scope="module")
def guarded() -> Iterator[KafkaServer]:
    """A broker that forbids what it is told to."""
    settings = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "true",
    }
    with KafkaServer(settings={**BROKER, **settings}) as server:
        yield server


def test_a_progress_topic_that_is_forbidden_stops_nothing(
    guarded: KafkaServer, tmp_path: Path
) -> None:
    servers = guarded.bootstrap_servers
    with applications(servers, tmp_path) as make:
        for name in ("words", "counts"):
            create_topic(servers, name, 4)
        feed(servers, "words", words(RECORDS))
        app = make("count", "words", "counts", progress={"interval_ms": 100})
        deny(servers, f"{app.id}-progress")
        took(app, refused=True)
        app.check_count()


def took(app: Application, *, refused: bool = False, gone: str | None = None) -> float:
    """Let an application process all that is there, and return the seconds from its first task on.

    Args:
        app: the application.
        refused: whether it has to say that its progress is not written.
        gone: a topic that is deleted while it runs.
    """
    app.start()
    app.wait_for("runs from")
    began = time.monotonic()
    if gone:
        checking.admin(app.servers).delete_topics([gone])[gone].result()
    app.wait_drained()
    seconds = time.monotonic() - began
    if refused:
        app.wait_for("Progress cannot be written to")
    app.stop()
    return seconds


def deny(servers: str, topic: str) -> None:
    """Let nobody create or write a topic."""
    client = AdminClient({"bootstrap.servers": servers})
    rules = [
        AclBinding(
            ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:*", "*", operation,
            AclPermissionType.DENY,
        )
        for operation in (AclOperation.WRITE, AclOperation.CREATE)
    ]  # fmt: skip
    for future in client.create_acls(rules).values():
        future.result(10)
