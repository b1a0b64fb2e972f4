"""Workers and brokers are killed and stopped under load; in the end every count is right.

A signal counts only where it is proven: a killed process by its exit status, a lost answer
by the proxy that lost it. PENSTOCK_SEED repeats a run.
"""

import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from confluent_kafka import IsolationLevel
from penstock.testing.kafka_server import KafkaServer
from tests.chaos.proxy import END_TXN, Proxy
from tests.kafka import checking
from tests.kafka.conftest import ApplicationFactory, TopicFactory, applications, create_topic
from tests.kafka.feeding import Load, Row, endless_words
from tests.kafka.workers import QUICK, Application

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

KILLS = 10
PER_SECOND = 2_000


def test_ten_kills_under_load_leave_every_count_right(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory, draw: random.Random
) -> None:
    app = application(
        "map-and-count", [topic("words"), topic("more")], [topic("upper"), topic("counts")]
    )
    in_transactions = 0
    with load(app):
        for _ in range(KILLS):
            app.start()
            if draw.random() < 0.8:
                app.wait_for("runs from")
            time.sleep(draw.uniform(0, 1.2))
            app.kill()
            in_transactions += is_open(app)
            app.check_store("counts", complete=False)
    print(f"{in_transactions} of {KILLS} kills hit an open transaction")
    assert in_transactions, "no kill hit an open transaction: it was no test"
    finish(app)


def test_a_worker_stopped_past_its_timeouts_commits_nothing_of_the_past(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory, draw: random.Random
) -> None:
    app = application(
        "map-and-count",
        [topic("words"), topic("more")],
        [topic("upper"), topic("counts")],
        kafka=QUICK,
    )
    with load(app):
        app.start()
        app.wait_for("runs from")
        time.sleep(draw.uniform(0.5, 1.5))
        app.signal(signal.SIGSTOP)
        time.sleep(8)  # past session, transaction and poll interval
        app.signal(signal.SIGCONT)
        time.sleep(1)
        app.go_on()
        app.wait_until(lambda: committed(app) > 0, "it works again")
    finish(app)


def test_a_zombie_commits_nothing_beside_its_successor(
    kafka: KafkaServer, topic: TopicFactory, tmp_path: Path, draw: random.Random
) -> None:
    names = [topic("words"), topic("more")], [topic("upper"), topic("counts")]
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    with applications(kafka.bootstrap_servers, folders[0]) as make:
        zombie = make("map-and-count", *names, kafka=QUICK)
        successor = Application(
            kafka.bootstrap_servers, folders[1], "map-and-count", *names, id=zombie.id, kafka=QUICK
        )
        try:
            with load(zombie):
                zombie.start()
                zombie.wait_for("runs from")
                time.sleep(draw.uniform(0.5, 1.5))
                zombie.signal(signal.SIGSTOP)
                successor.start()
                successor.wait_for("runs from")
                time.sleep(1)
                zombie.signal(signal.SIGCONT)
                time.sleep(3)
                assert successor.alive(), successor.text()
            zombie.close()
            successor.wait_drained()
            successor.stop()
        finally:
            successor.close()
        finish(successor)


def test_a_broker_that_is_killed_and_comes_back_is_survived(
    own_kafka: KafkaServer, tmp_path: Path, draw: random.Random
) -> None:
    with started(own_kafka.bootstrap_servers, tmp_path) as app, load(app):
        for _ in range(2):
            time.sleep(draw.uniform(0.5, 1.5))
            own_kafka.kill()
            time.sleep(draw.uniform(0, 2))
            own_kafka.restart()
            app.go_on()
            app.wait_until(lambda: committed(app) > 0, "it works again")
        end(app)


def test_a_broker_that_does_not_answer_for_a_while_is_survived(
    own_kafka: KafkaServer, tmp_path: Path, draw: random.Random
) -> None:
    with started(own_kafka.bootstrap_servers, tmp_path) as app, load(app):
        for _ in range(2):
            time.sleep(draw.uniform(0.5, 1.5))
            own_kafka.stop_answering()
        end(app)
