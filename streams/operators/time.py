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


START = OperatorTime()
