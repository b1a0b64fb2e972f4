"""When the first entry of a store that is sorted by time has its time, without a look each time.

Rule 1: a look sees what is flushed alone. What was put since then is noted beside it, so that it
        counts whenever somebody asks, in the middle of a batch too.
Rule 2: it may be too early, where what was put is undone, and never too late. Whoever finds
        nothing then says so by `passed`, and the next to ask looks again.
Rule 3: a time before which there is nothing is enough to know that nothing is due. How old the
        first entry is, which others wait for, is looked up.
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
        self._is_bound = False  # whether that is only what nothing is in front of
        self._unflushed = NEVER

    def add(self, time: int) -> None:
        """Note that an entry of a time is put."""
        self._unflushed = min(self._unflushed, time)
        if self._known is not None and time <= self._known:
            self._known, self._is_bound = time, False

    def first(self) -> int:
        """Return the first time, `NEVER` if there is no entry."""
        if self._is_bound:
            self.passed()
        return self.not_before()

    def not_before(self) -> int:
        """Return a time before which there is no entry, as a rule the first one's."""
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
            first: a time that no entry is in front of, where one is known; all was flushed.
        """
        self._known, self._is_bound = first, first is not None
