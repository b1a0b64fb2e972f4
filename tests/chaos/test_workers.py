"""Workers that share an application join, leave, die, stall and come back; all stays exact.

With both group protocols, through a repartition topic. PENSTOCK_SEED repeats a run.
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

KILLS = 20
TURN_S = 2.0
TURNS = (0, 1, 0, 0, 1, 1, 0, 1, 1, 0, 1, 0, 0, 1, 0)  # who joins or, if it is there, leaves


def team(make: ApplicationFactory, protocol: str, size: int = 2, **worker: Any) -> Team:
    kafka = QUICK | {"protocol": protocol}
    return Team(make, size, kafka=kafka, state={"lock_timeout_ms": 500}, worker=worker)


def test_kills_of_two_workers_leave_everything_exact(
    application: ApplicationFactory, protocol: str, draw: random.Random
) -> None:
    """Most of them at work, and the others while they start."""
    workers, at_work = team(application, protocol), 0
    with workers.load():
        workers.start()
        for _ in range(KILLS):
            victim = draw.choice(workers.workers)
            if draw.random() < 0.8:
                workers.wait_until(lambda v=victim: v.tasks(), "it has tasks")
            time.sleep(draw.uniform(0, 0.5))
            workers.keep_going()
            at_work += bool(victim.tasks())
            victim.kill()
            victim.start()
    print(f"{at_work} of {KILLS} kills hit a worker with tasks")
    assert at_work > KILLS / 2, "most kills hit workers without tasks: that was no test"
    workers.end()


def test_workers_that_join_and_leave_leave_everything_exact(
    application: ApplicationFactory, protocol: str
) -> None:
    """Each of the two, in turns; sometimes both are there, and sometimes none."""
    workers = team(application, protocol, leave=True)
    due = time.monotonic()
    with workers.load():
        for worker in map(workers.__getitem__, TURNS):
            if not worker.started():
                worker.start()
            else:
                worker.wait_for("Assigned: ")  # before it a signal may come too early to be handled
                worker.stop()
            due += TURN_S
            time.sleep(max(0.0, due - time.monotonic()))
    late_s = time.monotonic() - due
    print(f"{workers.said('runs from')} tasks began, {late_s:.1f} s late in the end")
    assert workers.said("runs from") > 2 * len(TURNS), "hardly a task moved: that was no test"
    workers.end()


def test_a_stopped_worker_wakes_when_another_has_its_tasks(
    application: ApplicationFactory, protocol: str, draw: random.Random
) -> None:
    workers = team(application, protocol)
    with workers.load():
        workers.start()
        time.sleep(draw.uniform(0.5, 1.5))
        stopped, other = workers.workers
        stopped.signal(signal.SIGSTOP)
        lost = stopped.tasks()
        other.wait_until(lambda: other.tasks() >= lost, "the other one runs its tasks")
        workers.wait_for_progress_of(lost)
        stopped.signal(signal.SIGCONT)
        workers.wait_for_progress()
    workers.end()


def test_a_rolling_restart_of_four_leaves_everything_exact(
    application: ApplicationFactory, protocol: str
) -> None:
    workers = team(application, protocol, size=4)
    with workers.load():
        workers.start()  # until all share
        for worker in workers.workers:
            workers.wait_for_progress()
            worker.stop()
            worker.start()
            worker.wait_for("runs from")
    workers.end()
