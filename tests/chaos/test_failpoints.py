"""A worker kills itself at a named step, under load; in the end everything is exact.

That it was there is proven by its exit status, and by what it wrote just before. The negative
controls break one rule each, and die where that rule matters. PENSTOCK_SEED repeats a run.
"""

import random
import signal
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.chaos.sampling import sample
from tests.chaos.team import Team
from tests.kafka import checking, test_processors, windowing
from tests.kafka.conftest import ApplicationFactory, TopicFactory
from tests.kafka.failpoints import (
    CLOSING,
    COMMITTING,
    FIRING,
    LOADING,
    RESTORING,
    REVOKING,
    STOPPING,
)
from tests.kafka.feeding import Load, Row
from tests.kafka.workers import QUICK, Application

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

LATEST = 12  # a step is reached so many times at most before it kills
PER_SECOND = 4_000
OFTEN = {"flush_interval_ms": 200, "lock_timeout_ms": 500}  # stores reach the disk meanwhile
ONCE_AND_FIVE_TIMES = sample("deaths", [1, 5])


class Doomed(Team):
    """Workers of `every-update`: each of its counts is in the output."""

    def check(self) -> None:
        super().check()
        app = self.first
        needed = checking.counted(checking.by_ending(app.read_inputs()))
        checking.check_every_update(needed, app.read_output(1))


class Marker:
    """Where a worker notes at which step it kills itself."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "marker"

    def start(self, app: Application, step: str, nth: int) -> None:
        """Start a worker that is to die at a step."""
        self._path.unlink(missing_ok=True)
        app.start(failpoint=[step, nth, str(self._path)])

    def wait_killed(self, app: Application, step: str) -> None:
        """Wait until it has killed itself there."""
        app.wait_killed()
        assert self._path.read_text() == step


@pytest.fixture
def marker(tmp_path: Path) -> Marker:
    return Marker(tmp_path)


def team(make: ApplicationFactory, size: int = 1, *, protocol: str = "classic") -> Doomed:
    kafka, leave = QUICK | {"protocol": protocol}, {"leave": size > 1}
    return Doomed(make, size, name="every-update", kafka=kafka, state=OFTEN, worker=leave)


def die(app: Application, step: str, marker: Marker, draw: random.Random) -> None:
    """Let a worker die at a step, at the n-th time."""
    if step in RESTORING or step in LOADING:
        forget(app)
    marker.start(app, step, draw.randint(1, LATEST) if step in COMMITTING else 1)
    if step in STOPPING:
        app.wait_for("runs from")
        app.wait_for_progress()
        app.signal(signal.SIGTERM)
    marker.wait_killed(app, step)


def forget(app: Application) -> None:
    """Let there be something to restore."""
    app.start()
    app.wait_until(
        lambda: app.done() > 0 and bool(app.read_changelog("counts").records), "it has counted"
    )
    app.kill()
    app.forget_stores()


ALONE = [*COMMITTING, *RESTORING, *STOPPING]


def test_a_worker_that_dies_once_at_each_step_leaves_everything_exact(
    application: ApplicationFactory, marker: Marker, draw: random.Random
) -> None:
    workers = team(application)
    with workers.load():
        for step in draw.sample(ALONE, len(ALONE)):
            die(workers.first, step, marker, draw)
        workers.first.start()
        workers.first.wait_for_progress()
    workers.end()


@pytest.mark.full
@pytest.mark.parametrize("step", [*ALONE, *LOADING])
def test_a_worker_that_dies_five_times_at_a_step_leaves_everything_exact(
    step: str, application: ApplicationFactory, marker: Marker, draw: random.Random
) -> None:
    workers = team(application)
    with workers.load():
        for _ in range(5):
            die(workers.first, step, marker, draw)
            workers.first.check_store("counts", complete=False)
        workers.first.start()
        workers.first.wait_for_progress()
    workers.end()


REVOKES = [
    ("revoked, with the stores open", "classic", 1),
    *((step, protocol, 5) for step in REVOKING for protocol in ("classic", "consumer")),
]


@sample("step, protocol, deaths", REVOKES)
def test_a_worker_that_dies_as_it_gives_partitions_back_leaves_everything_exact(
    step: str,
    protocol: str,
    deaths: int,
    application: ApplicationFactory,
    marker: Marker,
) -> None:
    workers = team(application, 2, protocol=protocol)
    with workers.load():
        for death in range(deaths):
            victim, other = workers[death % 2], workers[1 - death % 2]
            marker.start(victim, step, 1)
            victim.wait_for("runs from")
            other.start()
            marker.wait_killed(victim, step)
            victim.start()
            workers.wait_until_all_run()
            victim.stop()
            other.stop()
        workers.start()
    workers.end()


@ONCE_AND_FIVE_TIMES
def test_windows_close_once_though_the_worker_dies_between_slices(
    deaths: int,
    topic: TopicFactory,
    application: ApplicationFactory,
    marker: Marker,
    draw: random.Random,
) -> None:
    app = application("windows", topic("words"), [topic("closed"), topic("counts")])
    (step,) = CLOSING
    die_under(windowing.events(keys=200), app, step, deaths, marker, draw)
    assert windowing.check_closed(app.read_inputs(), app.read_output()) > 0
    app.check_store("counts")


@ONCE_AND_FIVE_TIMES
def test_timers_fire_once_though_the_worker_dies_while_they_do(
    deaths: int,
    topic: TopicFactory,
    application: ApplicationFactory,
    marker: Marker,
    draw: random.Random,
) -> None:
    app = application("processors", topic("words"), topic("visits"))
    (step,) = FIRING
    die_under(windowing.events(), app, step, deaths, marker, draw)
    assert test_processors.check(app) > 0
    app.check_ends(*test_processors.STORES)


def die_under(
    rows: Iterable[Row],
    app: Application,
    step: str,
    deaths: int,
    marker: Marker,
    draw: random.Random,
) -> None:
    """Let a worker die so often at a step while rows are written, and go on to their end."""
    with Load(app.servers, {app.inputs[0]: rows}, PER_SECOND):
        for _ in range(deaths):
            marker.start(app, step, draw.randint(1, LATEST))
            marker.wait_killed(app, step)
    app.run_through()


# Broken builds

DEATHS = 4
BROKEN = [
    ("after the flush", {"guarantee": "at_least_once"}, "is there twice|went from|should be"),
    ("before the commit", {"sabotage": "apply-early"}, "reflects|the changelog says"),
    (
        "before the overlay",
        {"sabotage": "believe-the-disk"},
        "went from|the changelog says|and should",
    ),
    ("between writes of a restore", {"sabotage": "end-too-early"}, "the changelog says"),
]


@sample("step, broken, wrong", BROKEN)
def test_a_broken_build_is_noticed_by_its_death(
    step: str,
    broken: dict[str, str],
    wrong: str,
    application: ApplicationFactory,
    marker: Marker,
    draw: random.Random,
) -> None:
    workers = team(application)
    app = workers.first
    app.options |= broken
    with pytest.raises(AssertionError, match=wrong):
        with workers.load():
            for _ in range(DEATHS):  # not each batch changes a store
                die(app, step, marker, draw)
                app.check_store("counts", complete=False)
            app.start()
            app.wait_for_progress()
        workers.end()
