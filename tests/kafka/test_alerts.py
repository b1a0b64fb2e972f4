"""Alerts and retention headroom of a real application on a real broker."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import penstock as ps
from penstock import alerts
from penstock.query.progress import PartitionProgress
from penstock.runtime.clock import now_ms
from penstock.testing.kafka_server import KafkaServer
from tests.kafka import checking
from tests.kafka.conftest import TopicFactory
from tests.kafka.feeding import Row, feed

pytestmark = pytest.mark.kafka

HOUR_MS = 3_600_000
LEFT_MS = 90_000  # until the topic's records are an hour old
RECORDS = 2_000


def slow(word: str) -> str:
    time.sleep(0.01)
    return word


def slow_app(servers: str, source: str, out: str, folder: Path) -> ps.App:
    app = ps.App(f"{out}-app", brokers=servers, state_dir=folder)
    app.stream(source, key=str, value=str).map(slow, value=str).to(out)
    return app


def until(found: Callable[[], bool], what: object) -> None:
    deadline = time.monotonic() + 30
    while not found():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def partition(query: ps.Query, topic: str, number: int = 0) -> PartitionProgress:
    last = query.last_progress
    assert last is not None
    return last.sources[0].partitions[topic][str(number)]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.runtime.headroom.LOOK_S", 0.3)
    monkeypatch.setattr("penstock.query.alerting.LOOK_S", 0.1)


def test_what_retention_is_about_to_delete_is_told_before(
    kafka: KafkaServer, topic: TopicFactory, tmp_path: Path
) -> None:
    servers, out = kafka.bootstrap_servers, topic("out", 1)
    told = topic("alerts", 1)
    source = topic("words", 1, **{"retention.ms": HOUR_MS})
    began = now_ms() - HOUR_MS + LEFT_MS
    feed(servers, source, [Row("k", str(n), began) for n in range(RECORDS)])
    watch = alerts.alerts(
        alerts.retention_headroom(less_than="10m"),
        alerts.retention_headroom(less_than="1s"),
        to=[alerts.to_topic(told)],
    )
    query = slow_app(servers, source, out, tmp_path).start(listeners=[watch])
    try:
        until(lambda: bool(checking.read(servers, told).records), query.exception)
        until(lambda: partition(query, source).retention_headroom_ms is not None, "headroom")
        left = partition(query, source)
    finally:
        query.stop("20s")
    assert left.retention_headroom_ms is not None
    passed_ms = now_ms() - began - HOUR_MS + LEFT_MS
    assert LEFT_MS - passed_ms - 1_000 <= left.retention_headroom_ms <= LEFT_MS
    assert left.retention_headroom_offsets is not None
    assert 0 < left.retention_headroom_offsets < RECORDS
    first, *rest = [json.loads(r.value or b"") for r in checking.read(servers, told).records]
    assert not rest
    assert (first["rule"], first["state"]) == ("retention-headroom", "firing")
    assert f"{source}/0 " in first["text"]
    assert first["instanceId"]


def test_a_first_offset_that_comes_nearer_is_measured(
    kafka: KafkaServer, topic: TopicFactory, tmp_path: Path
) -> None:
    servers, out = kafka.bootstrap_servers, topic("out", 1)
    source = topic("words", 1, **{"retention.ms": -1})
    feed(servers, source, [Row("k", str(n), now_ms()) for n in range(RECORDS)])
    query = slow_app(servers, source, out, tmp_path).start()

    def deleted_up_to() -> bool:
        """Delete a tenth of what was processed; whether the pace of that is known."""
        position = checking.committed(servers, f"{out}-app", [source]).get((source, 0), 0)
        if position > 10:
            checking.delete_records(servers, {(source, 0): position // 10})
        last = query.last_progress
        return last is not None and partition(query, source).retention_headroom_ms is not None

    try:
        until(deleted_up_to, query.exception)
        found = partition(query, source)
    finally:
        query.stop("20s")
    assert found.retention_headroom_ms is not None
    assert 0 < found.retention_headroom_ms < 3_600_000
    assert found.retention_headroom_offsets is not None
    assert found.retention_headroom_offsets < RECORDS
    assert query.exception() is None
