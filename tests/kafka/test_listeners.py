"""Listeners of a running application: whatever they do, it goes on, and ends when it should."""

import threading
import time
from pathlib import Path

import pytest

import penstock as ps
from penstock.errors import DataError, TopologyError
from penstock.query.events import Rebalance
from penstock.query.query import Query
from penstock.testing.kafka_server import KafkaServer
from tests.kafka.conftest import TopicFactory
from tests.kafka.feeding import Row, feed, words

pytestmark = pytest.mark.kafka


class Noting(ps.Listener):
    """Note what is told, in words."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.rows = 0
        self.error: Exception | None = None

    def on_query_started(self, query: Query) -> None:
        self.note("started")

    def on_rebalance(self, query: Query, rebalance: Rebalance) -> None:
        self.note("rebalance")

    def on_query_progress(self, query: Query, progress: ps.Progress) -> None:
        self.rows += progress.num_input_rows
        self.note("progress")

    def on_query_terminated(self, query: Query, error: Exception | None) -> None:
        self.error = error
        self.note("terminated")

    def note(self, what: str) -> None:
        self.calls.append(what)


class Raising(Noting):
    def note(self, what: str) -> None:
        super().note(what)
        raise ValueError(what)


class Hanging(Noting):
    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    def note(self, what: str) -> None:
        super().note(what)
        self.let_go.wait(60)


class Slow(Noting):
    def note(self, what: str) -> None:
        time.sleep(0.3)
        super().note(what)


def an_app(kafka: KafkaServer, source: str, folder: Path) -> ps.App:
    return ps.App(f"{source}-app", brokers=kafka.bootstrap_servers, state_dir=folder)


def test_listeners_cannot_hold_it_up(
    kafka: KafkaServer, topic: TopicFactory, tmp_path: Path
) -> None:
    """All is processed and the query ends while one of them still hangs in its first call."""
    source = topic("words")
    app = an_app(kafka, source, tmp_path)
    app.stream(source, key=str, value=str).to_memory()
    listeners = Noting(), Raising(), Slow(), Hanging()
    noting, raising, _, hanging = listeners
    query = app.start(listeners=listeners)
    try:
        feed(kafka.bootstrap_servers, source, words(20_000))
        query.process_all_available("30s")
        query.stop("20s")
        assert not query.is_active
        assert query.exception() is None
        assert hanging.calls == ["started"]
        assert not hanging.let_go.is_set()
    finally:
        hanging.let_go.set()
    for each in (noting, raising):
        assert each.calls[0] == "started"
        assert each.calls[1] == "rebalance"
        assert each.calls[-1] == "terminated"
        assert each.rows == 20_000
        assert each.error is None


def test_the_end_is_told_with_its_error(
    kafka: KafkaServer, topic: TopicFactory, tmp_path: Path
) -> None:
    """A record that fails ends the query; one that cannot begin tells its end only."""
    source = topic("words", partitions=1)
    feed(kafka.bootstrap_servers, source, [Row("a", "x")])
    app = an_app(kafka, source, tmp_path)
    app.stream(source, key=str, value=str).map(int, value=int).to_memory()
    failing, refused = Noting(), Noting()
    with pytest.raises(DataError) as caught:
        app.start(listeners=[failing]).await_termination("30s")
    assert failing.error is caught.value
    assert failing.calls[0] == "started"
    missing = an_app(kafka, "no-such-topic", tmp_path)
    missing.stream("no-such-topic", key=str, value=str).to_memory()
    with pytest.raises(TopologyError):
        missing.start(listeners=[refused]).await_termination("30s")
    assert refused.calls == ["terminated"]
    assert isinstance(refused.error, TopologyError)


def test_a_listener_may_stop_it(kafka: KafkaServer, topic: TopicFactory, tmp_path: Path) -> None:
    """As soon as it has seen enough; the end is told to it like to others."""
    source = topic("words")
    app = an_app(kafka, source, tmp_path)
    app.stream(source, key=str, value=str).to_memory()

    class Enough(Noting):
        def on_query_progress(self, query: Query, progress: ps.Progress) -> None:
            super().on_query_progress(query, progress)
            if self.rows:
                query.stop()

    listener = Enough()
    query = app.start(listeners=[listener])
    feed(kafka.bootstrap_servers, source, words(100))
    assert query.await_termination("30s")
    assert listener.calls[-1] == "terminated"
