"""Windows and sessions whose workers die, join and leave: each closes once, with all its records.

With both group protocols, on an input and behind a repartition topic, with partitions that are
five minutes apart. PENSTOCK_SEED repeats a run.
"""

import random
from typing import Any

import pytest

from tests.chaos.team import Team
from tests.kafka import windowing
from tests.kafka.conftest import ApplicationFactory
from tests.kafka.feeding import Load
from tests.kafka.workers import QUICK

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

KILLS = 8
TURN_S = 1.5
TURNS = (0, 1, 0, 0, 1, 1, 0, 1)  # who joins or, if it is there, leaves
PER_SECOND = 2_000


class WindowsTeam(Team):
    """Workers of `all-windows`."""

    outputs = ("closed", "regrouped", "sessions", "updates")

    def load(self, first: int = 0) -> Load:
        """Write rows until the context ends, always from the beginning."""
        rows = {self.first.inputs[0]: windowing.skewed()}
        return Load(self.first.servers, rows, PER_SECOND)

    def end(self) -> None:
        """Let all that is left be processed and closed, and compare it with the inputs."""
        self.keep_going()
        if not any(worker.alive() for worker in self.workers):
            self.first.start()
        self.wait_until(self.done, "all is processed")
        windowing.check_all(self.first, self.wait_until)
        for worker in self.workers:
            if worker.alive():
                worker.stop()


def team(make: ApplicationFactory, protocol: str, **worker: Any) -> WindowsTeam:
    kafka = QUICK | {"protocol": protocol}
    state = {"lock_timeout_ms": 500}
    return WindowsTeam(make, 2, name="all-windows", kafka=kafka, state=state, worker=worker)


@pytest.mark.full
def test_windows_close_once_though_workers_are_killed(
    application: ApplicationFactory, protocol: str, draw: random.Random
) -> None:
    workers = team(application, protocol)
    workers.kill_under_load(KILLS, draw, waits=1.0, within_s=1.0)
    workers.end()


@pytest.mark.full
def test_windows_close_once_though_workers_join_and_leave(
    application: ApplicationFactory, protocol: str
) -> None:
    """Each of the two, in turns; sometimes both are there, and sometimes none."""
    workers = team(application, protocol, leave=True)
    workers.take_turns(TURNS, TURN_S, begun=len(TURNS))
    workers.end()
