"""A process of the simulation: what its clients and its disk share is its life.

Every call of a client, and every write to the disk, passes through `Process.call`. There a
test may kill the process, let it lose time, or have a request or its answer lost.
"""

from collections.abc import Callable
from enum import Enum
from typing import TypeAlias

CALL_S = 0.0002


class Crash(BaseException):
    """The process is dead. Nothing that it does from now on reaches anything."""


class Fate(Enum):
    """What becomes of a call."""

    DONE = "done"
    LOST_REQUEST = "not done, and the caller waits in vain"
    LOST_ANSWER = "done, and the caller waits in vain"
    LATE = "done after the caller has given up"


Hook: TypeAlias = Callable[["Process", str], Fate]


class Process:
    """One process.

    Args:
        name: for messages.
        advance: lets time pass.
        hook: called before each call with its name; says what becomes of it.

    Attributes:
        alive: whether it has not been killed.
        stopped: whether it stands still, as under SIGSTOP: it sends no heartbeats.
        ahead_ms: how far its wall clock is ahead.
    """

    def __init__(
        self, name: str, advance: Callable[[float], None], hook: Hook | None = None
    ) -> None:
        self.name = name
        self.alive = True
        self.stopped = False
        self.ahead_ms = 0
        self._advance = advance
        self._hook = hook

    @property
    def running(self) -> bool:
        """Whether its background threads do anything."""
        return self.alive and not self.stopped

    def kill(self) -> None:
        """End it between two instructions."""
        self.alive = False

    def call(self, what: str) -> Fate:
        """Make a call; it takes a moment.

        Raises:
            Crash: if the process is dead.
        """
        if not self.alive:
            raise Crash(self.name)
        fate = self._hook(self, what) if self._hook else Fate.DONE
        if not self.alive:
            raise Crash(self.name)
        self._advance(CALL_S)
        return fate

    def wait(self, seconds: float) -> None:
        """Let time pass for everybody while this process waits."""
        self._advance(seconds)
