"""Shortening: of all that happened in a world that went wrong, find the little that is to blame.

First the moves: how few of them are enough. Then the mishaps, by delta debugging (Zeller and
Hildebrandt, 2002): halves are left out, then quarters, down to single ones, as long as the world
still goes wrong in the same way. What is drawn behind a mishap that is left out may differ, so
each shorter schedule gets a few tries, with everything else shuffled.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tests.sim.mishaps import Mishap

SHORTEN_S = 40.0  # less than a test may take, together with the worlds before
SHUFFLES = 4


class Schedule(NamedTuple):
    """What makes a world go wrong.

    Attributes:
        moves: how many.
        mishaps: which.
        shuffle: that of the plan.
    """

    moves: int
    mishaps: Sequence[Mishap]
    shuffle: int = 0


Happens = Callable[[Schedule], Sequence[Mishap] | None]


def shorten(happens: Happens, known: Schedule, *, most_s: float) -> Schedule:
    """Find fewer moves and mishaps with which a world goes wrong.

    Args:
        happens: lets a schedule happen, and returns which of its mishaps came up; None where
            nothing went wrong.
        known: with what it does go wrong.
        most_s: how long to look for less.
    """
    until = time.monotonic() + most_s

    def tries(moves: int, mishaps: Sequence[Mishap], shuffle: int) -> Schedule | None:
        for other in (shuffle, *range(SHUFFLES)):
            if time.monotonic() > until:
                return None
            happened = happens(Schedule(moves, mishaps, other))
            if happened is not None:
                return Schedule(moves, happened, other)
        return None

    known = _fewer_moves(tries, known)
    known = _fewer_mishaps(tries, known)
    return _fewer_moves(tries, known)


Tries = Callable[[int, Sequence[Mishap], int], Schedule | None]


def _fewer_moves(tries: Tries, known: Schedule) -> Schedule:
    low = 0
    while low < known.moves:
        middle = (low + known.moves) // 2
        found = tries(middle, known.mishaps, known.shuffle)
        if found is None:
            low = middle + 1
        else:
            known = found
    return known


def _fewer_mishaps(tries: Tries, known: Schedule) -> Schedule:
    parts = 1
    while known.mishaps:
        size = -(-len(known.mishaps) // parts)
        shorter = (tries(known.moves, rest, known.shuffle) for rest in _rests(known, size))
        found = next((found for found in shorter if found is not None), None)
        if found is not None:
            known, parts = found, max(1, parts - 1)
        elif size == 1:
            return known
        else:
            parts = min(len(known.mishaps), 2 * parts)
    return known


def _rests(known: Schedule, size: int) -> Iterator[Sequence[Mishap]]:
    for first in range(0, len(known.mishaps), size):
        yield [*known.mishaps[:first], *known.mishaps[first + size :]]
