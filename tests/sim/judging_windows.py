"""Whether what a world of windows has left is exact.

What stands directly on an input is what a naive interpreter makes of the committed records of a
partition, one by one. What stands behind a repartition topic depends on who was how far when:
there no record is lost, and none is late that is in order.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

import msgspec

from tests.kafka.checking import Record
from tests.sim import windows
from tests.sim.invariants import ANY_APPLICATION
from tests.sim.judging import check_nothing_open, check_stores, read, without_strange
from tests.sim.windows import GAP_MS, GRACE_MS, SIZE_MS, WindowsWorld

Window = tuple[str, int, int]  # a key, its start and its end
Result = tuple[int, Window, int | None]  # with the partition that it was read from


def judge(world: WindowsWorld) -> None:
    """Raise an AssertionError if a result is missing, doubled, wrong or out of order."""
    inputs = without_strange(world, windows.EVENTS)
    seconds, sessions = _interpreted(inputs, Seconds), _interpreted(inputs, Sessions)
    expected = {
        windows.PER_SECOND: sum(of.late for of in seconds.values()),
        windows.PER_SESSION: sum(of.late for of in sessions.values()),
    }
    for store, late in expected.items():
        assert world.late[store] == late, f"{world.late[store]} late in {store}, not {late}"
    _check_closed(_results(world, windows.CLOSED), seconds, lambda of: of[1])
    _check_closed(_results(world, windows.SESSIONS), sessions, lambda of: of[2])
    _check_updates(_results(world, windows.COUNTS), seconds)
    _check_updates(_results(world, windows.SESSION_UPDATES), sessions)
    _check_regrouped(world, inputs)
    chained = _newest(_results(world, windows.CHAINED_COUNTS))
    count = len(_results(world, windows.CLOSED))
    assert world.late[windows.CHAINED] == 0, "results of windows are too late for others"
    assert sum(chained.values()) == count, "results of windows are lost on their way to others"
    for slot in world.slots:
        check_stores(world.broker, slot.disk)
    check_nothing_open(world.broker)
    for check in ANY_APPLICATION:
        check(world)


def _check_regrouped(world: WindowsWorld, inputs: list[Record]) -> None:
    counts = _newest(_results(world, windows.REGROUPED_COUNTS))
    late = world.late[windows.PER_LETTER]
    assert sum(counts.values()) + late == len(inputs), "records are lost, or counted twice"
    if world.disorder_ms <= GRACE_MS and not world.plan.strange:
        assert late == 0, f"{late} records are late though they came in order"
    newest = max((record.timestamp for record in inputs), default=0)
    rows = [(window, count) for _, window, count in _results(world, windows.REGROUPED)]
    assert len(rows) == len(dict(rows)), "a window has closed twice"
    done = {window: n for window, n in counts.items() if window[2] + GRACE_MS <= newest}
    assert dict(rows) == done, "windows are not closed, or too early, or with another count"


class Seconds:
    """Counts by key and second of one partition."""

    def __init__(self) -> None:
        self.counts: Counter[Window] = Counter()
        self.clock = -1
        self.late = 0

    def add(self, key: str, at: int) -> None:
        self.clock = max(self.clock, at)
        start = at - at % SIZE_MS
        if start + SIZE_MS + GRACE_MS <= self.clock:
            self.late += 1
        else:
            self.counts[key, start, start + SIZE_MS] += 1

    @property
    def closed(self) -> dict[Window, int]:
        """The windows that nothing can change any more."""
        return {of: n for of, n in self.counts.items() if of[2] + GRACE_MS <= self.clock}


class Sessions(Seconds):
    """Counts by key and session of one partition."""

    def add(self, key: str, at: int) -> None:
        self.clock = max(self.clock, at)
        near = [
            of
            for of in self.counts
            if of[0] == key and not self._is_closed(of) and of[1] - GAP_MS <= at <= of[2] + GAP_MS
        ]
        merged = (key, min([at, *[of[1] for of in near]]), max([at, *[of[2] for of in near]]))
        if self._is_closed(merged):
            self.late += 1
            return
        self.counts[merged] = sum(self.counts.pop(of) for of in near) + 1

    @property
    def closed(self) -> dict[Window, int]:
        return {of: n for of, n in self.counts.items() if self._is_closed(of)}

    def _is_closed(self, of: Window) -> bool:
        return of[2] + GAP_MS + GRACE_MS < self.clock


def _interpreted(inputs: Iterable[Record], make: Callable[[], Seconds]) -> dict[int, Seconds]:
    found: dict[int, Seconds] = defaultdict(make)
    for record in inputs:
        found[record.partition].add((record.key or b"").decode(), record.timestamp)
    return found


def _check_closed(
    results: list[Result], expected: dict[int, Seconds], when: Callable[[Window], int]
) -> None:
    """Each window is there once, as it was when it closed, and in the order of time."""
    found: Counter[Window] = Counter()
    times: dict[tuple[int, str], list[int]] = defaultdict(list)
    for partition, window, count in results:
        assert window not in found, f"{window} has closed twice"
        found[window] = count or 0
        times[partition, window[0][:2]].append(when(window))
    wanted = {window: n for of in expected.values() for window, n in of.closed.items()}
    assert dict(found) == wanted, f"{dict(found).items() ^ wanted.items()}"
    assert all(of == sorted(of) for of in times.values()), "windows are not in the order of time"


def _check_updates(results: list[Result], expected: dict[int, Seconds]) -> None:
    """Who upserts and deletes by key has exactly the right windows in the end."""
    wanted = {window: n for of in expected.values() for window, n in of.counts.items()}
    found = _newest(results)
    assert found == wanted, f"{found.items() ^ wanted.items()}"


def _newest(results: Iterable[Result]) -> dict[Window, int]:
    found: dict[Window, int] = {}
    for _, window, count in results:
        if count is None:
            assert found.pop(window, None) is not None, f"{window} was deleted, and never there"
        else:
            found[window] = count
    return found


def _results(world: WindowsWorld, topic: str) -> list[Result]:
    rows: list[Result] = []
    for record in read(world.broker, topic):
        key = key_of(record)
        count = None if record.value is None else int.from_bytes(record.value, "big")
        rows.append((record.partition, (key.key, key.start, key.end), count))
    return rows


class Key(msgspec.Struct):
    """A key in a window, as it is written."""

    key: str
    start: int
    end: int


def key_of(record: Record) -> Key:
    """Read the key of a result."""
    return msgspec.json.decode(record.key or b"", type=Key)
