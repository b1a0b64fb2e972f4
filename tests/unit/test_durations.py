"""Durations: text with a unit or a timedelta, to whole milliseconds, and nothing else."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.durations import milliseconds
from penstock.errors import TopologyError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("250ms", 250),
        ("10s", 10_000),
        ("1.5s", 1_500),
        ("5m", 300_000),
        ("1h", 3_600_000),
        ("7d", 604_800_000),
        ("0s", 0),
        (" 10 s ", 10_000),
        (datetime.timedelta(minutes=1), 60_000),
        (datetime.timedelta(microseconds=1_499), 1),
        (datetime.timedelta(0), 0),
    ],
)
def test_a_duration_is_milliseconds(text, expected):
    """Each unit, fractions, and timedelta give whole milliseconds."""
    assert milliseconds(text) == expected


@pytest.mark.parametrize(
    "wrong",
    [10, 0.5, None, "", "10", "s", "10 sec", "-1s", "1s 2ms", "1e3s", "ten s", ".5s", b"1s", "1M"],
)
def test_what_is_no_duration_is_refused(wrong):
    """A bare number has no unit; the error shows what to write."""
    with pytest.raises(TopologyError, match="'10s', '5m'") as caught:
        milliseconds(wrong)
    assert repr(wrong) in str(caught.value)


def test_a_negative_timedelta_is_refused():
    """Durations run forward."""
    with pytest.raises(TopologyError, match="negative"):
        milliseconds(datetime.timedelta(seconds=-1))


@given(st.integers(0, 10**9), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_text_and_timedelta_agree(number, unit):
    """A duration means the same in either form."""
    names = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    if unit == "d":
        number %= 10**6
    assert milliseconds(f"{number}{unit}") == milliseconds(
        datetime.timedelta(**{names[unit]: number})
    )


@given(st.text("0123456789.smhd ", max_size=8) | st.text(max_size=5))
def test_text_is_a_duration_or_a_topology_error(text):
    """No text raises anything else."""
    try:
        assert milliseconds(text) >= 0
    except TopologyError as error:
        assert repr(text) in str(error)  # noqa: PT017


def test_a_duration_beyond_all_numbers_is_refused():
    """A number that no clock reaches is a TopologyError too."""
    with pytest.raises(TopologyError):
        milliseconds("9" * 400 + "d")
