"""Windows against a naive interpreter that keeps all records, however the input is cut."""

import datetime
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import penstock as ps
from penstock.errors import TopologyError
from penstock.testing import TestDriver
from penstock.windows import TimeWindows, Windowed, hopping, session, sliding, tumbling

SECOND = datetime.timedelta(seconds=1)
Row = tuple[str, int]  # key, event time
TIMES = st.one_of(
    st.integers(0, 60), st.integers(0, 60), st.integers(0, 400), st.just(10**12)
)  # mostly close together, sometimes far ahead
ROWS = st.lists(st.tuples(st.sampled_from("abc"), TIMES), max_size=40)
IN_ORDER = st.lists(  # many in a window, each behind the one before it
    st.tuples(st.sampled_from("abc"), st.sampled_from([*[0] * 12, 1, 1, 1, 2, 5, 10])), max_size=60
).map(
    lambda rows: list(zip([key for key, _ in rows], accumulate(at for _, at in rows), strict=True))
)
WINDOWS = st.sampled_from(
    [
        tumbling("10ms"),
        hopping("10ms", "5ms"),
        hopping("10ms", "3ms"),
        hopping("7ms", "7ms"),
        tumbling("10ms", offset="4ms"),
        hopping("10ms", "3ms", offset="2ms"),
    ]
)


@dataclass
class Naive:
    """All records, one by one, and every window computed from them."""

    windows: TimeWindows
    grace: int
    clock: int = -1
    late: int = 0
    counts: dict[Windowed[str], int] = field(default_factory=lambda: defaultdict(int))
    updates: list[tuple[Windowed[str], int]] = field(default_factory=list)

    def add(self, row: Row) -> None:
        key, at = row
        self.clock = max(self.clock, at)
        size = self.windows.size_ms
        for start in self.starts(at):
            if start + size + self.grace <= self.clock:
                self.late += 1
                continue
            window = Windowed(key, start, start + size)
            self.counts[window] += 1
            self.updates.append((window, self.counts[window]))

    def starts(self, at: int) -> list[int]:
        advance, offset = self.windows.advance_ms, self.windows.offset_ms
        near = range(at - self.windows.size_ms + 1, at + 1)
        return [of for of in near if of % advance == offset and (of >= 0 or offset)]

    def finals(self) -> list[tuple[Windowed[str], int]]:
        closed = [w for w in self.counts if w.end + self.grace <= self.clock]
        return [(w, self.counts[w]) for w in sorted(closed, key=lambda w: (w.start, w.key))]


def app_of(
    windows: TimeWindows, grace: int, emit: Any = "commit", *, append: bool = True
) -> ps.App:
    app = ps.App("app")
    grouped = app.stream("in", key=str, value=int).group_by_key()
    table = grouped.window(windows, grace=f"{grace}ms").count(name="n", emit=emit)
    table.to("updates")
    if append:
        table.to("finals", output_mode="append")
    return app


def cut(rows: Sequence[Row], data: st.DataObject) -> list[tuple[Sequence[Row], bool]]:
    """Cut an input into batches, some of them with a crash behind."""
    parts: list[tuple[Sequence[Row], bool]] = []
    start = 0
    while start < len(rows):
        stop = data.draw(st.integers(start + 1, len(rows)))
        parts.append((rows[start:stop], data.draw(st.booleans())))
        start = stop
    return parts


@given(WINDOWS, st.integers(0, 15), ROWS | IN_ORDER, st.booleans(), st.data())
def test_results_are_those_of_the_naive_interpreter(
    windows: TimeWindows, grace: int, rows: list[Row], append: bool, data: st.DataObject
) -> None:
    """Updates up to the last, each final once and in the order of windows, the late counted."""
    naive = Naive(windows, grace)
    late = 0
    with TestDriver(app_of(windows, grace, append=append)) as driver:
        inputs, updates = driver.topic("in"), driver.topic("updates")
        finals = driver.topic("finals") if append else None
        seen: dict[Any, int] = {}
        found: list[Any] = []
        for part, crashes in cut(rows, data):
            with driver.batch():
                for key, at in part:
                    naive.add((key, at))
                    inputs.send(0, key=key, at=at)
            for window, count in updates.read():
                assert seen.get(window, 0) < count
                seen[window] = count
            if finals:
                found += finals.read()
                assert found == naive.finals()
            late += sum(driver._tasks[0].take_tally().late.values())
            if crashes:
                driver.crash()
        assert seen == naive.counts
        assert late == naive.late
        closed = {window for window, _ in naive.finals()}
        assert stored(driver) == {w: n for w, n in naive.counts.items() if w not in closed}


@given(WINDOWS, st.lists(st.integers(-30, 30), min_size=1, max_size=60), st.booleans())
def test_the_last_windows_of_many_instants_are_those_of_each(
    windows: TimeWindows, times: list[int], ordered: bool
) -> None:
    """In order, and so found as runs, or not."""
    times = sorted(times) if ordered else times
    assert windows.last_starts(times) == [max(windows.starts(at)) for at in times]


def stored(driver: TestDriver) -> dict[Windowed[str], int]:
    """What the store holds: closed windows have left it."""
    (overlay,) = driver._tasks[0].overlays.values()
    serde = overlay.definition.key
    rows = overlay.scan(b"", b"\xff")
    assert [serde.decode(key).start for key, _ in rows] == sorted(w.start for w in map(
        serde.decode, [key for key, _ in rows]))  # fmt: skip
    return {serde.decode(key): value for key, (value, _) in rows}


@given(WINDOWS, st.integers(0, 15), ROWS | IN_ORDER)
def test_every_update_is_the_naive_interpreters(
    windows: TimeWindows, grace: int, rows: list[Row]
) -> None:
    naive = Naive(windows, grace)
    for row in rows:
        naive.add(row)
    with TestDriver(app_of(windows, grace, "every_update")) as driver:
        inputs, updates = driver.topic("in"), driver.topic("updates")
        with driver.batch():
            for key, at in rows:
                inputs.send(0, key=key, at=at)
        assert updates.read() == naive.updates


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: tumbling("0s"), "is nothing. Use 1 ms or more"),
        (lambda: hopping("10s", "11s"), "Use an advance of at most the size"),
        (lambda: hopping("10s", "0s"), "advance='0s' of a window is nothing"),
        (lambda: app_of(tumbling("1s"), -1), "'-1ms' is not a duration"),
        (lambda: window(tumbling("1s"), grace=-SECOND), "is negative"),
        (lambda: window("10s"), "Pass ps.tumbling, ps.hopping, ps.sliding or ps.session"),
        (lambda: sliding("0s"), "size='0s' of a window is nothing"),
        (lambda: sliding(-SECOND), "is negative"),
        (lambda: session("0s"), "gap='0s' of a window is nothing"),
        (lambda: tumbling("10s", offset="10s"), "offset='0ms' means the same"),
        (lambda: tumbling("10s", offset=-SECOND), "is negative"),
        (lambda: hopping("10s", "5s", offset="7s"), "offset='2000ms' means the same"),
        (lambda: tumbling("1d", zone="Madrid"), "zone='Madrid' is not known.*'Europe/Madrid'"),
        (lambda: tumbling("1d", zone=""), "zone='' is not known"),
        (lambda: tumbling("1d", zone="../etc/passwd"), "is not known"),
        (lambda: tumbling("5h", zone="Europe/Madrid"), "Use whole days, or 1, 2, 3, 4, 6, 8 or 12"),
        (lambda: tumbling("36h", zone="Europe/Madrid"), "do not fit the days"),
        (lambda: tumbling("90m", zone="Europe/Madrid"), "do not fit the days"),
        (lambda: tumbling("1d", zone="UTC", offset="24h"), "is not shorter than the size"),
    ],
)
def test_windows_that_make_no_sense_are_refused(make: Any, told: str) -> None:
    with pytest.raises(TopologyError, match=told):
        make()


def window(of: Any, **others: Any) -> Any:
    return ps.App("app").stream("in", key=str, value=int).group_by_key().window(of, **others)


def test_an_unknown_output_mode_is_refused() -> None:
    app = ps.App("app")
    grouped = app.stream("in", key=str, value=int).group_by_key()
    table = grouped.window(tumbling("1s")).count(name="n")
    with pytest.raises(TopologyError, match="Use 'update' or 'append'"):
        table.to("out", output_mode="complete")  # type: ignore[arg-type]
