"""When the first entry of a store that is sorted by time has its time, without a look each time.

Rule 1: a look sees what is flushed alone. What was put since then is noted beside it, so that it
        counts whenever somebody asks, in the middle of a batch too.
Rule 2: it may be too early, where what was put is undone or deleted, and never too late. Whoever
        finds nothing then says so by `passed`, and the next to ask looks again.
"""

from collections.abc import Callable

NEVER = 2**63


class Earliest:
    """The time of the first entry.

    Args:
        look: finds it among what is flushed; None if there is none.

    >>> earliest = Earliest(lambda: None)
    >>> earliest.add(5)
    >>> earliest.first()
    5
    """

    def __init__(self, look: Callable[[], int | None]) -> None:
        self._look = look
        self.forget()

    def forget(self) -> None:
        """Begin anew with what is committed: the batch was aborted."""
        self._known: int | None = None  # None: nobody has looked
        self._unflushed = NEVER

    def add(self, time: int) -> None:
        """Note that an entry of a time is put."""
        self._unflushed = min(self._unflushed, time)
        if self._known is not None:
            self._known = min(self._known, time)

    def first(self) -> int:
        """Return the first time, `NEVER` if there is no entry."""
        if self._known is None:
            found = self._look()
            self._known = self._unflushed if found is None else min(found, self._unflushed)
        return self._known

    def flushed(self) -> None:
        """Note that all was flushed: a look sees it."""
        self._unflushed = NEVER

    def passed(self, first: int | None = None) -> None:
        """Note that the first entries are deleted.

        Args:
            first: a time that no entry is in front of, where one is known.
        """
        self._known = None if first is None else min(first, self._unflushed)
