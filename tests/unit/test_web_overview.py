"""The overview reads while somebody asks, and a minute longer."""

import threading
import time
from collections.abc import Callable

import pytest

from penstock.errors import BrokerError
from penstock.query.events import Told
from penstock.runtime.overview import ASKED_S, FIRST_S, Overview
from tests.unit.progresses import a_progress

NOW_MS = 1_750_000_000_000


class Topic:
    """A progress topic; each follower reads it from its beginning."""

    def __init__(self, *told: Told) -> None:
        self.told = told
        self.followers: list[Reading] = []
        self.fails = False

    def follow(self) -> "Reading":
        self.followers.append(Reading(self))
        return self.followers[-1]


class Reading:
    """One who reads it."""

    def __init__(self, topic: Topic) -> None:
        self._topic = topic
        self._rest = list(topic.told)
        self.closed = threading.Event()

    def read(self, timeout_s: float) -> list[Told]:
        if self._topic.fails:
            raise BrokerError("The topic may not be read. Check it.")
        found, self._rest = self._rest, []
        time.sleep(0 if found else 0.01)
        return found

    def close(self) -> None:
        self.closed.set()


def overview(topic: Topic, now: Callable[[], float]) -> Overview:
    return Overview(topic.follow, now)  # type: ignore[arg-type]


def test_nobody_reads_before_somebody_asks_nor_a_minute_after() -> None:
    topic, now = Topic(a_progress("a", NOW_MS, {0: 5})), [0.0]
    asked = overview(topic, lambda: now[0])
    assert topic.followers == []
    found = asked.application()
    assert found["progress"].num_input_rows == 5
    assert [of["instanceId"] for of in found["workers"]] == ["a"]
    now[0] = ASKED_S / 2
    assert asked.application()["progress"] is not None
    assert len(topic.followers) == 1
    assert not topic.followers[0].closed.wait(0.1)
    now[0] += ASKED_S
    assert topic.followers[0].closed.wait(10)
    deadline = time.monotonic() + 10
    while len(topic.followers) < 2:
        assert asked.application()["progress"].num_input_rows == 5
        assert time.monotonic() < deadline
    asked.close()
    assert topic.followers[1].closed.is_set()


def test_closing_ends_it_and_nothing_is_read_after_that() -> None:
    topic = Topic(a_progress("a", NOW_MS, {0: 5}))
    asked = overview(topic, lambda: 0.0)
    asked.application()
    asked.close()
    assert topic.followers[0].closed.is_set()
    asked.application()
    assert len(topic.followers) == 1


def test_a_topic_that_cannot_be_read_is_said_and_tried_again_when_asked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    topic = Topic(a_progress("a", NOW_MS, {0: 5}))
    topic.fails = True
    asked = overview(topic, lambda: 0.0)
    began = time.monotonic()
    assert asked.application() == {"progress": None, "workers": []}
    assert time.monotonic() - began < FIRST_S, "there is nothing to wait for"
    assert "cannot be shown: The topic may not be read" in caplog.text
    topic.fails = False
    assert asked.application()["progress"] is not None
    asked.close()
