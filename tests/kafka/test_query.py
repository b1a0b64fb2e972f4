"""The handle on a running application, against a real broker."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import penstock as ps
from penstock.errors import BrokerError, DataError, TopologyError
from penstock.query.progress import Progress
from penstock.query.query import Query
from penstock.testing.kafka_server import KafkaServer
from tests.kafka import checking
from tests.kafka.conftest import TopicFactory
from tests.kafka.feeding import Row, feed, feed_transaction, open_transaction, words

pytestmark = pytest.mark.kafka

QUICK = ps.Settings(
    kafka=ps.KafkaSettings(session_timeout_ms=3_000), worker=ps.WorkerSettings(leave=True)
)


class Maker:
    """Make applications of one id, each with a folder of its own; all end with the test."""

    def __init__(self, servers: str, folder: Path, name: str) -> None:
        self.servers, self.folder, self.name = servers, folder, name
        self.queries: list[Query] = []

    def app(self, folder: str = "state") -> ps.App:
        return ps.App(
            self.name, brokers=self.servers, state_dir=self.folder / folder, settings=QUICK
        )

    def start(self, app: ps.App, *listeners: ps.Listener) -> Query:
        self.queries.append(app.start(listeners=listeners))
        return self.queries[-1]

    def close(self) -> None:
        for query in self.queries:
            query.stop("10s")


@pytest.fixture
def made(kafka: KafkaServer, tmp_path: Path, topic: TopicFactory) -> Iterator[Maker]:
    maker = Maker(kafka.bootstrap_servers, tmp_path, topic("handle"))
    yield maker
    maker.close()


def test_all_available_is_processed(kafka: KafkaServer, topic: TopicFactory, made: Maker) -> None:
    """Inputs with aborted transactions in them, a repartition topic, a topic in between."""
    servers, source, middle, out = (
        kafka.bootstrap_servers, topic("words"), topic("middle"), topic("counts"),
    )  # fmt: skip
    app = made.app()
    by_end = app.stream(source, key=str, value=str).rekey(lambda w: w[-1], key=str, name="ends")
    by_end.group_by_key().count(name="per-end").to(middle)
    read = app.stream(middle, key=str, value=int)
    table = read.group_by_key().reduce(max, name="most").to_memory()
    query = made.start(app)
    for number in range(3):
        feed(servers, source, words(2_000, first=number * 2_000))
        feed_transaction(servers, source, words(300), commit=False)
        query.process_all_available("30s")
        assert sum(n for _, n in table.rows()) == (number + 1) * 2_000
    assert checking.read(servers, out).records == []
    assert query.is_active
    query.process_all_available("1s")


def test_what_is_open_is_not_available(
    kafka: KafkaServer, topic: TopicFactory, made: Maker
) -> None:
    """A transaction that has not ended is nobody's input yet."""
    servers, source = kafka.bootstrap_servers, topic("words", partitions=1)
    app = made.app()
    rows = app.stream(source, key=str, value=str).to_memory()
    query = made.start(app)
    feed(servers, source, [Row("a", "first")])
    with open_transaction(servers, source, [Row("a", "second")]):
        query.process_all_available("20s")
        assert rows.rows() == [("a", "first")]
    feed(servers, source, [Row("a", "third")])
    query.process_all_available("20s")
    assert rows.rows()[0] == ("a", "first")
    assert rows.rows()[-1] == ("a", "third")


def test_all_available_of_other_workers(
    kafka: KafkaServer, topic: TopicFactory, made: Maker
) -> None:
    """Half of the input is another worker's, which stops and starts again meanwhile."""
    servers, source, out = kafka.bootstrap_servers, topic("words"), topic("counts")

    def declared(folder: str) -> ps.App:
        app = made.app(folder)
        app.stream(source, key=str, value=str).group_by_key().count(name="n").to(out)
        return app

    query, other = made.start(declared("one")), made.start(declared("two"))
    query.process_all_available("30s")
    feed(servers, source, words(20_000))
    other.stop("10s")
    query.process_all_available("60s")
    again = made.start(declared("two"))
    feed(servers, source, words(20_000, first=20_000))
    again.process_all_available("60s")
    written = checking.read(servers, out).records
    checking.check_updates(checking.counted(checking.read(servers, source).records), written)


def test_all_available_tells_the_error(
    kafka: KafkaServer, topic: TopicFactory, made: Maker
) -> None:
    """What ends the query ends the wait."""
    servers, source = kafka.bootstrap_servers, topic("words", partitions=1)
    feed(servers, source, [Row("a", "x"), Row("a", "1")])
    app = made.app()
    app.stream(source, key=str, value=str).map(int, value=int).to_memory()
    query = made.start(app)
    with pytest.raises(DataError, match="offset 0"):
        query.process_all_available("30s")
    with pytest.raises(DataError, match="offset 0"):
        query.process_all_available()
    with pytest.raises(DataError):
        query.await_termination("10s")
    assert isinstance(query.exception(), DataError)
    assert not query.is_active
    assert query.status.message == "Terminated"
    query.stop()  # it has ended: nothing to do


def test_all_available_has_a_limit(kafka: KafkaServer, topic: TopicFactory, made: Maker) -> None:
    """The error says what is left; a stop ends the wait too."""
    servers, source = kafka.bootstrap_servers, topic("words", partitions=1)
    feed(servers, source, [Row("a", "x")])
    let_go = threading.Event()
    app = made.app()
    app.stream(source, key=str, value=str).map(lambda w: _wait(let_go, w), value=str).to_memory()
    query = made.start(app)
    with pytest.raises(BrokerError, match=rf"{source}/0 \(1 offsets\)"):
        query.process_all_available("3s")
    assert query.is_active
    threading.Timer(0.3, lambda: (query.stop("0s"), let_go.set())).start()
    try:
        query.process_all_available("30s")  # the batch may be committed before the end
    except TopologyError as error:
        assert "has ended before" in str(error)  # noqa: PT017 - either is right
    assert query.await_termination("10s")
    assert query.exception() is None


def _wait(let_go: threading.Event, word: str) -> str:
    let_go.wait(30)
    return word


def test_progress_of_all_workers(kafka: KafkaServer, topic: TopicFactory, made: Maker) -> None:
    """The records of both come out of one handle, and of the other as a sum; both end."""
    servers, source = kafka.bootstrap_servers, topic("words")

    def declared(folder: str) -> ps.App:
        app = made.app(folder)
        app.stream(source, key=str, value=str).to_memory()
        return app

    one, two = made.start(declared("one")), made.start(declared("two"))
    records: list[Progress] = []
    sums: list[Progress] = []
    threads = [
        threading.Thread(target=lambda: records.extend(one.progress_stream())),
        threading.Thread(target=lambda: sums.extend(two.progress_stream(summed=True))),
    ]
    for thread in threads:
        thread.start()
    _until(lambda: bool(one.status.message == two.status.message == "Waiting for data to arrive"))
    feed(servers, source, words(10_000))
    _until(lambda: sum(of.num_input_rows for of in records) == 10_000)
    _until(lambda: bool(sums) and set(sums[-1].sources[0].partitions[source]) == set("0123"))
    assert {of.run_id for of in records} == {one.run_id, two.run_id}
    stream = one.progress_stream()
    assert next(stream).id == one.id
    stream.close()  # type: ignore[attr-defined]  # it is a generator
    one.stop("10s")
    two.stop("10s")
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def test_progress_that_is_not_published_cannot_be_read(made: Maker, topic: TopicFactory) -> None:
    settings = ps.Settings(progress=ps.ProgressSettings(publish=False))
    app = ps.App(made.name, brokers=made.servers, state_dir=made.folder, settings=settings)
    app.stream(topic("in"), key=str, value=str).to_memory()
    query = made.start(app)
    with pytest.raises(TopologyError, match="publish=False"):
        query.progress_stream()


def test_an_application_starts_once(made: Maker, topic: TopicFactory) -> None:
    """Twice with one state folder is a mistake; after the end it is a restart."""
    source = topic("in")

    def declared(folder: str = "state") -> ps.App:
        app = made.app(folder)
        app.stream(source, key=str, value=str).to_memory()
        return app

    app = declared()
    query = made.start(app)
    for again in (app, declared(), declared("other/../state")):
        with pytest.raises(TopologyError, match="runs in this process already"):
            again.start()
    with pytest.raises(TopologyError, match="runs in this process already"):
        app.run()
    other = made.start(declared("other"))
    query.stop("10s")
    query.stop("10s")
    restarted = made.start(app)
    assert restarted.id == query.id == other.id
    assert restarted.run_id != query.run_id
    assert query.exception() is None
    restarted.stop("10s")
    assert not restarted.is_active


def test_callbacks_may_stop_and_not_wait(
    kafka: KafkaServer, topic: TopicFactory, made: Maker
) -> None:
    """In the loop's thread and in a listener's: waiting is refused, stopping stops."""
    servers, source = kafka.bootstrap_servers, topic("words", partitions=1)
    feed(servers, source, [Row("a", "1"), Row("a", "2")])
    refused: list[str] = []
    handle: list[Query] = []

    def waits(query: Query) -> None:
        for call in (
            query.await_termination,
            query.process_all_available,
            query.progress_stream,
            lambda: ps.wait_any(query),
        ):
            with pytest.raises(TopologyError, match="in a callback") as caught:
                call()
            refused.append(str(caught.value))

    def seen(word: str) -> str:
        waits(handle[0])
        handle[0].stop()
        handle[0].stop()
        return word

    class Curious(ps.Listener):
        def on_query_started(self, query: Query) -> None:
            waits(query)
            handle.append(query)

    def waiting(word: str) -> str:
        _until(lambda: bool(handle))
        return seen(word)

    app = made.app()
    app.stream(source, key=str, value=str).map(waiting, value=str).to_memory()
    query = made.start(app, Curious())
    assert query.await_termination("20s")
    assert query.exception() is None
    assert len(refused) >= 8
    assert refused[0].startswith("await_termination()")


def test_exit_in_a_function_is_an_error(
    kafka: KafkaServer, topic: TopicFactory, made: Maker
) -> None:
    """It would end the thread of the query without a word."""
    servers, source = kafka.bootstrap_servers, topic("words", partitions=1)
    feed(servers, source, [Row("a", "1")])
    app = made.app()
    app.stream(source, key=str, value=str).map(lambda _: exit(3), value=str).to_memory()  # type: ignore[arg-type, return-value]
    query = made.start(app)
    with pytest.raises(TopologyError, match=r"exit\(3\)"):
        query.await_termination("20s")


def test_the_first_that_ends(kafka: KafkaServer, topic: TopicFactory, made: Maker) -> None:
    """wait_any returns it, or raises what has ended it."""
    servers, source = kafka.bootstrap_servers, topic("words", partitions=1)
    good, bad = (
        made.app("good"),
        ps.App(f"{made.name}-bad", brokers=servers, state_dir=made.folder / "bad", settings=QUICK),
    )
    good.stream(source, key=str, value=str).to_memory()
    bad.stream(source, key=str, value=str).map(int, value=int).to_memory()
    queries = made.start(good), made.start(bad)
    assert ps.wait_any(*queries, timeout="100ms") is None
    feed(servers, source, [Row("a", "x")])
    with pytest.raises(DataError):
        ps.wait_any(*queries, timeout="30s")
    assert queries[0].is_active
    threading.Timer(0.2, queries[0].stop).start()
    assert ps.wait_any(queries[0]) is queries[0]


def _until(reached: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)
