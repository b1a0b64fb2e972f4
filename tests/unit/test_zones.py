"""Windows by the clocks of a place: against a reader of clocks, and where clocks are changed."""

import datetime
from collections import Counter
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import penstock as ps
from penstock.testing import TestDriver
from penstock.windows import Windowed, ZonedWindows, tumbling
from penstock.zones import shown
from tests.unit.test_windows import Row, cut

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
NAMES = sorted(available_timezones())
SIZES = st.sampled_from([1, 2, 3, 4, 6, 8, 12, 24, 48, 168])


def at(text: str, zone: str) -> int:
    """The first instant at which clocks show a time."""
    return int(datetime.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp())


@pytest.mark.parametrize(
    ("zone", "size", "offset", "inside", "start", "hours"),
    [
        # Clocks are turned forward at 2:00 on 30 March 2025, and back at 3:00 on 26 October.
        ("Europe/Madrid", "1d", "0s", "2025-03-29T12:00", "2025-03-29T00:00", 24),
        ("Europe/Madrid", "1d", "0s", "2025-03-30T12:00", "2025-03-30T00:00", 23),
        ("Europe/Madrid", "1d", "0s", "2025-10-26T12:00", "2025-10-26T00:00", 25),
        ("Europe/Madrid", "1d", "6h", "2025-03-30T03:30", "2025-03-29T06:00", 23),
        ("Europe/Madrid", "1d", "6h", "2025-03-30T06:00", "2025-03-30T06:00", 24),
        ("Europe/Madrid", "6h", "0s", "2025-03-30T05:59", "2025-03-30T00:00", 5),
        ("Europe/Madrid", "6h", "0s", "2025-10-26T00:00", "2025-10-26T00:00", 7),
        ("Europe/Madrid", "1h", "0s", "2025-10-26T02:30", "2025-10-26T02:00", 2),
        ("Europe/Madrid", "1h", "0s", "2025-03-30T03:30", "2025-03-30T03:00", 1),
        # Weeks begin where those of the epoch do, on a Thursday; an offset moves them.
        ("Europe/Madrid", "7d", "4d", "2025-03-26T12:00", "2025-03-24T00:00", 7 * 24 - 1),
        # India is five and a half hours ahead.
        ("Asia/Kolkata", "1d", "0s", "2025-03-30T00:00", "2025-03-30T00:00", 24),
        # Midnight did not come: clocks went from 24:00 to 1:00.
        ("America/Sao_Paulo", "1d", "0s", "2018-11-04T12:00", "2018-11-04T01:00", 23),
        # Midnight came twice.
        ("America/Havana", "1d", "0s", "2025-11-02T12:00", "2025-11-02T00:00", 25),
        # A day that never was.
        ("Pacific/Apia", "1d", "0s", "2011-12-29T12:00", "2011-12-29T00:00", 24),
        ("Pacific/Apia", "1d", "0s", "2011-12-31T12:00", "2011-12-31T00:00", 24),
        ("Pacific/Apia", "12h", "0s", "2011-12-31T01:00", "2011-12-31T00:00", 12),
        # What would begin at half past midnight of that day, or at a time of a night that clocks go
        # past, begins when they do.
        ("Pacific/Apia", "12h", "30m", "2011-12-29T13:00", "2011-12-29T12:30", 11.5),
        ("Europe/Madrid", "1d", "150m", "2025-03-30T03:15", "2025-03-30T03:00", 23.5),
        ("UTC", "1d", "0s", "1970-01-01T00:00", "1970-01-01T00:00", 24),
    ],
)
def test_windows_where_clocks_are_changed(
    zone: str, size: str, offset: str, inside: str, start: str, hours: float
) -> None:
    windows = tumbling(size, offset=offset, zone=zone)
    (found,) = windows.starts(1000 * at(inside, zone))
    assert found == 1000 * at(start, zone)
    assert windows.end(found) - found == hours * HOUR_MS <= windows.longest_ms


def test_a_window_that_has_begun_goes_on_when_clocks_are_turned_back() -> None:
    """In Havana they show 0:59, then 0:00 again: half past twelve has been."""
    windows = tumbling("1h", offset="30m", zone="America/Havana")
    half_past = 1000 * at("2025-11-02T00:30", "America/Havana")
    assert windows.last_starts(
        [half_past + minute * 60_000 for minute in (0, 29, 45, 119, 120)]
    ) == [
        *[half_past] * 4,
        half_past + 2 * HOUR_MS,
    ]


@settings(max_examples=300)
@given(
    st.sampled_from(NAMES),
    SIZES,
    st.sampled_from(["0s", "30m", "59m"]),
    st.integers(-DAY_MS, 2 * 10**12),
)
def test_every_instant_is_in_one_window(zone: str, hours: int, offset: str, instant: int) -> None:
    """Whatever the zone; it begins where the one before ends, as clocks show its time or later."""
    windows = tumbling(f"{hours}h", offset=offset, zone=zone)
    assert isinstance(windows, ZonedWindows)
    (start,) = windows.starts(instant)
    end = windows.end(start)
    assert start <= instant < end <= start + windows.longest_ms
    assert [windows.starts(of)[0] for of in (start, end - 1, end)] == [start, start, end]
    assert windows.last_starts([start - 1, instant]) == [windows.starts(start - 1)[0], start]
    assert windows.end(windows.starts(start - 1)[0]) == start
    size, offset_ms = hours * HOUR_MS, windows.calendar.offset_ms
    before, now = (shown(of, ZoneInfo(zone)) - offset_ms for of in (start - 1, start))
    assert now % size == 0 or before // size != now // size, "a window begins without a reason"


class Reader:
    """Reads clocks, minute by minute."""

    def __init__(self, zone: str, hours: int) -> None:
        self.zone = ZoneInfo(zone)
        self.size = datetime.timedelta(hours=hours)

    @cache  # noqa: B019 - one test
    def period(self, minute: int) -> int:
        local = datetime.datetime.fromtimestamp(minute * 60, self.zone).replace(tzinfo=None)
        return (local - datetime.datetime(1970, 1, 1)) // self.size

    @cache  # noqa: B019 - one test
    def window(self, minute: int) -> tuple[int, int]:
        period, first, last = self.period(minute), minute, minute
        while self.period(first - 1) == period:
            first -= 1
        while self.period(last + 1) == period:
            last += 1
        return first * 60_000, (last + 1) * 60_000


# Around the changes of 2025 in Madrid, and far from them.
TIMES = st.one_of(
    st.integers(0, 60 * HOUR_MS).map(lambda ms: 1000 * at("2025-03-29", "Europe/Madrid") + ms),
    st.integers(0, 60 * HOUR_MS).map(lambda ms: 1000 * at("2025-10-25", "Europe/Madrid") + ms),
)
ROWS = st.lists(st.tuples(st.sampled_from("ab"), TIMES), max_size=12)
READERS = {hours: Reader("Europe/Madrid", hours) for hours in (6, 24)}


@settings(max_examples=60)
@given(st.sampled_from([6, 24]), st.integers(0, 30), ROWS, st.data())
def test_results_are_those_of_a_reader_of_clocks(
    hours: int, grace: int, rows: list[Row], data: st.DataObject
) -> None:
    reader, clock, late, counted = READERS[hours], -1, 0, 0
    counts: Counter[Windowed[str]] = Counter()
    app = ps.App("app")
    grouped = app.stream("in", key=str, value=int).group_by_key()
    windows = tumbling(f"{hours}h", zone="Europe/Madrid")
    table = grouped.window(windows, grace=f"{grace}h").count(name="n")
    table.to("updates")
    table.to("finals", output_mode="append")
    with TestDriver(app) as driver:
        inputs, updates, finals = map(driver.topic, ("in", "updates", "finals"))
        seen: dict[Any, int] = {}
        found: list[Any] = []
        for part, crashes in cut(rows, data):
            with driver.batch():
                for key, time in part:
                    clock = max(clock, time)
                    start, end = reader.window(time // 60_000)
                    if end + grace * HOUR_MS <= clock:
                        late += 1
                    else:
                        counts[Windowed(key, start, end)] += 1
                    inputs.send(0, key=key, at=time)
            seen |= dict(updates.read())
            found += finals.read()
            assert seen == counts
            closed = [w for w in counts if w.end + grace * HOUR_MS <= clock]
            assert found == [(w, counts[w]) for w in sorted(closed, key=lambda w: (w.start, w.key))]
            counted += sum(driver._tasks[0].take_tally().late.values())
            assert counted == late
            if crashes:
                driver.crash()


def test_zones_and_offsets_are_part_of_what_state_is() -> None:
    """Two that cut time differently never have one text."""
    windows = [
        tumbling("1d"),
        tumbling("1d", offset="6h"),
        tumbling("1d", offset="7h"),
        tumbling("1d", zone="UTC"),
        tumbling("1d", zone="Europe/Madrid"),
        tumbling("1d", zone="Europe/Madrid", offset="6h"),
        tumbling("2d", zone="Europe/Madrid"),
    ]
    assert len({of.describe() for of in windows}) == len(windows)
