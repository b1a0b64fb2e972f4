"""A worker is stopped past its session while another one takes over, and goes on: it adds nothing.

Both are on one host and share a state folder, where the stopped one holds the locks of its stores:
the other one takes a place beside. Workers that stall, and live on, are in `test_stalls`.
PENSTOCK_SEED repeats a run.
"""

import random
import signal
import time
from typing import Any

import pytest

from tests.chaos.team import Team
from tests.kafka.conftest import ApplicationFactory
from tests.kafka.workers import QUICK

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

LOCKED = "It is stopped, or stalls: its tasks were given to this worker"
LONG = {"interval_ms": 1_000, "min_interval_ms": 1_000}  # it is most likely stopped in a batch


def team(make: ApplicationFactory, protocol: str, **options: Any) -> Team:
    kafka, state = QUICK | {"protocol": protocol}, {"lock_timeout_ms": 500}
    return Team(make, 2, kafka=kafka, state=state, commit=LONG, **options)


def test_a_stopped_worker_wakes_when_another_has_its_tasks(
    application: ApplicationFactory, protocol: str, draw: random.Random
) -> None:
    workers = team(application, protocol)
    stop_and_wake(workers, draw)
    workers.end()


def test_without_a_fence_it_would_add_what_another_has_done(
    application: ApplicationFactory, draw: random.Random
) -> None:
    """At least once has none."""
    workers = team(application, "classic", guarantee="at_least_once")
    stop_and_wake(workers, draw)
    with pytest.raises(AssertionError, match="is there twice"):
        workers.end()


def test_with_one_place_a_stopped_worker_would_starve_the_other(
    application: ApplicationFactory, draw: random.Random
) -> None:
    workers = team(application, "classic", sabotage="one-place")
    with workers.load():
        workers.start()
        time.sleep(draw.uniform(0.5, 1.5))
        workers[0].signal(signal.SIGSTOP)
        assert "Another process holds the store" in workers[1].fails()


def stop_and_wake(workers: Team, draw: random.Random) -> None:
    """Stop a worker until another one runs its tasks, in places of its own."""
    stopped, other = workers.workers
    with workers.load():
        workers.start()
        workers.wait_for_progress()
        time.sleep(draw.uniform(0.5, 1.5))
        stopped.signal(signal.SIGSTOP)
        lost = stopped.tasks()
        before = other.said(LOCKED)
        other.wait_until(lambda: other.tasks() >= lost, "the other one runs its tasks")
        workers.wait_for_progress_of(lost)
        held = [task for task in lost if workers.repartition in task]
        assert other.said(LOCKED) - before == len(held) > 0
        stopped.signal(signal.SIGCONT)
        workers.wait_for_progress()
