"""The virtual clock: time moves when somebody moves it, and never by itself."""

from collections.abc import Callable

EPOCH_MS = 1_700_000_000_000
SLICE_S = 0.25


class VirtualClock:
    """Seconds and milliseconds of the simulation.

    Args:
        moved: called after each move. Long moves come in slices, so that what is due at
            different times happens in that order.
    """

    def __init__(self, moved: Callable[[], None]) -> None:
        self._moved = moved
        self._seconds = 0.0

    def now(self) -> float:
        """Return the seconds since the simulation began."""
        return self._seconds

    def now_ms(self) -> int:
        """Return the wall clock in milliseconds since the epoch."""
        return EPOCH_MS + int(self._seconds * 1000)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        end = self._seconds + seconds
        while self._seconds < end:
            self._seconds = min(end, self._seconds + SLICE_S)
            self._moved()
