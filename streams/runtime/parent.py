"""What binds a worker to its supervisor: one end of a socket.

Its other end is the supervisor's alone, so that it is closed however the supervisor ends. Through
it a worker says where it can be asked over HTTP, and at last why it ends, so that the supervisor
can name the cause: lines of JSON, `{"type": "serves", ...}` and `{"type": "ends", ...}`.
"""

import os
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeAlias

import msgspec

from penstock.runtime.ending import Ending, exit_now
from penstock.runtime.exits import Exit

MOST_WORDS = 8_000  # characters: less than a socket takes without anybody reading
_GONE = "The supervisor has ended"


class Serves(msgspec.Struct, frozen=True, kw_only=True, tag="serves"):
    """A worker can be asked over HTTP.

    Attributes:
        port: on this host.
        token: what it wants to be shown, None for nothing.
    """

    port: int
    token: str | None = None

    def __repr__(self) -> str:
        return f"Serves({self.port})"


class Ends(msgspec.Struct, frozen=True, kw_only=True, tag="ends"):
    """A worker ends.

    Attributes:
        cause: in words.
    """

    cause: str


Words: TypeAlias = Serves | Ends
_DECODER: msgspec.json.Decoder[Words] = msgspec.json.Decoder(Words)


def understood(line: bytes) -> Words | None:
    """Return what a line says, None where it was cut off by the worker's end."""
    try:
        return _DECODER.decode(line)
    except msgspec.DecodeError:
        return None


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
        return self._say(Ends(cause=cause[:MOST_WORDS].encode(errors="replace").decode()))

    def serves(self, port: int, token: str | None) -> None:
        """Tell where this worker can be asked over HTTP, and what it wants to be shown."""
        self._say(Serves(port=port, token=token))

    def _say(self, words: Words) -> bool:
        try:
            self._socket.sendall(msgspec.json.encode(words) + b"\n")
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
