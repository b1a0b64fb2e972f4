"""The handle on a query: who waits for what, and who must not."""

import signal
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress

import pytest

import penstock as ps
from penstock.errors import BrokerError, DataError, TopologyError
from penstock.query.events import Idle, Started, Told
from penstock.query.monitor import Monitor
from penstock.query.outside import Wait
from penstock.query.query import Query
from penstock.runtime.draining import stages
from penstock.topology.graph import Topology
from tests.unit.progresses import a_progress, common


def an_app() -> ps.App:
    app = ps.App("app")
    app.stream("in", key=str, value=str).to("out")
    return app


class Topic:
    """A progress topic on which something is told at each read."""

    def __init__(self, reads: list[list[Told]]) -> None:
        self.reads = reads
        self.closed = False

    def read(self, timeout_s: float) -> list[Told]:
        if self.reads:
            return self.reads.pop(0)
        time.sleep(0.001)
        return []

    def close(self) -> None:
        self.closed = True


class Around:
    """An outside in which draining takes until it is let go."""

    guarantee = "exactly_once"
    publishes = True
    partitions: Mapping[str, int] = {}

    def __init__(self, *reads: list[Told]) -> None:
        self.topology: Topology = an_app().topology()
        self.reading = Topic(list(reads))
        self.drained = threading.Event()

    def follow(self) -> Topic:
        return self.reading

    def drain(self, wait: Wait) -> None:
        while not self.drained.is_set():
            wait(0.001, "in/0 (5 offsets)")


def a_query(around: Around | None = None, stop: Callable[[], None] = lambda: None) -> Query:
    return Query(Monitor(an_app().topology(), uuid.uuid4()), stop, around or Around())


def ended(query: Query, error: Exception | None) -> None:
    """Let a query end, in a thread of its own as it does."""

    def work() -> None:
        with suppress(Exception), query.running():
            if error:
                raise error
        query.end()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_a_query_before_its_end() -> None:
    """It is active, has no error, and says what it does."""
    query = a_query()
    assert query.is_active
    assert query.exception() is None
    assert query.status.message == "Initializing"
    assert (query.last_progress, query.recent_progress) == (None, [])
    assert not query.await_termination("1ms")
    assert repr(query) == "<Query 'app', initializing>"


@pytest.mark.parametrize("error", [None, DataError("no"), ValueError("ours")], ids=str)
def test_every_end_is_told(error: Exception | None) -> None:
    """By a stop, by an error of Penstock's, by any other."""
    query = a_query()
    ended(query, error)
    assert not query.is_active
    assert query.exception() is error
    assert query.status.message == "Terminated"
    if error is None:
        assert query.await_termination()
        assert ps.wait_any(query) is query
        return
    for wait in (query.await_termination, query.process_all_available, lambda: ps.wait_any(query)):
        with pytest.raises(type(error)) as caught:
            wait()
        assert caught.value is error


def test_an_exit_is_an_error() -> None:
    """A function that calls exit() would end the thread without a word."""
    query = a_query()
    with pytest.raises(SystemExit), query.running():
        raise SystemExit(2)
    assert isinstance(query.exception(), TopologyError)


def test_a_stop_waits_for_the_end() -> None:
    """And no longer than it may; a second one, or one after the end, does nothing more."""
    asked: list[int] = []
    query = a_query(stop=lambda: asked.append(1))
    began = time.monotonic()
    query.stop("20ms")
    assert time.monotonic() - began < 5
    assert query.is_active
    threading.Timer(0.02, ended, (query, None)).start()
    query.stop()
    query.stop()
    assert not query.is_active
    assert len(asked) == 3


WAITS: list[Callable[[Query], object]] = [
    lambda query: query.await_termination(),
    lambda query: query.process_all_available(),
    lambda query: query.progress_stream(),
    lambda query: ps.wait_any(query),
]


@pytest.mark.parametrize("wait", WAITS)
def test_a_callback_does_not_wait_for_itself(wait: Callable[[Query], object]) -> None:
    """Neither in the loop's thread nor in a listener's; a stop there returns at once."""
    query = a_query()
    with query.running():
        with pytest.raises(TopologyError, match="in a callback"):
            wait(query)
        query.stop()
    query.add_callback_thread()
    with pytest.raises(TopologyError, match="in a callback"):
        wait(query)
    query.stop()


def test_a_thread_that_was_a_callback_may_wait() -> None:
    """Threads have their numbers from each other."""
    query = a_query()
    with query.running():
        pass
    assert not query.await_termination("1ms")
    query.add_callback_thread()
    query.remove_callback_thread()
    assert not query.await_termination("1ms")


def test_an_interrupt_ends_the_waiting_only() -> None:
    """A notebook's stop button, or Ctrl-C."""
    query = a_query()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupt = signal.pthread_kill, (threading.get_ident(), signal.SIGINT)
    threading.Timer(0.1, *interrupt).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            query.await_termination("20s")
    finally:
        signal.signal(signal.SIGINT, before)
    assert query.is_active
    assert query.exception() is None


def test_all_available_ends_with_the_drain() -> None:
    """As soon as nothing is left."""
    around = Around()
    query = a_query(around)
    threading.Timer(0.05, around.drained.set).start()
    query.process_all_available("20s")
    assert query.is_active


def test_all_available_has_a_limit() -> None:
    """Its error says what is left, and the query goes on."""
    query = a_query()
    with pytest.raises(BrokerError, match=r"0\.05 s: it still waits for in/0 \(5 offsets\)"):
        query.process_all_available("50ms")
    assert query.is_active


def test_all_available_ends_with_the_query() -> None:
    """A stop before all is processed is not success."""
    query = a_query()
    threading.Timer(0.05, ended, (query, None)).start()
    with pytest.raises(TopologyError, match="has ended before"):
        query.process_all_available("20s")


def test_the_stream_ends_with_the_query() -> None:
    """After what was told last; events are no progress."""
    first, last = a_progress("a", 1_000, {0: 1}), a_progress("b", 2_000, {1: 2})
    around = Around([Started(**common("a", 500)), first], [Idle(**common("a", 900))])
    query = a_query(around)
    stream = query.progress_stream()
    assert next(stream) is first
    around.reading.reads += [[last]]
    ended(query, None)
    assert list(stream) == [last]
    assert around.reading.closed


def test_the_stream_can_be_closed() -> None:
    """Who breaks out of the loop leaves no client behind."""
    around = Around([a_progress("a", 1_000, {0: 1})])
    query = a_query(around)
    for _ in query.progress_stream():
        break
    assert around.reading.closed


def test_the_stream_can_be_summed() -> None:
    """One progress of all workers, each time that one of them tells."""
    one, two = a_progress("a", 1_000, {0: 1}), a_progress("b", 2_000, {1: 2})
    around = Around([Started(**common("a", 500))], [one], [two], [Idle(**common("a", 3_000))])
    query = a_query(around)
    ended(query, None)
    around.reading.reads.append([])
    found = list(query.progress_stream(summed=True))
    assert [of.num_input_rows for of in found] == [1, 3, 2]


def test_the_stream_needs_a_topic() -> None:
    """Said at once, not at the first record."""
    around = Around()
    around.publishes = False
    with pytest.raises(TopologyError, match="publish=False"):
        a_query(around).progress_stream()


def test_the_first_of_several() -> None:
    """The one that ends first; the others are let alone."""
    queries = [a_query() for _ in range(3)]
    assert ps.wait_any(*queries, timeout="5ms") is None
    threading.Timer(0.05, ended, (queries[1], None)).start()
    assert ps.wait_any(*queries) is queries[1]
    ended(queries[0], None)
    assert ps.wait_any(*queries) is queries[0]  # of those that have ended, the first given
    error = DataError("no")
    ended(queries[2], error)
    with pytest.raises(DataError):
        ps.wait_any(queries[2], queries[1])
    with pytest.raises(TopologyError, match="no query"):
        ps.wait_any()


def test_a_query_explains_itself() -> None:
    """With what the run knows of its topics."""
    around = Around()
    around.partitions = {"in": 3}
    assert "Sub-topology 0: 3 tasks\n  reads   in (3)\n" in a_query(around).explain()
    assert "to-1 out <- stream-0" in a_query(around).explain(extended=True)


def test_what_is_written_comes_after_what_is_read() -> None:
    """Inputs first; then what the application writes and reads, each behind its writers."""
    app = ps.App("app")
    words = app.stream("words", key=str, value=str)
    counted = words.group_by(lambda w: w[0], key=str, name="first").count(name="n")
    counted.to("middle")
    app.stream("middle", key=str, value=int).rekey(str, key=str, name="again").group_by_key().count(
        name="m"
    ).to("out")
    app.stream("else", key=str, value=str).to("elsewhere")
    assert stages(app.topology()) == [
        {"words", "else"},
        {"app-first-repartition"},
        {"middle"},
        {"app-again-repartition"},
    ]


def test_a_circle_is_gone_through_once() -> None:
    """An application that writes what it reads has no end; each topic is waited for once."""
    app = ps.App("app")
    app.stream("in", key=str, value=str).to("a")
    app.stream("a", key=str, value=str).filter(bool).to("b")
    app.stream("b", key=str, value=str).to("a")
    app.stream("self", key=str, value=str).to("self")
    found = stages(app.topology())
    assert {"in", "self"} <= found[0]
    assert sorted(topic for topics in found for topic in topics) == ["a", "b", "in", "self"]
