"""The progress of all workers of an application, read from its topic and summed."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import pytest
from confluent_kafka import Producer

import penstock as ps
from penstock.errors import BrokerError
from penstock.query.events import Told
from penstock.query.progress import Progress
from penstock.query.summing import Application
from penstock.runtime.following import Follower
from penstock.testing.kafka_server import KafkaServer
from tests.kafka import apps
from tests.kafka.conftest import TopicFactory
from tests.kafka.feeding import feed, words

pytestmark = pytest.mark.kafka

RECORDS = 20_000
WAIT_S = 30.0


class Heard:
    """What was told so far, and its sum."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.told: list[Told] = []
        self.of = Application()

    def wait(self, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT_S
        while not reached():
            assert time.monotonic() < deadline, self.told[-3:]
            for told in self.follower.read(0.2):
                self.told.append(told)
                self.of.add(told)

    @property
    def records(self) -> list[Progress]:
        return [told for told in self.told if isinstance(told, Progress)]

    @property
    def rows(self) -> int:
        return sum(progress.num_input_rows for progress in self.records)


@contextmanager
def following(servers: str, topic: str, **options: str) -> Iterator[Heard]:
    follower = Follower({"bootstrap.servers": servers}, topic, **options, back_ms=60_000)
    try:
        yield Heard(follower)
    finally:
        follower.close()


def test_workers_are_summed(kafka: KafkaServer, topic: TopicFactory, tmp_path: Path) -> None:
    """Two workers of one application: what both have told adds up to what was written."""
    servers, source, out = kafka.bootstrap_servers, topic("words"), topic("counts")

    def worker(number: int) -> ps.App:
        folder = str(tmp_path / str(number))
        arguments = ["count", "--brokers", servers, "--id", f"{out}-app", "--state-dir", folder]
        quick = ["--kafka", '{"session_timeout_ms": 3000}', "--worker", '{"leave": true}']
        return apps.build([*arguments, *quick, "--in", source, "--out", out])

    queries = [worker(0).start(), worker(1).start()]
    try:
        with following(servers, f"{out}-app-progress") as heard:
            heard.wait(lambda: shared(heard.of))
            feed(servers, source, words(RECORDS))
            heard.wait(lambda: heard.rows >= RECORDS)
            assert heard.rows == RECORDS
            assert {of.run_id for of in heard.records} == {query.run_id for query in queries}
            whole = heard.of.progress
            assert whole is not None
            workers = heard.of.workers
            assert whole.num_input_rows == sum(
                worker.progress.num_input_rows for worker in workers if worker.progress
            )
            assert whole.lag == 0
            assert set(whole.sources[0].partitions[source]) == {"0", "1", "2", "3"}
            [store] = whole.state_operators
            assert (store.operator_name, store.num_state_store_instances) == ("counts", 4)
            queries[0].stop()
            heard.wait(lambda: len(heard.of.workers) == 1)
            [left] = heard.of.workers
            assert left.run_id == queries[1].run_id
            queries[0] = worker(0).start()
            heard.wait(lambda: len(heard.of.workers) == 2)
            assert {of.run_id for of in heard.of.workers} == {query.run_id for query in queries}
    finally:
        for query in queries:
            query.stop("10s")
    assert [query.exception() for query in queries] == [None, None]


def shared(of: Application) -> bool:
    """Whether two workers have two of the four partitions each."""
    numbers = [list(chain.from_iterable(worker.assigned.values())) for worker in of.workers]
    return sorted(map(len, numbers)) == [2, 2] and set(chain(*numbers)) == {0, 1, 2, 3}


def test_a_topic_that_comes_later_is_read(kafka: KafkaServer, topic: TopicFactory) -> None:
    """Whoever looks before the first worker has begun waits for it; strange records are nothing."""
    servers = kafka.bootstrap_servers
    missing = Follower({"bootstrap.servers": servers}, "no-such-progress")
    try:
        assert missing.read(0.1) == []
        assert not missing.found
    finally:
        missing.close()
    name = topic("progress", partitions=1)
    producer = Producer({"bootstrap.servers": servers})
    for value in (b"\xff", b"{}", None, b'{"event":"idle"}'):
        producer.produce(name, value)
    producer.flush(10)
    with following(servers, name, application="app") as heard:
        heard.wait(lambda: heard.follower.found)
        assert heard.follower.read(1.0) == []
        assert heard.told == []


def test_a_cluster_that_is_away_is_an_error() -> None:
    """Not an empty answer, which would mean that nobody has told anything."""
    follower = Follower({"bootstrap.servers": "127.0.0.1:1"}, "any-progress")
    try:
        with pytest.raises(BrokerError, match="any-progress"):
            follower.read(0.1)
    finally:
        follower.close()
