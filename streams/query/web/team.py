"""The team: what a supervisor knows of its workers' servers. Its threads write."""

import threading
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Member:
    """One worker.

    Attributes:
        number: the supervisor's.
        pid: of its process, None where none runs.
        port: of its server, None where it has none yet.
        token: what that wants to be shown, None for nothing.
        restarts: how often it was started again.
    """

    number: int
    pid: int | None = None
    port: int | None = None
    token: str | None = None
    restarts: int = 0

    def __repr__(self) -> str:
        return f"Member({self.number}, port {self.port})"


class Team:
    """The workers of a supervisor.

    Args:
        workers: how many.
        token: what callers of the supervisor have to show; left out, what its workers want.
    """

    def __init__(self, workers: int, token: str | None = None) -> None:
        self._lock = threading.Lock()
        self._members = [Member(number=number) for number in range(workers)]
        self._started: set[int] = set()
        self._token = token

    def started(self, number: int, pid: int) -> None:
        """Note that a worker runs."""
        again = number in self._started
        self._started.add(number)
        restarts = self._members[number].restarts + again
        self._change(number, pid=pid, port=None, token=None, restarts=restarts)

    def serves(self, number: int, port: int, token: str | None) -> None:
        """Note where it answers."""
        self._change(number, port=port, token=token)

    def ended(self, number: int) -> None:
        """Note that it has ended."""
        self._change(number, pid=None, port=None, token=None)

    @property
    def members(self) -> list[Member]:
        """All workers, those that do not run among them."""
        return list(self._members)

    @property
    def token(self) -> str | None:
        """What callers have to show, None for nothing."""
        wanted = (member.token for member in self._members if member.token)
        return self._token or next(wanted, None)

    def _change(self, number: int, **changed: object) -> None:
        with self._lock:
            self._members[number] = replace(self._members[number], **changed)  # type: ignore[arg-type]
