"""How long an output stands still: arithmetic on the times at which its records were seen.

Times are seconds of a monotonic clock, in order.
"""

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise


def longest_gap(times: Sequence[float], begin: float, end: float) -> float:
    """The longest pause between two records, of those that are not over before begin.

    A pause counts in full: from the last record before it, be that before `begin`, to the first
    one after it, be that after `end`. Where there is none, it counts from `begin`, or to `end`.
    """
    first = bisect_right(times, begin) - 1
    last = bisect_left(times, end)
    marks = [*times[max(first, 0) : last + 1]]
    if first < 0:
        marks.insert(0, begin)
    if last == len(times):
        marks.append(end)
    return max((after - before for before, after in pairwise(marks)), default=0.0)


def worst_gap(partitions: Sequence[Sequence[float]], begin: float, end: float) -> float:
    """The longest pause of any partition."""
    return max(longest_gap(times, begin, end) for times in partitions)


def common_gap(partitions: Sequence[Sequence[float]], begin: float, end: float) -> float:
    """The longest pause in which no partition brought anything."""
    return longest_gap(list(heapq.merge(*partitions)), begin, end)
