"""Topics that grow under an application at work.

What has no state goes on with what is new. What has state stops, and says why: nothing wrong is
written, and it does not start again.
"""

import time
from typing import Any

import pytest
from confluent_kafka import murmur2
from confluent_kafka.admin import NewPartitions

from tests.chaos.sampling import sample
from tests.chaos.team import Team
from tests.kafka import checking
from tests.kafka.conftest import ApplicationFactory, TopicFactory
from tests.kafka.feeding import Load, Row, endless_words, feed, words
from tests.kafka.workers import QUICK, WAIT_S, Application

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

SELDOM_MS = 10_000  # how often topics are looked at by default
OFTEN_MS = 100
MANY = 6
REFRESH = {"topic.metadata.refresh.interval.ms": 500}  # when a client learns of partitions
PROTOCOLS = ["classic", "consumer"]


def team(make: ApplicationFactory, protocol: str, look_ms: int, size: int = 2, **of: Any) -> Team:
    kafka = QUICK | {"protocol": protocol, "topic_check_ms": look_ms, "client": REFRESH}
    return Team(make, size, kafka=kafka, state={"lock_timeout_ms": 500}, **of)


@pytest.mark.full
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_input_and_sinks_without_state_grow_under_load(
    protocol: str, application: ApplicationFactory
) -> None:
    """Behind the repartition topic, which stays as it is, all keys keep their state."""
    workers = team(application, protocol, OFTEN_MS)
    upper, counts = workers.first.outputs
    with workers.load():
        workers.start()
        for name in (upper, counts, workers.first.inputs[0]):
            grow(workers.first, name)
        workers.wait_until(lambda: runs_all_of(workers, MANY), "all partitions are somebody's")
        feed(workers.first.servers, workers.first.inputs[0], new_partitions())
        workers.wait_for_progress()
        for worker in workers.workers:  # one after the other: who starts finds more, too
            worker.stop()
            worker.start().wait_for("Assigned: ")
    workers.wait_until(workers.done, "all is processed")
    for worker in workers.workers:
        worker.stop()
    check_grown(workers)
    assert {record.partition for record in workers.first.read_inputs()} == set(range(MANY))
    assert {record.partition for record in workers.first.read_output(0)} == set(range(MANY))


@pytest.mark.full
def test_an_input_whose_new_partitions_nobody_takes_would_lose_them(
    application: ApplicationFactory,
) -> None:
    workers = team(application, "classic", OFTEN_MS, size=1, sabotage="know-no-more")
    workers.start()
    grow(workers.first, workers.first.inputs[0])
    feed(workers.first.servers, workers.first.inputs[0], new_partitions())
    time.sleep(3)
    workers.first.stop()
    with pytest.raises(AssertionError, match="records are lost"):
        check_grown(workers)


@pytest.mark.full
def test_a_repartition_topic_that_had_to_follow_its_input_could_not_start_again(
    application: ApplicationFactory,
) -> None:
    workers = team(application, "classic", OFTEN_MS, size=1)
    workers.start()
    grow(workers.first, workers.first.inputs[0])
    workers.first.stop()
    said = workers.first.start(sabotage="follow-inputs").fails()
    assert f"The internal topic {workers.repartition} has 4 partitions" in said


@sample("protocol, look_ms", [("consumer", SELDOM_MS), ("classic", OFTEN_MS)])
def test_an_input_with_state_grows(
    protocol: str, look_ms: int, application: ApplicationFactory, topic: TopicFactory
) -> None:
    """Under KIP-848 its new partitions are assigned before anybody looks at the topic."""
    app = count(application, topic, protocol, look_ms)
    with load_of(app):
        app.start().wait_for("runs from")
        app.wait_for_progress()
        grow(app, app.inputs[0])
        said = app.fails_with()
        assert f"The topic {app.inputs[0]} has {MANY} partitions now, and had 4" in said
        assert "state of counts" in said
        assert "has 4 partitions, the application needs 6" in app.start().fails_with()
    check_so_far(app)


@pytest.mark.full
def test_without_a_look_it_would_count_a_key_in_two_places(
    application: ApplicationFactory, topic: TopicFactory
) -> None:
    app = count(application, topic, "classic", OFTEN_MS, sabotage="be-blind,know-no-more")
    with load_of(app):
        app.start().wait_for("runs from")
        app.wait_for_progress()
        grow(app, app.inputs[0])
        feed(app.servers, app.inputs[0], [row for row in words(5_000) if old(row)])
        app.wait_for_progress()
    app.stop()
    with pytest.raises(AssertionError, match="went from"):
        check_so_far(app)


@pytest.mark.full
@pytest.mark.parametrize(("protocol", "look_ms"), [("consumer", SELDOM_MS), ("classic", OFTEN_MS)])
def test_a_repartition_topic_that_somebody_lets_grow(
    protocol: str, look_ms: int, application: ApplicationFactory
) -> None:
    """Both workers stop: nobody goes on alone with what both have read."""
    workers = team(application, protocol, look_ms)
    with workers.load():
        workers.start()
        workers.wait_for_progress()
        grow(workers.first, workers.repartition)
        for worker in workers.workers:
            said = worker.fails_with()
            assert f"The topic {workers.repartition} has {MANY} partitions now" in said
        assert "has 4 partitions, the application needs 6" in workers.first.start().fails_with()
    workers.check_so_far()


@pytest.mark.full
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_sibling_that_grows_stops_all_who_read_it_until_they_start_again(
    protocol: str, application: ApplicationFactory, topic: TopicFactory
) -> None:
    """It has the most partitions then, and leads."""
    workers, more = team(application, protocol, OFTEN_MS), topic("more")
    for worker in workers.workers:
        worker.inputs.append(more)
    rows = {
        name: endless_words(first=n * 10_000_000) for n, name in enumerate(workers.first.inputs)
    }
    with Load(workers.first.servers, rows, 3_000):
        workers.start()
        workers.wait_for_progress()
        grow(workers.first, more)
        for worker in workers.workers:
            said = worker.fails_with()
            assert f"The topic {more} has {MANY} partitions now, and had 4" in said
            assert "stop all workers and start them again" in said
        feed(workers.first.servers, more, new_partitions())
        workers.start()
        workers.wait_for_progress()
    workers.end()
    assert workers.said(f"Task {more}/{MANY - 1} runs from") > 0


def count(
    make: ApplicationFactory, topic: TopicFactory, protocol: str, look_ms: int, **options: Any
) -> Application:
    """Make a count of its input's own keys."""
    kafka = QUICK | {"protocol": protocol, "topic_check_ms": look_ms}
    return make("count", topic("words"), topic("counts"), kafka=kafka, **options)


def load_of(app: Application) -> Load:
    return Load(app.servers, {app.inputs[0]: endless_words(first=20_000_000)}, 2_000)


def grow(app: Application, name: str) -> None:
    new = NewPartitions(name, MANY)
    checking.admin(app.servers).create_partitions([new])[name].result()
    deadline = time.monotonic() + WAIT_S
    while len(checking.partitions_of(app.servers, [name])) < MANY:
        assert time.monotonic() < deadline, f"{name} has not grown"
        time.sleep(0.02)


def new_partitions() -> list[Row]:
    """Rows for those that a topic did not have before."""
    rows = words(2_000, first=90_000_000)
    return [row._replace(partition=4 + n % 2) for n, row in enumerate(rows)]


def old(row: Row) -> bool:
    """Whether a row's key stays in a partition that was there before, though in another one."""
    moved = murmur2(str(row.key).encode(), MANY)
    return moved < 4 and moved != murmur2(str(row.key).encode(), 4)


def runs_all_of(workers: Team, partitions: int) -> bool:
    """Whether the workers run a task for each partition of the input, between them."""
    running = set().union(*(worker.tasks() for worker in workers.workers))
    return {f"{workers.first.inputs[0]}/{n}" for n in range(partitions)} <= running


def check_grown(workers: Team) -> None:
    """Check outputs in which keys have moved on to other partitions, by their values' order."""
    app = workers.first
    inputs = app.read_inputs()
    checking.check_mapped(inputs, app.read_output(0), bytes.upper)
    counts = sorted(app.read_output(1), key=lambda record: record.value or b"")
    checking.check_updates(checking.counted(checking.by_ending(inputs)), counts)
    app.check_store("counts")
    app.check_ends("counts")


def check_so_far(app: Application) -> None:
    """Check what a stopped count has committed: no more, and no less."""
    done = app.committed()
    inputs = [r for r in app.read_inputs() if r.offset < done.get((r.topic, r.partition), 0)]
    checking.check_updates(checking.counted(inputs), app.read_output())
