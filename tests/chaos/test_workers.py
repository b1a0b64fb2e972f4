"""Workers that share an application join, leave, die, stall and come back; all stays exact.

With both group protocols, through a repartition topic. PENSTOCK_SEED repeats a run.
"""

import random
import signal
import time

import pytest

from tests.chaos.team import Team
from tests.kafka.conftest import ApplicationFactory
from tests.kafka.workers import QUICK

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

KILLS = 20
CYCLES = 10  # of three seconds
STOPPED_S = 8.0  # past session, poll interval and transaction


def team(make: ApplicationFactory, protocol: str, size: int = 2) -> Team:
    return Team(make, size, kafka=QUICK | {"protocol": protocol}, state={"lock_timeout_ms": 500})


def test_kills_of_two_workers_leave_everything_exact(
    application: ApplicationFactory, protocol: str, draw: random.Random
) -> None:
    workers = team(application, protocol)
    with workers.load():
        workers.start()
        for _ in range(KILLS if protocol == "classic" else KILLS // 4):
            time.sleep(draw.uniform(0, 0.8))
            workers.keep_going()
            victim = draw.choice(workers.workers)
            victim.kill()
            victim.start()
            if draw.random() < 0.5:
                workers.wait_for_progress()
    workers.end()


def test_workers_that_join_and_leave_leave_everything_exact(
    application: ApplicationFactory, protocol: str
) -> None:
    workers = team(application, protocol)
    with workers.load():
        workers[0].start()
        workers[0].wait_for("runs from")
        for _ in range(CYCLES):
            workers[1].start()
            workers[1].wait_for("Assigned: ")
            time.sleep(2)
            workers[1].stop()
            time.sleep(1)
        workers[1].start()
    workers.end()


def test_a_stopped_worker_wakes_when_another_has_its_tasks(
    application: ApplicationFactory, protocol: str, draw: random.Random
) -> None:
    workers = team(application, protocol)
    with workers.load():
        workers.start()
        time.sleep(draw.uniform(0.5, 1.5))
        workers[0].signal(signal.SIGSTOP)
        time.sleep(STOPPED_S)
        workers[0].signal(signal.SIGCONT)
        workers.wait_for_progress()
    workers.end()


def test_a_rolling_restart_of_four_leaves_everything_exact(
    application: ApplicationFactory, protocol: str
) -> None:
    workers = team(application, protocol, size=4)
    with workers.load():
        workers.start()  # until all share: see the known holes in docs/guarantees.md
        for worker in workers.workers:
            workers.wait_for_progress()
            worker.stop()
            worker.start()
            worker.wait_for("runs from")
    workers.end()
