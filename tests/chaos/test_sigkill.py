"""Workers and brokers are killed and stopped under load; in the end everything is exact.

The kills of workers are proven by their exit status. PENSTOCK_SEED repeats a run.
"""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from penstock.testing.kafka_server import KafkaServer
from tests.chaos.load import end, load, map_and_count
from tests.kafka import checking
from tests.kafka.conftest import ApplicationFactory, applications
from tests.kafka.feeding import feed, words
from tests.kafka.workers import QUICK, WAIT_S, Application

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

KILLS = 10
FAILOVER = {
    "session_timeout_ms": 1_000,
    "request_timeout_ms": 1_000,
    "transaction_timeout_ms": 2_000,
    "max_poll_interval_ms": 3_000,
}
STOPPED_S = 4.5  # past all of them, and the broker's look at transactions


@pytest.mark.full
def test_ten_kills_under_load_leave_everything_exact(
    application: ApplicationFactory, draw: random.Random
) -> None:
    app = map_and_count(application)
    with load(app):
        for number in range(KILLS):
            app.start()
            if draw.random() < 0.8:  # the others while they start
                app.wait_for_progress()
            time.sleep(draw.uniform(0, 0.5))
            if number % 3 == 0:
                stop_in_a_transaction(app)
            app.kill()
            app.check_store("counts", complete=False)
        app.start()
    end(app)


def stop_in_a_transaction(app: Application) -> None:
    """Stop a worker where it has written something that is not committed yet."""
    app.wait_for("runs from")
    deadline = time.monotonic() + WAIT_S
    while True:
        app.signal(signal.SIGSTOP)
        if has_open_transaction(app):
            return
        app.signal(signal.SIGCONT)
        assert time.monotonic() < deadline, "no transaction was found open"
        time.sleep(0.01)


@pytest.mark.full
def test_a_worker_that_was_stopped_past_its_timeouts_goes_on(
    application: ApplicationFactory, draw: random.Random
) -> None:
    app = map_and_count(application, kafka=FAILOVER)
    with load(app):
        app.start()
        app.wait_for("runs from")
        time.sleep(draw.uniform(0.5, 1.5))
        app.signal(signal.SIGSTOP)
        time.sleep(STOPPED_S)
        app.signal(signal.SIGCONT)
        app.wait_for_progress()
    end(app)


@pytest.mark.full
def test_a_zombie_adds_nothing_to_what_its_successor_commits(
    kafka: KafkaServer, tmp_path: Path, draw: random.Random
) -> None:
    """A stopped worker wakes when another one, with a disk of its own, has its partitions."""
    with (
        applications(kafka.bootstrap_servers, folder(tmp_path, "zombie")) as make_zombie,
        applications(kafka.bootstrap_servers, folder(tmp_path, "successor")) as make_successor,
    ):
        zombie = map_and_count(make_zombie, kafka=FAILOVER)
        topics = zombie.inputs, zombie.outputs
        successor = make_successor("map-and-count", *topics, kafka=FAILOVER, id=zombie.id)
        with load(zombie):
            zombie.start()
            zombie.wait_for("runs from")
            time.sleep(draw.uniform(0.5, 1.5))
            zombie.signal(signal.SIGSTOP)
            successor.start()
            successor.wait_for("runs from")
            successor.wait_for_progress()
            zombie.signal(signal.SIGCONT)
            zombie.wait_until(lambda: lost_its_tasks(zombie), "it has lost its tasks")
            successor.wait_for_progress()
            assert successor.alive(), successor.text()
        zombie.kill()
        feed(successor.servers, successor.inputs[0], words(1_000, first=90_000_000))
        successor.wait_through(successor.drained, "everything is processed")
        # Its own commits may have been cut short by the rebalance: that heals at a start.
        successor.stop()
        successor.start()
        successor.wait_until(lambda: successor.text().count("runs from") == 4, "all tasks run")
        end(successor)
        zombie.check_store("counts", complete=False)


@pytest.mark.full
def test_a_broker_that_is_killed_and_comes_back_is_survived(
    own_kafka: KafkaServer, tmp_path: Path, draw: random.Random
) -> None:
    with applications(own_kafka.bootstrap_servers, tmp_path) as make:
        app = map_and_count(make, kafka=QUICK)
        with load(app):
            app.start()
            app.wait_for("runs from")
            for _ in range(2):
                time.sleep(draw.uniform(0.5, 1.5))
                own_kafka.kill()
                time.sleep(draw.uniform(0, 2))
                own_kafka.restart()
                app.wait_for_progress()
        end(app)


@pytest.mark.full
def test_a_broker_that_says_nothing_for_a_while_is_survived(
    own_kafka: KafkaServer, tmp_path: Path, draw: random.Random
) -> None:
    """For longer than a request may take: what became of a commit then is not known."""
    with applications(own_kafka.bootstrap_servers, tmp_path) as make:
        app = map_and_count(make, kafka=QUICK)
        with load(app):
            app.start()
            app.wait_for("runs from")
            for _ in range(3):
                time.sleep(draw.uniform(0.5, 1.5))
                os.kill(own_kafka.pid(), signal.SIGSTOP)
                time.sleep(3)
                os.kill(own_kafka.pid(), signal.SIGCONT)
                app.wait_for_progress()
        end(app)


def has_open_transaction(app: Application) -> bool:
    written = [*app.outputs, app.changelog("counts")]
    return bool(checking.open_transactions(app.servers, written))


def lost_its_tasks(app: Application) -> bool:
    return "fails while" in app.text() or app.said("Given back: ") > app.said("back: nothing")


def folder(root: Path, name: str) -> Path:
    path = root / name
    path.mkdir()
    return path
