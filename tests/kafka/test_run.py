"""`penstock run`: several workers, their supervisor, signals, the watchdog, and how all ends."""

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from penstock.runtime.clock import now_ms
from penstock.runtime.exits import Exit
from penstock.testing.kafka_server import KafkaServer
from tests.kafka import workers
from tests.kafka.apps import BAD, STALL, STALLED
from tests.kafka.conftest import TopicFactory
from tests.kafka.feeding import Load, Row, endless_words, feed, words
from tests.kafka.runs import Run
from tests.web import Web, free_port

pytestmark = pytest.mark.kafka

RunFactory = Callable[..., Run]

# Members learn of a rebalance by their next heartbeat.
SOON = {"consumer": {"heartbeat.interval.ms": 200}}
QUICK = workers.QUICK | SOON
SHORT = workers.SHORT | SOON
LONG = SOON | {"session_timeout_ms": 60_000}  # longer than any test waits
SHORT_S = 1.5


@pytest.fixture
def penstock_run(kafka: KafkaServer, tmp_path: Path) -> Iterator[RunFactory]:
    """Make runs whose processes end with the test."""
    made: list[Run] = []

    def make(name: str, source: str, result: str, *, folder: str = "", **options: object) -> Run:
        where = tmp_path / folder
        where.mkdir(exist_ok=True)
        made.append(Run(kafka.bootstrap_servers, where, name, [source], [result], **options))
        return made[-1]

    yield make
    for run in made:
        run.close()


# Workers


def test_two_workers_share_the_partitions_and_stop_in_order(
    topic: TopicFactory, penstock_run: RunFactory
) -> None:
    with counting(topic, penstock_run) as run:
        run.stop()
        assert run.said("Stopped in order. Exit code 0.") == 2
        last = run.text().splitlines()[-1]
        assert "All workers have stopped in order. Exit code 0." in last


def test_a_killed_worker_is_started_again_and_nothing_is_lost_or_doubled(
    topic: TopicFactory, penstock_run: RunFactory
) -> None:
    with counting(topic, penstock_run) as run:
        os.kill(run.pids()[1], signal.SIGKILL)
        run.wait_for("Worker 1 has ended (killed by SIGKILL). It is started again")
        run.wait_until(lambda: run.text().count("worker-1  Task") > 2, "it has its tasks again")


def test_workers_end_with_a_supervisor_that_is_killed(
    topic: TopicFactory, penstock_run: RunFactory
) -> None:
    with counting(topic, penstock_run) as run:
        run.kill_supervisor()
        assert run.said("The supervisor has ended") == 2
        assert run.said("Stopped in order.") == 2


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_more_workers_than_partitions_idle_and_say_so_once(
    protocol: str, topic: TopicFactory, penstock_run: RunFactory
) -> None:
    kafka = workers.SHORT | {"protocol": protocol}
    run = penstock_run("map", topic("words", partitions=1), topic("upper"), kafka=kafka)
    feed(run.servers, run.inputs[0], words(100))
    run.start()
    run.wait_drained()
    run.wait_for("This worker idles: other workers have all partitions")
    time.sleep(SHORT_S)
    assert run.said("This worker idles") == 1
    run.stop()


# Failures


def test_a_wrong_record_is_given_up_at_once_with_its_coordinates(
    topic: TopicFactory, penstock_run: RunFactory
) -> None:
    run = penstock_run("failing", topic("in"), topic("out"), flags=("--log", "json"))
    feed(run.servers, run.inputs[0], [Row("a", BAD, partition=2)])
    run.start()
    last = json.loads(run.ends(Exit.DATA))
    assert last["worker"] == "supervisor"
    assert "no restart mends" in last["message"]
    assert f"{run.inputs[0]}/2" in last["message"]
    lines = [json.loads(line) for line in run.text().splitlines()]
    told = [line for line in lines if "offset" in line]  # the other worker may be as quick
    assert {(of["error"], of["topic"], of["partition"], of["offset"]) for of in told} == {
        ("DataError", run.inputs[0], 2, 0)
    }
    assert any("ZeroDivisionError: no such luck" in line.get("exception", "") for line in lines)


def test_a_worker_that_always_fails_is_given_up_with_the_cause(
    topic: TopicFactory, penstock_run: RunFactory
) -> None:
    brokers = ("--brokers", "127.0.0.1:1", "--restarts", "1")
    kafka = {"connect_timeout_ms": 300}
    run = penstock_run("map", "in", "out", workers=1, flags=brokers, kafka=kafka)
    run.start()
    last = run.ends(Exit.BROKER)
    assert "Worker 0 has failed 2 times in a row, at last with exit code 7, BrokerError" in last
    assert "127.0.0.1:1" in last
    assert run.said("restart 1 of 1 in a row") == 1


def test_a_wrong_file_is_told_once_however_many_workers(
    topic: TopicFactory, penstock_run: RunFactory
) -> None:
    run = penstock_run("map", "in", "out", workers=3, start=5)  # argparse refuses it
    run.start()
    assert "it ends the process, with exit code 2" in run.ends(Exit.TOPOLOGY)
    assert run.said("cannot be loaded") == 1


# Signals


def test_a_second_signal_ends_at_once(topic: TopicFactory, penstock_run: RunFactory) -> None:
    run = penstock_run("stalling", topic("in"), topic("out"), workers=1)
    stall(run)
    end_at_once(run)


def test_a_stop_that_hangs_is_bounded(topic: TopicFactory, penstock_run: RunFactory) -> None:
    limit = {"stop_timeout_ms": 500}
    run = penstock_run("stalling", topic("in"), topic("out"), workers=1, worker=limit)
    stall(run)
    run.signal(signal.SIGTERM)
    assert "within 500 ms (stop_timeout_ms)" in run.ends(Exit.ABANDONED)


# The watchdog


def test_a_function_that_does_not_return_ends_the_worker(
    topic: TopicFactory, penstock_run: RunFactory
) -> None:
    run = penstock_run("stalling", topic("in"), topic("out"), workers=0, kafka=SHORT)
    stall(run)
    last = run.ends(Exit.WATCHDOG)
    assert "for 1500 ms (max_poll_interval_ms): it is stuck in stall (" in last
    assert "Thread MainThread:" in run.text()


def test_without_the_watchdog_only_a_signal_ends_it(
    topic: TopicFactory, penstock_run: RunFactory
) -> None:
    off = {"watchdog": False}
    run = penstock_run("stalling", topic("in"), topic("out"), workers=0, kafka=SHORT, worker=off)
    stall(run)
    time.sleep(SHORT_S + 0.5)
    assert run.alive()
    end_at_once(run)


# Members of the group


def test_a_leaving_worker_gives_its_partitions_back_at_once(
    topic: TopicFactory, penstock_run: RunFactory
) -> None:
    first, second = two_of_one(topic, penstock_run, flags=("--leave",))
    first.stop()
    feed(second.servers, second.inputs[0], words(1_000))
    second.wait_drained()  # a static member's session would last longer than this waits
    second.stop()


def test_a_static_worker_keeps_its_partitions(
    topic: TopicFactory, penstock_run: RunFactory
) -> None:
    first, second = two_of_one(topic, penstock_run)
    first.stop()
    feed(second.servers, second.inputs[0], words(1_000))
    time.sleep(1)
    assert not second.drained()
    second.stop()


def test_a_cloned_state_folder_gets_an_identity_of_its_own(
    topic: TopicFactory, penstock_run: RunFactory
) -> None:
    first, second = clones(topic, penstock_run, workers=0)
    slots = second.state_dir / second.id / ".slots"
    (slots / "0.fenced").write_text(str(now_ms()))  # it has been put out once already
    start(second)
    assert "has put this worker out" in first.ends(Exit.BROKER)
    start(first)
    assert "has put this worker out" in second.ends(Exit.BROKER)
    assert second.said("twice within a minute") == 1
    start(second)
    feed(first.servers, first.inputs[0], words(1_000))
    for run in (first, second):
        run.wait_drained()
        run.stop()
    first.check_map()


def test_cloned_workers_that_leave_part_too(topic: TopicFactory, penstock_run: RunFactory) -> None:
    """They are no static members: what they take from each other is the producer's identity."""
    first, second = clones(topic, penstock_run, workers=1, flags=("--leave",))
    with loaded(first):
        start(second)
        first.wait_until(
            lambda: any(run.said("twice within a minute") for run in (first, second)),
            "one gives way",
        )
        first.wait_for_progress()
    first.wait_drained()
    for run in (first, second):
        run.stop()
    first.check_map()


@contextmanager
def counting(topic: TopicFactory, make: RunFactory) -> Iterator[Run]:
    """Two workers share a count under load; what they have left behind in the end is exact."""
    run = make("count", topic("words"), topic("counts"), kafka=QUICK)
    with loaded(run):
        run.start()
        run.wait_share()
        run.wait_for_progress()
        yield run
    if not run.started():
        run.start()
    run.wait_drained()
    run.stop()
    run.check_count()
    run.check_ends("counts")


def loaded(run: Run) -> Load:
    """Write into the input until the context ends."""
    return Load(run.servers, {run.inputs[0]: endless_words()}, per_second=2_000)


def stall(run: Run) -> None:
    """Start it, and let its function hang."""
    feed(run.servers, run.inputs[0], [Row("a", STALL)])
    run.start()
    run.wait_for(STALLED)


def end_at_once(run: Run) -> None:
    """Send two signals, the second one once the first is heard."""
    run.signal(signal.SIGINT)
    run.wait_for("SIGINT: stopping")
    run.signal(signal.SIGINT)
    assert "SIGINT, the second signal" in run.ends(128 + signal.SIGINT, timeout_s=5)


def two_of_one(
    topic: TopicFactory, make: RunFactory, flags: tuple[str, ...] = ()
) -> tuple[Run, Run]:
    """Start two workers of one application, each by itself, with a long session."""
    source, result = topic("words"), topic("upper")
    first = make("map", source, result, workers=0, flags=flags, kafka=LONG)
    second = make("map", source, result, workers=0, flags=flags, kafka=LONG, id=first.id)
    second.log = second.log.with_suffix(".second.log")
    start(first)
    start(second)
    return first, second


def clones(topic: TopicFactory, make: RunFactory, **options: Any) -> tuple[Run, Run]:
    """Start one worker, and make another one with a copy of its state folder."""
    options["kafka"] = QUICK
    first = make("map", topic("words"), topic("upper"), folder="first", **options)
    second = make("map", *first.inputs, *first.outputs, folder="second", id=first.id, **options)
    start(first)
    shutil.copytree(first.state_dir, second.state_dir)
    return first, second


def start(run: Run) -> None:
    """Start a worker, and wait until it has a task."""
    run.start()
    run.wait_for("runs from")


# HTTP


def test_a_supervisor_shows_all_workers_and_survives_their_restarts(
    topic: TopicFactory, penstock_run: RunFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = Web(free_port())
    monkeypatch.delenv("PENSTOCK_HTTP")
    flags = ("--http", f"127.0.0.1:{web.port}")
    run = penstock_run("count", topic("words"), topic("counts"), kafka=QUICK, flags=flags)
    feed(run.servers, run.inputs[0], words(5_000))
    run.start()
    run.wait_share()
    web.wait_until(web.ready, "all are ready")
    web.wait_until(lambda: counted(web) == 5_000, "all records are counted")
    status = web.json("/status")
    assert [of["number"] for of in status["workers"]] == [0, 1]
    assert {of["pid"] for of in status["workers"]} == set(run.pids().values())
    assert sorted(task["partition"] for task in status["tasks"]) == [0, 1, 2, 3], (
        status,
        run.text(),
    )
    assert status["name"] == run.id
    assert web.json("/workers/1/status")["pid"] == run.pids()[1]
    web.wait_until(lambda: told(web, 2) == 5_000, "all records are told of")
    assert web.json("/healthz") == {"status": "alive"}
    listening = web.events("/events")
    assert next(listening)[0] == "status"

    os.kill(run.pids()[1], signal.SIGKILL)
    web.wait_until(
        lambda: (
            web.json("/status")["workers"][1]["restarts"] == 1 and web.get("/readyz").status == 200
        ),
        "the worker is back",
    )
    metrics = web.get("/metrics").body.decode()
    assert 'penstock_workers{state="up"} 2.0' in metrics
    assert 'penstock_worker_restarts_total{worker="1"} 1.0' in metrics
    run.stop()
    assert [name for name, _ in listening][-1] == "terminated"


def told(web: Web, workers: int) -> int:
    recent = [web.json(f"/workers/{n}/progress")["recent"] for n in range(workers)]
    return sum(of["numInputRows"] for progress in recent for of in progress)


def counted(web: Web) -> float:
    found = re.findall(
        r"^penstock_records_in_total\{.*\} (.*)$", web.get("/metrics").body.decode(), re.M
    )
    return sum(map(float, found))
