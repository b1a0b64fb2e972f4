"""Workers that share an application join, leave, die and come back; all stays exact.

With both group protocols, through a repartition topic. PENSTOCK_SEED repeats a run.
"""

import random
from typing import Any

import pytest

from tests.chaos.sampling import sample
from tests.chaos.team import Team
from tests.kafka.conftest import ApplicationFactory
from tests.kafka.workers import QUICK

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

PARTS = range(5)  # of a hundred kills of each protocol, so that each ends in time
KILLS = [("classic", 10), *((of, 20) for of in ("classic", "consumer") for _ in PARTS)]
TURN_S = 2.0
TURNS = (0, 1, 0, 0, 1, 1, 0, 1, 1, 0, 1, 0, 0, 1, 0)  # who joins or, if it is there, leaves


def team(make: ApplicationFactory, protocol: str, size: int = 2, **worker: Any) -> Team:
    kafka = QUICK | {"protocol": protocol}
    return Team(make, size, kafka=kafka, state={"lock_timeout_ms": 500}, worker=worker)


@sample("protocol, kills", KILLS)
def test_kills_of_two_workers_leave_everything_exact(
    protocol: str, kills: int, application: ApplicationFactory, draw: random.Random
) -> None:
    """Most of them at work, and the others while they start."""
    workers = team(application, protocol)
    workers.kill_under_load(kills, draw, waits=0.8, within_s=0.5)
    workers.end()


@pytest.mark.full
def test_workers_that_join_and_leave_leave_everything_exact(
    application: ApplicationFactory, protocol: str
) -> None:
    """Each of the two, in turns; sometimes both are there, and sometimes none."""
    workers = team(application, protocol, leave=True)
    workers.take_turns(TURNS, TURN_S, begun=2 * len(TURNS))
    workers.end()


@pytest.mark.full
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
