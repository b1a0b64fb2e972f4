"""Operator time: how far event time has come for a step with a store."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True, slots=True)
class OperatorTime:
    """Operator time around a chunk, in milliseconds since the epoch.

    Attributes:
        before: what it was before the chunk, -1 where nothing has come yet.
        moves: whether each record moves it on to its own event time. What comes through a
            repartition topic does not: there the slowest of those who write it does. Nor do
            results of windows: there the time of the windows does, at flush.
    """

    before: int = -1
    moves: bool = True

    def after(self, times: Sequence[int]) -> int:
        """Return what it is behind a chunk of these event times."""
        return max(self.before, max(times)) if self.moves else self.before

    def at_each(self, times: Sequence[int]) -> list[int]:
        """Return what it is at each record, moved by the record itself.

        >>> OperatorTime(5).at_each([3, 8, 6])
        [5, 8, 8]
        """
        if not self.moves:
            return [self.before] * len(times)
        reached = list(accumulate(times, max, initial=self.before))
        return reached[1:]

    def goes_along(self, times: Sequence[int]) -> bool:
        """Whether each record moves it to its own event time, none being behind: 6 ns each.

        >>> OperatorTime(5).goes_along([5, 6, 8]), OperatorTime(5).goes_along([5, 8, 6])
        (True, False)
        """
        return self.moves and times[0] >= self.before and list(times) == sorted(times)


START = OperatorTime()
