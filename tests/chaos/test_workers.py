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
    workers = team(application, protocol)
    workers.kill_under_load(KILLS, draw, waits=0.8, within_s=0.5)
    workers.end()


def test_workers_that_join_and_leave_leave_everything_exact(
    application: ApplicationFactory, protocol: str
) -> None:
    """Each of the two, in turns; sometimes both are there, and sometimes none."""
    workers = team(application, protocol, leave=True)
    workers.take_turns(TURNS, TURN_S, begun=2 * len(TURNS))
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
