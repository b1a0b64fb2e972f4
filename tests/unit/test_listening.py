"""Listeners: told everything in order, in threads that nobody waits for."""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import penstock as ps
from penstock.errors import DataError
from penstock.query.events import Idle, Rebalance, Restored, Started, Terminated, Told
from penstock.query.monitor import Monitor
from penstock.query.query import Query
from penstock.runtime import listening
from penstock.runtime.listening import MOST_WAITING, ListenerThread, close_all
from tests.unit.progresses import a_progress, common


def told() -> list[Told]:
    """What a short run tells."""
    return [
        Started(**common("a", 1)),
        Rebalance(**common("a", 2), taken={"in": (0,)}, given_back={}, assigned={"in": (0,)}),
        Restored(**common("a", 3), stores=1, rows=2, duration_ms=3),
        a_progress("a", 4, {0: 5}),
        Idle(**common("a", 5), lag=7),
        Terminated(**common("a", 6), exception="no", error_class="DataError"),
    ]


class Noting(ps.Listener):
    """Note every call."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def on_query_started(self, query: Query) -> None:
        self.note("started", query.name)

    def on_query_progress(self, query: Query, progress: ps.Progress) -> None:
        self.note("progress", progress.num_input_rows)

    def on_query_idle(self, query: Query, idle: Idle) -> None:
        self.note("idle", idle.lag)

    def on_rebalance(self, query: Query, rebalance: Rebalance) -> None:
        self.note("rebalance", rebalance.assigned)

    def on_restore(self, query: Query, restored: Restored) -> None:
        self.note("restore", restored.rows)

    def on_query_terminated(self, query: Query, error: Exception | None) -> None:
        self.note("terminated", error)

    def note(self, name: str, what: object) -> None:
        self.calls.append((name, what))


ERROR = DataError("no")
CALLS = [
    ("started", "app"),
    ("rebalance", {"in": (0,)}),
    ("restore", 2),
    ("progress", 5),
    ("idle", 7),
    ("terminated", ERROR),
]


@pytest.fixture
def query() -> Query:
    """A query that an error has ended."""
    app = ps.App("app")
    app.stream("in").to("out")
    query = Query(Monitor(app.topology(), uuid.uuid4()), lambda: None)
    with pytest.raises(DataError), query.running():
        raise ERROR
    return query


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a listener that hangs for two seconds here."""
    monkeypatch.setattr(listening, "CLOSE_S", 0.2)


@pytest.fixture
def hanging() -> Iterator[threading.Event]:
    """Let go of what hangs, behind the test."""
    event = threading.Event()
    yield event
    event.set()


def test_everything_is_told_in_order(query: Query) -> None:
    """The end with the error that has ended the query, and nothing behind it."""
    listener = Noting()
    thread = ListenerThread(listener, query)
    for each in told():
        thread.take(each)
    close_all([thread])
    assert listener.calls == CALLS


def test_a_listener_overrides_what_it_likes(query: Query) -> None:
    """The rest does nothing."""
    thread = ListenerThread(ps.Listener(), query)
    for each in told():
        thread.take(each)
    close_all([thread])


@pytest.mark.parametrize(
    "error", [ValueError("mine"), SystemExit(1)], ids=lambda e: type(e).__name__
)
def test_one_that_raises_is_called_again(
    query: Query, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """And named in the log, with what it has failed on."""

    class Raising(Noting):
        def note(self, name: str, what: object) -> None:
            super().note(name, what)
            raise error

    raising, other = Raising(), Noting()
    threads = [ListenerThread(raising, query), ListenerThread(other, query)]
    for each in told():
        for thread in threads:
            thread.take(each)
    close_all(threads)
    assert raising.calls == other.calls == CALLS
    failed = [record.getMessage() for record in caplog.records]
    assert len(failed) == len(CALLS)
    assert failed[3].startswith("The listener Raising failed on Progress.")


def test_one_that_hangs_holds_nobody_up(query: Query, hanging: threading.Event) -> None:
    """Neither who tells, nor the other listeners, nor the end."""

    class Hanging(Noting):
        def note(self, name: str, what: object) -> None:
            hanging.wait(60)

    other = Noting()
    threads = [ListenerThread(Hanging(), query), ListenerThread(other, query)]
    for each in told() * 1_000:
        threads[0].take(each)
    for each in told():
        threads[1].take(each)
    close_all(threads)  # pytest's own limit would end a wait for ever
    assert other.calls == CALLS
    assert not hanging.is_set()


def test_one_that_is_slow_misses_the_oldest(
    query: Query, hanging: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    """What is told last, the end among it, is never dropped; the log says how many were."""
    began = threading.Event()

    class Slow(Noting):
        def note(self, name: str, what: object) -> None:
            super().note(name, what)
            began.set()
            hanging.wait(60)

    slow = Slow()
    thread = ListenerThread(slow, query)
    thread.take(told()[0])
    assert began.wait(10)
    for number in range(MOST_WAITING + 10):
        thread.take(a_progress("a", number, {0: number}))
    hanging.set()
    with caplog.at_level(logging.WARNING):
        thread.take(told()[-1])
        thread.close()
        thread.join(10)
    assert slow.calls[0] == CALLS[0]
    assert slow.calls[-1] == CALLS[-1]
    assert "has missed" in caplog.text
    assert slow.calls[-2] == ("progress", MOST_WAITING + 9)


def test_one_may_stop_the_query() -> None:
    """It returns at once there, though the query has not ended."""
    app = ps.App("app")
    app.stream("in").to("out")
    stopped: list[str] = []
    query = Query(Monitor(app.topology(), uuid.uuid4()), lambda: stopped.append("asked"))

    class Stopping(Noting):
        def note(self, name: str, what: object) -> None:
            query.stop()
            stopped.append(name)

    thread = ListenerThread(Stopping(), query)
    thread.take(told()[0])
    _until(lambda: stopped == ["asked", "started"])
    assert query.is_active
    close_all([thread])


def test_its_thread_may_wait_when_it_has_ended(query: Query) -> None:
    """The number of a thread that has gone is another thread's one day."""
    thread = ListenerThread(Noting(), query)
    close_all([thread])
    _until(lambda: not query._callback_threads)  # pyright: ignore[reportPrivateUsage]


def _until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.005)
