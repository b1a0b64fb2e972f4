"""Query: the handle on a running application."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

from penstock.durations import Duration, milliseconds
from penstock.errors import TopologyError
from penstock.query.monitor import Monitor
from penstock.query.progress import Progress
from penstock.query.status import TERMINATED, Status


class Query:
    """A running application: is it active, what does it do, and how did it end.

    Attributes:
        id: of the query, the same in every run.
        run_id: of this run.
        name: the application id.
    """

    def __init__(self, monitor: Monitor, stop: Callable[[], None]) -> None:
        self.id = monitor.id
        self.run_id = monitor.run_id
        self.name = monitor.topology.application
        self._monitor = monitor
        self._stop = stop
        self._ended = threading.Event()
        self._error: Exception | None = None
        self._callback_threads: set[int] = set()

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

    def exception(self) -> Exception | None:
        """Return the error that ended the application, None if there is none."""
        return self._error

    def stop(self, timeout: Duration = "30s") -> None:
        """Stop the application: its open batch is committed or aborted first.

        In a callback of the query it does not wait for the end, which waits for the callback.

        Args:
            timeout: how long to wait for its end; it goes on ending after that.
        """
        self._stop()
        if threading.get_ident() not in self._callback_threads:
            self._ended.wait(milliseconds(timeout) / 1000)

    def await_termination(self, timeout: Duration | None = None) -> bool:
        """Wait until the application has ended, and return whether it has.

        Args:
            timeout: how long to wait; left out, as long as it takes.

        Raises:
            TopologyError: in a callback of the query, which would wait for itself.
            PenstockError: the error that ended it.
        """
        if threading.get_ident() in self._callback_threads:
            raise TopologyError(
                "await_termination() was called in a callback of the query, which would wait for"
                " itself. Call it in the thread that has started the query."
            )
        ended = self._ended.wait(None if timeout is None else milliseconds(timeout) / 1000)
        if self._error:
            raise self._error
        return ended

    def add_callback_thread(self) -> None:
        """Note that this thread calls the user's functions: it must not wait for the end."""
        self._callback_threads.add(threading.get_ident())

    @contextmanager
    def running(self) -> Generator[None]:
        """Note how the block ends, which is the whole run of the application."""
        self.add_callback_thread()
        try:
            yield
        except Exception as error:
            self._error = error
            raise
        finally:
            self._callback_threads.discard(threading.get_ident())

    def end(self) -> None:
        """Let go of those who wait for the end."""
        self._ended.set()
