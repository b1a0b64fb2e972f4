"""A cluster that stops answering is named: in the status, which the page shows, and in the log.

Its process is stopped, so that connections stay and nothing is refused: the quietest way to be away.
"""

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import penstock as ps
from penstock.query.status import AWAY
from penstock.testing.kafka_server import KafkaServer
from tests.kafka.conftest import create_topic
from tests.kafka.feeding import Row, feed

pytestmark = pytest.mark.kafka

WAIT_S = 30.0
OFTEN = ps.Settings(kafka=ps.KafkaSettings(topic_check_ms=300))


@pytest.fixture
def own() -> Iterator[KafkaServer]:
    """A broker that is this test's to stop."""
    with KafkaServer() as server:
        try:
            yield server
        finally:
            os.kill(server.pid(), signal.SIGCONT)


def test_a_cluster_that_is_away_is_named_and_so_is_its_return(
    own: KafkaServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "penstock")
    create_topic(own.bootstrap_servers, "words", 1)
    create_topic(own.bootstrap_servers, "copies", 1)

    def stops_at(word: str) -> str:
        if word == "stop":
            os.kill(own.pid(), signal.SIGSTOP)
        return word

    app = ps.App("away", brokers=own.bootstrap_servers, state_dir=tmp_path, settings=OFTEN)
    app.stream("words", key=str, value=str).map(stops_at, value=str).to("copies")
    query = app.start()
    try:
        feed(own.bootstrap_servers, "words", [Row("a", "go")])
        query.process_all_available("30s")
        assert query.status.message != AWAY

        # In the middle of a batch: the loop itself waits for the commit.
        feed(own.bootstrap_servers, "words", [Row("a", "stop")])
        _until(lambda: query.status.message == AWAY)
        assert query.status.is_trigger_active
        os.kill(own.pid(), signal.SIGCONT)
        _until(lambda: query.status.message == "Waiting for data to arrive")

        # With nothing to do: it is asked all the same.
        caplog.clear()
        os.kill(own.pid(), signal.SIGSTOP)
        _until(lambda: query.status.message == AWAY)
        assert "has not answered for 5 s. Nothing is lost" in caplog.text
        os.kill(own.pid(), signal.SIGCONT)
        _until(lambda: query.status.message == "Waiting for data to arrive")
        assert "answers again, after" in caplog.text
    finally:
        os.kill(own.pid(), signal.SIGCONT)
        query.stop("10s")


def _until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)
