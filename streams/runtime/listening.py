"""Listening: each listener in a thread of its own, so that it can neither stop nor slow a query.

What is told waits in a queue. A listener that is too slow misses the oldest of it.
"""

import logging
import threading
from collections import deque
from collections.abc import Sequence

from penstock.query.events import Idle, Rebalance, Restored, Started, Terminated, Told
from penstock.query.listener import Listener
from penstock.query.query import Query

log = logging.getLogger("penstock")

MOST_WAITING = 1_000
CLOSE_S = 2.0  # for the last words of all listeners together


class ListenerThread:
    """Call one listener.

    Args:
        listener: whom to call.
        query: what it is told of.
    """

    def __init__(self, listener: Listener, query: Query) -> None:
        self._listener = listener
        self._query = query
        self._waiting: deque[Told] = deque()
        self._missed = 0
        self._change = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(
            target=self._run, name=f"penstock-listener-{type(listener).__name__}", daemon=True
        )
        self._thread.start()

    def take(self, told: Told) -> None:
        """Let the listener hear of something, soon."""
        with self._change:
            if len(self._waiting) >= MOST_WAITING:
                self._waiting.popleft()
                self._missed += 1
            self._waiting.append(told)
            self._change.notify()

    def close(self) -> None:
        """Let it hear what waits, and nothing after that."""
        with self._change:
            self._closed = True
            self._change.notify()

    def join(self, timeout_s: float) -> None:
        """Wait for its last call to end."""
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        self._query.add_callback_thread()
        try:
            self._call_all()
        finally:
            self._query.remove_callback_thread()

    def _call_all(self) -> None:
        while True:
            with self._change:
                while not self._waiting and not self._closed:
                    self._change.wait()
                if not self._waiting:
                    return
                told = self._waiting.popleft()
                missed, self._missed = self._missed, 0
            name = type(self._listener).__name__
            if missed:
                log.warning(
                    "The listener %s is too slow: it has missed %d events. Let it hand its work"
                    " to another thread.",
                    name,
                    missed,
                )
            try:
                self._call(told)
            except (Exception, SystemExit):  # a listener raises what it likes
                log.warning(
                    "The listener %s failed on %s. The query goes on, and the listener is called"
                    " again next time.",
                    name,
                    type(told).__name__,
                    exc_info=True,
                )

    def _call(self, told: Told) -> None:
        listener, query = self._listener, self._query
        if isinstance(told, Started):
            listener.on_query_started(query)
        elif isinstance(told, Idle):
            listener.on_query_idle(query, told)
        elif isinstance(told, Rebalance):
            listener.on_rebalance(query, told)
        elif isinstance(told, Restored):
            listener.on_restore(query, told)
        elif isinstance(told, Terminated):
            listener.on_query_terminated(query, query.exception())
        else:
            listener.on_query_progress(query, told)


def close_all(threads: Sequence[ListenerThread]) -> None:
    """Let listeners hear the end, in bounded time; one that hangs is left behind."""
    for thread in threads:
        thread.close()
    for thread in threads:
        thread.join(CLOSE_S / len(threads))
