"""Query: the handle on a running application."""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, overload

from typing_extensions import TypeVar

from penstock.durations import Duration, milliseconds
from penstock.errors import BrokerError, BugError, TopologyError
from penstock.query.monitor import Monitor
from penstock.query.outside import Outside
from penstock.query.progress import Progress
from penstock.query.status import TERMINATED, Status
from penstock.query.store import Store
from penstock.query.stored import Stored
from penstock.query.summing import Application
from penstock.topology.explain import as_explanation

READ_S = 0.5

K = TypeVar("K")
V = TypeVar("V")


class Query:
    """A running application: is it active, what does it do, and how did it end.

    All of it may be used from any thread. What would wait for the query in one of its own
    callbacks (a listener, a function of the application, what `to_memory` and `to_console` call)
    is refused there, because the query would wait for the callback.

    Attributes:
        id: of the query, the same in every run.
        run_id: of this run.
        name: the application id.
    """

    def __init__(
        self, monitor: Monitor, stop: Callable[[], None], outside: Outside | None = None
    ) -> None:
        self.id = monitor.id
        self.run_id = monitor.run_id
        self.name = monitor.topology.application
        self._monitor = monitor
        self._stop = stop
        self._reached = outside
        self._ended = threading.Event()
        self._error: Exception | None = None
        self._callback_threads: set[int] = set()
        self._lock = threading.Lock()
        self._told_the_end: list[Callable[[Query], None]] = []

    def __repr__(self) -> str:
        return f"<Query {self.name!r}, {self.status.message.lower()}>"

    @property
    def is_active(self) -> bool:
        """Whether the application runs."""
        return not self._ended.is_set()

    @property
    def status(self) -> Status:
        """What it is doing now."""
        return TERMINATED if self._ended.is_set() else self._monitor.look().status

    @property
    def recent_progress(self) -> list[Progress]:
        """The last hundred records of progress of this worker, oldest first."""
        return list(self._monitor.recent)

    @property
    def last_progress(self) -> Progress | None:
        """The last record of progress, None before the first."""
        recent = self.recent_progress
        return recent[-1] if recent else None

    def progress_stream(self, *, summed: bool = False) -> Iterator[Progress]:
        """Yield the progress of all workers of the application, wherever they run, as it comes.

        It is read from the progress topic, from what was told in the last fifteen seconds on.
        The iterator waits for records, and ends when the query ends in this process, after its
        last record; or when it is closed. What ended the query, `exception()` tells. So
        `for progress in query.progress_stream(summed=True)` follows the whole application.

        Args:
            summed: yield the whole application's progress each time that a worker tells, instead
                of each worker's own: counts, rates and lag are sums over the workers that run,
                the watermark is the lowest, the latency the worst. Workers that have ended, or
                were silent for thirty seconds, are not in it; those that idle count without rows.

        Raises:
            TopologyError: in a callback of the query, or if its progress is not published.
            BrokerError: while iterating, if the topic cannot be read.
        """
        self.refuse_in_callback("progress_stream")
        if not self._outside.publishes:
            raise TopologyError(
                "progress_stream() reads the progress topic, and ProgressSettings(publish=False)"
                " writes none. Leave publish out, or use recent_progress: this worker's own."
            )
        return self._stream(summed=summed)

    def explain(self, *, extended: bool = False) -> str:
        """Explain what the application does, as `App.explain()`, with partition counts.

        Args:
            extended: whether to list the steps, as `describe` does, and the changelogs.
        """
        outside = self._outside
        return as_explanation(
            outside.topology, outside.guarantee, outside.partitions, extended=extended
        )

    @overload
    def store(self, table: Stored[K, V]) -> Store[K, V]: ...
    @overload
    def store(self, table: str) -> Store[Any, Any]: ...
    def store(self, table: Any) -> Store[Any, Any]:
        """Return read access to the committed rows of a table, as far as this worker has them.

        Args:
            table: as the application declares it, or the name of a store.

        Raises:
            TopologyError: if the application has no such store.
        """
        return Store(self._monitor.holdings, table.name if isinstance(table, Stored) else table)

    def exception(self) -> Exception | None:
        """Return the error that ended the application, None if there is none."""
        return self._error

    def stop(self, timeout: Duration = "30s") -> None:
        """Stop the application: its open batch is committed or aborted first.

        Stopped before, or ended, it does nothing. In a callback of the query it does not wait for
        the end, which waits for the callback.

        Args:
            timeout: how long to wait for its end; it goes on ending after that.
        """
        self._stop()
        if not self._in_callback:
            self._ended.wait(milliseconds(timeout) / 1000)

    def await_termination(self, timeout: Duration | None = None) -> bool:
        """Wait until the application has ended, and return whether it has.

        An interrupt (Ctrl-C, a notebook's stop button) ends the waiting, not the application.

        Args:
            timeout: how long to wait; left out, as long as it takes.

        Raises:
            TopologyError: in a callback of the query, which would wait for itself.
            PenstockError: the error that ended it.
        """
        self.refuse_in_callback("await_termination")
        ended = self._ended.wait(None if timeout is None else milliseconds(timeout) / 1000)
        if self._error:
            raise self._error
        return ended

    def process_all_available(self, timeout: Duration | None = None) -> None:
        """Wait until all that stands in the inputs now is processed and committed.

        Made for tests and notebooks: an application has no end, and this is one. What
        read_committed readers see of the inputs counts, in all workers; what the application
        writes to a repartition topic, or to another topic that it reads, is processed too. Outputs
        are committed then, and `to_memory` of this worker has them; windows that are open stay
        open. Records that come later may be processed as well. While workers of the application
        start again elsewhere it goes on waiting.

        Args:
            timeout: how long to wait; left out, as long as it takes.

        Raises:
            TopologyError: in a callback of the query, or if the query is stopped before.
            BrokerError: if the timeout runs out, saying what is left, or the cluster refuses.
            PenstockError: the error that ended the query.
        """
        self.refuse_in_callback("process_all_available")
        limit_s = None if timeout is None else milliseconds(timeout) / 1000
        deadline = None if limit_s is None else time.monotonic() + limit_s

        def wait(seconds: float, left: str) -> None:
            if self._ended.wait(seconds):
                raise self._error or TopologyError(
                    f"process_all_available(): the query {self.name!r} has ended before all was"
                    f" processed; it still waited for {left}. Start it again, and call stop()"
                    " after this."
                )
            if deadline is not None and time.monotonic() > deadline:
                raise BrokerError(
                    f"process_all_available() has not ended within {limit_s:g} s: it still waits"
                    f" for {left}. The query is {self.status.message.lower()!r}, and goes on; give"
                    " it more time, or look at its log."
                )

        wait(0, "all of it")  # one that has ended processes nothing any more
        self._outside.drain(wait)

    def add_callback_thread(self) -> None:
        """Note that this thread calls the user's functions: it must not wait for the end."""
        self._callback_threads.add(threading.get_ident())

    def remove_callback_thread(self) -> None:
        """Note that it calls them no more: its number may be another thread's tomorrow."""
        self._callback_threads.discard(threading.get_ident())

    def refuse_in_callback(self, method: str) -> None:
        """Refuse what waits for the query in a thread that the query waits for.

        Args:
            method: its name.

        Raises:
            TopologyError: in a callback of the query.
        """
        if self._in_callback:
            raise TopologyError(
                f"{method}() was called in a callback of the query, which would wait for itself."
                " Call it in the thread that has started the query."
            )

    def when_ended(self, tell: "Callable[[Query], None]") -> Callable[[], None]:
        """Let somebody know the end; one that has ended tells it at once.

        Args:
            tell: is called once, in the thread that ends the query, and returns at once.

        Returns:
            what takes that back.
        """
        with self._lock:
            if not self._ended.is_set():
                self._told_the_end.append(tell)
                return lambda: self._forget(tell)
        tell(self)
        return lambda: None

    @contextmanager
    def running(self) -> Generator[None]:
        """Note how the block ends, which is the whole run of the application."""
        self.add_callback_thread()
        try:
            yield
        except Exception as error:
            self._error = error
            raise
        except SystemExit as error:
            self._error = TopologyError(
                f"A function of the application has called exit({error.code!r}), which ends no"
                " query in order. Raise an error instead, or call query.stop()."
            )
            raise
        finally:
            self.remove_callback_thread()

    def end(self) -> None:
        """Let go of those who wait for the end; nothing can be read any more."""
        self._monitor.holdings.end()
        with self._lock:
            self._ended.set()
            told, self._told_the_end = self._told_the_end, []
        for tell in told:
            tell(self)

    @property
    def _in_callback(self) -> bool:
        return threading.get_ident() in self._callback_threads

    @property
    def _outside(self) -> Outside:
        if self._reached is None:
            raise BugError("This query reaches no cluster. Please report this.")
        return self._reached

    def _forget(self, tell: "Callable[[Query], None]") -> None:
        with self._lock:
            self._told_the_end = [each for each in self._told_the_end if each is not tell]

    def _stream(self, *, summed: bool) -> Iterator[Progress]:
        reading, application = self._outside.follow(), Application()
        try:
            while True:
                ended = self._ended.is_set()
                found = reading.read(READ_S)
                for told in found:
                    application.add(told)
                    if isinstance(told, Progress) and not summed:
                        yield told
                whole = application.progress if summed and found else None
                if whole is not None:
                    yield whole
                if ended and not found:
                    return
        finally:
            reading.close()
