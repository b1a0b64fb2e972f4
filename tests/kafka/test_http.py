"""The HTTP server of a running application, asked as others ask it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from penstock.query.query import Query
from penstock.testing.kafka_server import KafkaServer
from tests.kafka import apps
from tests.kafka.conftest import TopicFactory
from tests.kafka.feeding import feed, words
from tests.web import Web, free_port

pytestmark = pytest.mark.kafka

RECORDS = 2_000


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    """Where the next application is shown."""
    port = free_port()
    monkeypatch.setenv("PENSTOCK_HTTP", f"127.0.0.1:{port}")
    return Web(port)


@contextmanager
def running(servers: str, folder: Path, source: str, out: str) -> Iterator[Query]:
    """A count in this process."""
    arguments = ["count", "--brokers", servers, "--id", f"{out}-app", "--state-dir", str(folder)]
    query = apps.build([*arguments, "--in", source, "--out", out]).start()
    try:
        yield query
    finally:
        query.stop("20s")


def test_a_running_application_tells_what_it_does(
    kafka: KafkaServer, topic: TopicFactory, tmp_path: Path, web: Web
) -> None:
    servers, source, out = kafka.bootstrap_servers, topic("words"), topic("counts")
    feed(servers, source, words(RECORDS))
    with running(servers, tmp_path, source, out) as query:
        web.wait_until(web.ready, "it is ready")
        web.wait_until(lambda: rows(web) == RECORDS, "all records are told of")
        status = web.json("/status")
        topology = web.json("/topology")
        assert web.json("/healthz") == {"status": "alive"}
        assert len(web.json("/progress?last=1")["recent"]) == 1
        web.wait_until(lambda: summed(web) is not None, "the topic is read")
        assert (
            web.json("/application")["workers"][0]["instanceId"]
            == web.json("/status")["instanceId"]
        )
        assert web.json("/problems") == {"problems": []}
    assert status["name"] == query.name
    assert status["id"] == str(query.id)
    assert status["runId"] == str(query.run_id)
    assert status["instanceId"]
    assert {task["partition"] for task in status["tasks"]} == {0, 1, 2, 3}
    assert {task["phase"] for task in status["tasks"]} == {"running"}
    assert topology["nodes"][0]["topics"] == [source]
    assert topology["nodes"][-1]["sink"] == out
    assert [node["stores"] for node in topology["nodes"] if node["stores"]] == [["counts"]]
    assert topology["mermaid"].startswith("flowchart")
    with pytest.raises(ConnectionError):
        web.get("/status")


def test_what_happens_is_told_as_it_happens_until_the_end(
    kafka: KafkaServer, topic: TopicFactory, tmp_path: Path, web: Web
) -> None:
    servers, source, out = kafka.bootstrap_servers, topic("words"), topic("counts")
    told: list[tuple[str, Any]] = []
    with running(servers, tmp_path, source, out):
        web.wait_until(web.ready, "it is ready")
        listening = threading.Thread(target=lambda: told.extend(web.events("/events")), daemon=True)
        listening.start()
        time.sleep(0.5)
        feed(servers, source, words(RECORDS))
        web.wait_until(lambda: rows(web) == RECORDS, "all records are told of")
        time.sleep(1.2)
    listening.join(5)
    assert not listening.is_alive()
    names = [name for name, _ in told]
    assert names[0] == "status"
    assert names.count("status") >= 2
    assert "progress" in names
    assert sum(data["numInputRows"] for name, data in told if name == "progress") == RECORDS
    assert "terminated" in names


def rows(web: Web) -> int:
    return sum(of["numInputRows"] for of in web.json("/progress")["recent"])


def summed(web: Web) -> Any:
    return web.json("/application")["progress"]
