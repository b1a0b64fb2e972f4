"""The pace of produced records, on a clock of the test."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli.events.pacing import EventTimes, Pace, Schedule, parse_rate
from penstock.errors import TopologyError

START_S = 1_000.0


def run(pace, *, cost_s=0.0, block_rows=100, stalls=()):
    """Serve a schedule to its end; return (time since the start, records) of each block."""
    schedule = Schedule(pace, block_rows=block_rows, start_s=START_S)
    now_s, blocks, stalls = START_S, [], list(stalls)
    while not schedule.finished(now_s):
        if rows := schedule.due(now_s):
            blocks.append((now_s - START_S, rows))
            schedule.sent += rows
            now_s += stalls.pop(0) if stalls else cost_s
        if not schedule.due(now_s):
            now_s += schedule.wait_s(now_s)
    return blocks


rates = st.floats(min_value=0.5, max_value=20_000)
durations_ms = st.integers(min_value=1, max_value=20_000)


@given(rates, durations_ms)
def test_a_paced_run_sends_rate_times_duration(rate, duration_ms):
    """Record i is due i / rate seconds after the start, and none later than the end."""
    pace = Pace(rate=rate, duration_ms=duration_ms)
    assert sum(rows for _, rows in run(pace, block_rows=5_000)) == pace.total()
    assert pace.total() == math.ceil(rate * duration_ms / 1000)


@given(rates, durations_ms, st.lists(st.floats(0, 30), max_size=5))
def test_no_record_is_sent_before_it_is_due(rate, duration_ms, stalls):
    """At any time, at most rate x elapsed + 1 records have been sent, whatever stalls."""
    sent = 0
    for elapsed_s, rows in run(Pace(rate=rate, duration_ms=duration_ms), stalls=stalls):
        sent += rows
        assert sent <= rate * elapsed_s + 1 + 1e-6 * sent


def test_records_are_evenly_apart():
    """1000/s is one every millisecond; 20,000/s are ten every half, give or take one."""
    blocks = run(Pace(rate=1_000, duration_ms=2_000))
    assert {rows for _, rows in blocks} == {1}
    gaps = {round(late - early, 6) for (early, _), (late, _) in itertools.pairwise(blocks)}
    assert gaps == {0.001}
    assert {rows for _, rows in run(Pace(rate=20_000, duration_ms=500))[1:-1]} <= {9, 10, 11}


def test_event_times_are_now_or_go_on_from_a_start():
    """From a start they follow the rate, however they are asked for; a millisecond without one."""
    assert EventTimes(Pace(rate=5), None).next(2, 77) == [77, 77]
    times = EventTimes(Pace(rate=250), 1_000)
    assert times.next(2, 77) == [1_000, 1_004]
    times.made(1)  # of two that were asked for
    assert times.next(3, 77) == [1_004, 1_008, 1_012]
    assert EventTimes(Pace(), 1_000).next(3, 77) == [1_000, 1_001, 1_002]


def test_what_is_more_than_a_second_behind_is_forgotten():
    """After a stall of 60 s, one second's worth follows at once, not sixty."""
    blocks = run(Pace(rate=1_000, duration_ms=100_000), stalls=[60], block_rows=10**6)
    assert blocks[0] == (0, 1)
    assert blocks[1][1] == pytest.approx(1_000, abs=1)
    assert sum(rows for _, rows in blocks) == pytest.approx(41_000, abs=2)


def test_a_stall_beyond_the_end_ends_the_run():
    """The duration is counted from the first record, stalls included."""
    blocks = run(Pace(rate=1_000, duration_ms=5_000), stalls=[60])
    assert sum(rows for _, rows in blocks) == pytest.approx(1_001, abs=1)


def test_a_count_is_exact():
    """Without a rate, full blocks and a rest; with one, the same number."""
    assert run(Pace(count=250)) == [(0, 100), (0, 100), (0, 50)]
    assert sum(rows for _, rows in run(Pace(count=250, rate=77))) == 250


def test_a_duration_without_a_rate_ends_in_time():
    """Unpaced blocks follow each other until the end."""
    blocks = run(Pace(duration_ms=1_000), cost_s=0.125)
    assert blocks == [(at / 8, 100) for at in range(8)]


def test_the_earlier_of_count_and_duration_ends_the_run():
    """Either limit holds."""
    assert sum(rows for _, rows in run(Pace(count=50, rate=10, duration_ms=2_000))) == 20
    assert sum(rows for _, rows in run(Pace(count=5, rate=10, duration_ms=2_000))) == 5


def test_without_limits_there_is_no_end():
    """No count and no duration: always another block."""
    schedule = Schedule(Pace(), block_rows=10, start_s=START_S)
    schedule.sent = 10**12
    assert schedule.due(START_S + 1e9) == 10
    assert not schedule.finished(START_S + 1e9)
    assert Pace(rate=5).total() is None


@pytest.mark.parametrize(
    ("text", "rate"),
    [("1000/s", 1_000), ("1000", 1_000), ("0.5/s", 0.5), (" 20 / s ", 20)],
)
def test_rates(text, rate):
    """Records per second, with or without the unit."""
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "0", "0/s", "-1", "fast", "10/m", "1e3", "inf", "nan"])
def test_wrong_rates_are_refused(text):
    """Anything that is no positive decimal number, and other units."""
    with pytest.raises(TopologyError, match="records per second"):
        parse_rate(text)
