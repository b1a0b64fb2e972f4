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

from tests.chaos.sampling import sample
from tests.chaos.team import Team
from tests.kafka.conftest import ApplicationFactory
from tests.kafka.workers import QUICK, Application

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

LOCKED = "It is stopped, or stalls: its tasks were given to this worker"
LONG = {"interval_ms": 1_000, "min_interval_ms": 1_000}  # it is most likely stopped in a batch


def team(make: ApplicationFactory, protocol: str, **options: Any) -> Team:
    kafka, state = QUICK | {"protocol": protocol}, {"lock_timeout_ms": 500}
    return Team(make, 2, kafka=kafka, state=state, commit=LONG, **options)


MAPS, COUNTS = "maps", "counts"  # what it does, mostly, that is stopped


@sample(
    "protocol, work",
    [("consumer", COUNTS), ("classic", COUNTS), ("consumer", MAPS), ("classic", MAPS)],
)
def test_a_stopped_worker_wakes_when_another_has_its_tasks(
    protocol: str, work: str, application: ApplicationFactory, draw: random.Random
) -> None:
    workers = team(application, protocol)
    stop_and_wake(workers, work, draw)
    workers.end()


@pytest.mark.full
def test_without_a_fence_it_would_add_what_another_has_done(
    application: ApplicationFactory, draw: random.Random
) -> None:
    """At least once has none."""
    workers = team(application, "classic", guarantee="at_least_once")
    stop_and_wake(workers, MAPS, draw)
    with pytest.raises(AssertionError, match="is there twice"):
        workers.end()


def test_with_one_place_a_stopped_worker_would_starve_the_other(
    application: ApplicationFactory, draw: random.Random
) -> None:
    workers = team(application, "classic", sabotage="one-place")
    with workers.load():
        workers.start()
        time.sleep(draw.uniform(0.5, 1.5))
        stopped, other = by_tasks(workers, COUNTS)
        stopped.signal(signal.SIGSTOP)
        assert "Another process holds the store" in other.fails()


def stop_and_wake(workers: Team, work: str, draw: random.Random) -> None:
    """Stop a worker until another one runs its tasks, in places of its own."""
    with workers.load():
        workers.start()
        workers.wait_for_progress()
        time.sleep(draw.uniform(0.5, 1.5))
        stopped, other = by_tasks(workers, work)
        stopped.signal(signal.SIGSTOP)
        lost, told = stopped.tasks(), other.said(LOCKED)
        other.wait_until(lambda: other.tasks() >= lost, "the other one runs its tasks")
        workers.wait_for_progress_of(lost)
        held = [task for task in lost if workers.repartition in task]
        assert other.said(LOCKED) - told == len(held)
        assert held or work == MAPS
        stopped.signal(signal.SIGCONT)
        workers.wait_for_progress()


def by_tasks(workers: Team, work: str) -> list[Application]:
    """Return the worker that has most tasks of a kind, and the other one."""
    topic = workers.repartition if work == COUNTS else workers.first.inputs[0]

    def others(worker: Application) -> int:
        return -sum(topic in task for task in worker.tasks())

    return sorted(workers.workers, key=others)
