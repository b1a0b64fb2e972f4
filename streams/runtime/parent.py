"""What binds a worker to its supervisor: one end of a socket.

Its other end is the supervisor's alone, so that it is closed however the supervisor ends; and
through it a worker says why it ends, so that the supervisor can name the cause.
"""

import os
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

from penstock.runtime.ending import Ending, exit_now
from penstock.runtime.exits import Exit

MOST_WORDS = 8_000  # bytes: less than a socket takes without anybody reading
_GONE = "The supervisor has ended"


class Parent:
    """The worker's end of the socket; from now on the worker ends with its supervisor.

    Args:
        descriptor: the file descriptor that it was started with.
        exit_now: ends the process where nothing runs yet that could be stopped.
    """

    def __init__(self, descriptor: int, *, exit_now: Callable[..., None] = exit_now) -> None:
        os.set_inheritable(descriptor, False)  # what the worker starts has no part in it
        self._socket = socket.socket(fileno=descriptor)
        self._exit_now = exit_now
        self._ending: Ending | None = None
        self._over = False
        self._thread = threading.Thread(target=self._listen, name="penstock-parent", daemon=True)
        self._thread.start()

    def tell(self, cause: str) -> bool:
        """Tell why this worker ends, and return whether the supervisor can still hear it."""
        try:
            self._socket.sendall(cause.encode()[:MOST_WORDS])
        except OSError:
            return False
        return True

    @contextmanager
    def stops(self, ending: Ending) -> Generator[None]:
        """Stop the run in order when the supervisor ends, while the context lasts.

        After it the worker has its last words, and ends by itself.
        """
        self._ending = ending
        try:
            yield
        finally:
            self._over = True

    def _listen(self) -> None:
        try:
            while self._socket.recv(1):
                pass
        except OSError:
            pass
        self._socket.close()
        if self._over:
            return
        if self._ending:
            self._ending.ask(f"{_GONE}: stopping after the open batch.")
        else:
            words = f"{_GONE}, and nothing runs here yet. Exit code {Exit.STOPPED:d}."
            self._exit_now(Exit.STOPPED, words)
