"""What a summary says, and when it is an error."""

import json
from collections import Counter

import pytest

from penstock.cli.events.disorder import Kind
from penstock.cli.events.summary import Acknowledged, Summary
from penstock.errors import BrokerError, DataError


def summary(**changes):
    fields = {
        "topic": "orders", "records": 10, "kinds": {Kind.CLEAN: 9, Kind.OUT_OF_ORDER: 1},
        "bytes": 100, "seconds": 2.0, "keys": 3, "first_timestamp": 1, "last_timestamp": 2,
        "partitions": {0: Acknowledged(10, 5, 15), 1: Acknowledged()},
    }  # fmt: skip
    return Summary(**fields | changes)


def test_the_rate_is_of_acknowledged_records():
    """Records per second; 0 for a run that took no time."""
    assert summary().rate == 5.0
    assert summary(seconds=0.0).rate == 0.0


def test_lost_records_raise():
    """The error names the topic, the numbers and the first reason; it wins over a wrong event."""
    summary().raise_for_failed()
    with pytest.raises(BrokerError, match=r"^7 records for topic orders .*: timed out") as caught:
        summary(failed=7, failure="timed out", error=DataError("x")).raise_for_failed()
    assert caught.value.topic == "orders"


def test_a_wrong_event_raises():
    """What ended the run is raised as it is."""
    error = DataError("line 3 is wrong")
    with pytest.raises(DataError, match="line 3") as caught:
        summary(error=error).raise_for_failed()
    assert caught.value is error


def test_as_json_it_has_kinds_and_offsets():
    """A partition without records has no offsets."""
    said = json.loads(summary().as_json())
    assert said["kinds"] == {"clean": 9, "out_of_order": 1}
    assert said["partitions"] == {"0": 10, "1": 0}
    assert said["offsets"] == {"0": [5, 15], "1": None}
    assert said["seed"] == 0


def test_as_text_it_names_what_is_not_clean():
    """On one line; nothing is said of kinds that there are none of."""
    text = summary(kinds={Kind.CLEAN: 9, Kind.LATE: 0, Kind.OUT_OF_ORDER: 1}).as_text()
    assert ", 1 out of order)" in text
    assert "late" not in text
    assert "\n" not in text


def test_keys_are_counted_the_most_frequent_first():
    """Keys that are no text are in hex, and no key is null."""
    counts = Counter({b"a": 2, b"\xff": 3, None: 1})
    assert list(map(json.loads, summary(key_counts=counts).key_lines())) == [
        {"key_hex": "ff", "records": 3},
        {"key": "a", "records": 2},
        {"key": None, "records": 1},
    ]
