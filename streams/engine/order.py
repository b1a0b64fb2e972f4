"""Order: in which order a task reads its inputs.

Rule 1: the input whose next record has the smallest timestamp is read first, up to the
        timestamp where another one is next; among equals the input that is listed first.
        Within an input the order of offsets stands (Kafka Streams: PartitionGroup).
Rule 2: an input without records that is not at its end holds the others back: what comes
        next from it may be older. It does so for `max_idle_ms` at most.

Only tasks with several inputs, and with state or in front of what goes by event time, are
ordered: elsewhere nobody can tell, and a cut at each change of the input costs speed.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from penstock.operators.source import Fetched, total_bytes

Input: TypeAlias = tuple[str, int]


class InputOrder:
    """The records of one task that wait to be processed.

    Args:
        inputs: its (topic, partition)s; the order decides among equal timestamps.
        max_idle_ms: how long an input without records may hold the others back.
        times: the event times of fetched records.
        latest: where inputs end as far as is known, -1 where it is not.
    """

    def __init__(
        self,
        inputs: Sequence[Input],
        *,
        max_idle_ms: int,
        times: Callable[[Fetched], Sequence[int]],
        latest: Callable[[Iterable[Input]], Mapping[Input, int]],
    ) -> None:
        self._waiting: dict[Input, deque[tuple[Fetched, Sequence[int]]]] = {
            at: deque() for at in inputs
        }
        self._bytes = dict.fromkeys(inputs, 0)
        self._rank = {at: number for number, at in enumerate(inputs)}
        self._next_offsets: dict[Input, int] = {}
        self._ended: set[Input] = set()
        self._max_idle_ms = max_idle_ms
        self._times = times
        self._latest = latest
        self._held_since: float | None = None

    def add(self, fetched: Fetched) -> None:
        """Take records, or the end of an input, told by no records."""
        at = (fetched.topic, fetched.partition)
        self._next_offsets[at] = fetched.next_offset
        if fetched.offsets:
            self._ended.discard(at)
        else:
            self._ended.add(at)
        self._waiting[at].append((fetched, self._times(fetched)))
        self._bytes[at] += total_bytes(fetched.values)

    def next(self, now_ms: float) -> Fetched | None:
        """Return what is to be processed next, None where nothing is or something is missing.

        Args:
            now_ms: monotonic milliseconds.
        """
        for runs in self._waiting.values():
            if runs and not runs[0][0].offsets:
                return runs.popleft()[0]
        heads = sorted(
            (runs[0][1][0], self._rank[at], at) for at, runs in self._waiting.items() if runs
        )
        if not heads:
            self._held_since = None
            return None
        if self._held(now_ms):
            return None
        at = heads[0][2]
        return self._take(at, heads[1][:2] if len(heads) > 1 else None)

    def queued(self, at: Input) -> int:
        """How many records of an input wait."""
        return sum(len(fetched.offsets) for fetched, _ in self._waiting[at])

    def queued_bytes(self, at: Input) -> int:
        """How many bytes the values of an input take that wait."""
        return self._bytes[at]

    @property
    def holds(self) -> bool:
        """Whether records wait for an input that has none."""
        return self._held_since is not None

    def clear(self) -> None:
        """Forget everything: the inputs are read again from their committed offsets."""
        for runs in self._waiting.values():
            runs.clear()
        self._bytes = dict.fromkeys(self._bytes, 0)
        self._next_offsets.clear()
        self._ended.clear()
        self._held_since = None

    def _take(self, at: Input, other: tuple[int, int] | None) -> Fetched:
        """Take records of an input as long as none of another one comes before them."""
        runs = self._waiting[at]
        fetched, times = runs.popleft()
        stop = len(times)
        if other is not None:
            limit = other[0] if self._rank[at] < other[1] else other[0] - 1
            if max(times) > limit:
                stop = next(i for i, time in enumerate(times) if time > limit)
        if stop < len(times):
            runs.appendleft((fetched.part(stop, len(times)), times[stop:]))
        taken = fetched.part(0, stop)
        self._bytes[at] -= total_bytes(taken.values)
        return taken

    def _held(self, now_ms: float) -> bool:
        missing = [at for at, runs in self._waiting.items() if not runs and at not in self._ended]
        if missing:
            ends = self._latest(missing)
            missing = [at for at in missing if not 0 <= ends[at] <= self._next_offsets.get(at, -1)]
        if not missing:
            self._held_since = None
            return False
        if self._held_since is None:
            self._held_since = now_ms
        return now_ms - self._held_since < self._max_idle_ms
