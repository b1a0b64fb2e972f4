"""The overview: what all workers of an application do, for those who ask this one.

Nobody reads the progress topic for it until somebody asks, nor a minute after the last has.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any

from penstock.errors import BrokerError
from penstock.query.summing import Application
from penstock.runtime.following import Follower

log = logging.getLogger("penstock")

ASKED_S = 60.0  # how long it goes on after the last question
FIRST_S = 3.0  # how long the first who asks waits for an answer
READ_S = 1.0
CLOSE_S = 2.0


class Overview:
    """Sum what the workers of an application tell.

    Args:
        follow: makes what reads their progress topic.
        now: monotonic seconds.
    """

    def __init__(self, follow: Callable[[], Follower], now: Callable[[], float]) -> None:
        self._follow = follow
        self._now = now
        self._change = threading.Condition()
        self._application = Application()
        self._asked = 0.0
        self._read = False
        self._closed = False
        self._thread: threading.Thread | None = None

    def application(self) -> dict[str, Any]:
        """Return the sum, and each worker's part; the first who asks waits for it a while."""
        with self._change:
            self._asked = self._now()
            if self._thread is None and not self._closed:
                self._application, self._read = Application(), False
                self._thread = threading.Thread(
                    target=self._run, name="penstock-overview", daemon=True
                )
                self._thread.start()
            self._change.wait_for(lambda: self._read or self._closed, FIRST_S)
            self._read = True  # whoever asks next does not wait for what is not there
            workers = [
                {
                    "instanceId": of.instance_id,
                    "runId": of.run_id,
                    "lastSeen": of.last_seen_ms,
                    "progress": of.progress,
                    "assigned": of.assigned,
                }
                for of in self._application.workers
            ]
            return {"progress": self._application.progress, "workers": workers}

    def close(self) -> None:
        """Stop reading, in bounded time."""
        with self._change:
            self._closed = True
            self._change.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(CLOSE_S)

    def _run(self) -> None:
        follower: Follower | None = None
        try:
            follower = self._follow()
            while self._wanted():
                told = follower.read(READ_S)
                with self._change:
                    for each in told:
                        self._application.add(each)
                    self._read = self._read or bool(told)
                    self._change.notify_all()
        except BrokerError as error:
            log.warning("What the other workers do cannot be shown: %s", error)
        finally:
            if follower is not None:
                follower.close()
            with self._change:
                self._thread = None
                self._read = True
                self._change.notify_all()

    def _wanted(self) -> bool:
        with self._change:
            return not self._closed and self._now() - self._asked < ASKED_S
