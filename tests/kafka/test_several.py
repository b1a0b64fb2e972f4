"""Several applications in one process: all stop together, and the first error is told."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import penstock as ps
from penstock.errors import DataError, TopologyError
from penstock.query.query import Query
from penstock.testing.kafka_server import KafkaServer
from tests.kafka import checking
from tests.kafka.conftest import TopicFactory
from tests.kafka.feeding import Row, feed, words

pytestmark = pytest.mark.kafka

SCRIPT = """
import sys
import penstock as ps
servers, source, one, two, folder = sys.argv[1:]
apps = []
for out in (one, two):
    app = ps.App(f"{out}-app", brokers=servers, state_dir=folder)
    app.stream(source, key=str, value=str).group_by_key().count(name="n").to(out)
    apps.append(app)

class Ready(ps.Listener):
    def on_query_progress(self, query, progress):
        print(query.name, progress.num_input_rows, flush=True)

ps.run(*apps, listeners=[Ready()])
print("ended in order", flush=True)
"""


def test_a_signal_stops_all(kafka: KafkaServer, topic: TopicFactory, tmp_path: Path) -> None:
    """Both have processed all, both end in order, and the exit code is 0."""
    servers, source = kafka.bootstrap_servers, topic("words")
    outs = topic("one"), topic("two")
    feed(servers, source, words(4_000))
    command = [sys.executable, "-c", SCRIPT, servers, source, *outs, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        killer = threading.Timer(60, process.kill)
        killer.start()
        rows = {f"{out}-app": 0 for out in outs}
        while set(rows.values()) != {4_000}:
            name, count = process.stdout.readline().split()
            rows[name] += int(count)
        process.send_signal(signal.SIGTERM)
        last = process.stdout.read()
        killer.cancel()
    assert process.returncode == 0
    assert last.endswith("ended in order\n")
    expected = checking.counted(checking.read(servers, source).records)
    for out in outs:
        checking.check_updates(expected, checking.read(servers, out).records)


def test_one_that_fails_stops_the_others(
    kafka: KafkaServer, topic: TopicFactory, tmp_path: Path
) -> None:
    """The error is that of the one; the other has ended in order."""
    servers, source = kafka.bootstrap_servers, topic("words", partitions=1)
    good = ps.App(f"{source}-good", brokers=servers, state_dir=tmp_path)
    rows = good.stream(source, key=str, value=str).to_memory()
    bad = ps.App(f"{source}-bad", brokers=servers, state_dir=tmp_path)
    bad.stream(source, key=str, value=str).map(int, value=int).to_memory()
    ends: list[tuple[str, Exception | None]] = []

    class Feeding(ps.Listener):
        def on_query_progress(self, query: Query, progress: ps.Progress) -> None:
            if query.name == good.id and rows.rows() == [("a", "1")]:
                feed(servers, source, [Row("a", "x")])

        def on_query_terminated(self, query: Query, error: Exception | None) -> None:
            ends.append((query.name, error))

    feed(servers, source, [Row("a", "1")])
    with pytest.raises(DataError, match="offset 1"):
        ps.run(good, bad, listeners=[Feeding()])
    assert [type(error) for _, error in sorted(ends)] == [DataError, type(None)]


def test_what_cannot_run_is_refused(
    kafka: KafkaServer, topic: TopicFactory, tmp_path: Path
) -> None:
    """Nothing is started then, and what ran before goes on."""
    servers, source = kafka.bootstrap_servers, topic("words", partitions=1)
    one = ps.App(f"{source}-one", brokers=servers, state_dir=tmp_path)
    one.stream(source, key=str, value=str).to_memory()
    two = ps.App(f"{source}-two", brokers=servers, state_dir=tmp_path)
    two.stream(source, key=str, value=str).to_memory()
    query = two.start()
    try:
        for apps in ((one, two), (one, one), ()):
            with pytest.raises(TopologyError):
                ps.run(*apps)
        with pytest.raises(TopologyError, match="runs in this process already"):
            two.start()
        assert query.is_active
    finally:
        query.stop("10s")
