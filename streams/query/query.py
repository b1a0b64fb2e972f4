"""Query: the handle on a running application."""

import threading
import uuid
from collections.abc import Callable

from penstock.durations import Duration, milliseconds
from penstock.query.progress import Progress, query_id


class Query:
    """A running application: is it active, what did it do last, and how it ended.

    Attributes:
        id: of the query, the same in every run.
        run_id: of this run.
        name: the application id.
    """

    def __init__(
        self,
        application: str,
        run_id: uuid.UUID,
        recent: Callable[[], list[Progress]],
        stop: Callable[[], None],
    ) -> None:
        self.id = query_id(application)
        self.run_id = run_id
        self.name = application
        self._recent = recent
        self._stop = stop
        self._ended = threading.Event()
        self._error: Exception | None = None

    @property
    def is_active(self) -> bool:
        """Whether the application runs."""
        return not self._ended.is_set()

    @property
    def recent_progress(self) -> list[Progress]:
        """The progress of the last hundred batches, oldest first."""
        return self._recent()

    @property
    def last_progress(self) -> Progress | None:
        """The progress of the last batch, None before the first."""
        recent = self._recent()
        return recent[-1] if recent else None

    def exception(self) -> Exception | None:
        """Return the error that ended the application, None if there is none."""
        return self._error

    def stop(self, timeout: Duration = "30s") -> None:
        """Stop the application: its open batch is committed or aborted first.

        Args:
            timeout: how long to wait for its end; it goes on ending after that.
        """
        self._stop()
        self._ended.wait(milliseconds(timeout) / 1000)

    def await_termination(self, timeout: Duration | None = None) -> bool:
        """Wait until the application has ended, and return whether it has.

        Args:
            timeout: how long to wait; left out, as long as it takes.

        Raises:
            PenstockError: the error that ended it.
        """
        ended = self._ended.wait(None if timeout is None else milliseconds(timeout) / 1000)
        if self._error:
            raise self._error
        return ended

    def watch(self, work: Callable[[], None]) -> None:
        """Do the work and note how it ends; called in the application's own thread.

        Args:
            work: the whole run of the application.
        """
        try:
            work()
        except Exception as error:  # noqa: BLE001 - the handle carries whatever it was
            self._error = error
        finally:
            self._ended.set()
