"""Functions that take 100 ms for each of many records: slow, and in time.

A worker of several tasks, with timeouts so short that a chunk or a batch of usual size would
outlast them: what is begun at a time goes by what a record takes. In front of a store and behind
it, where functions run as it is flushed.
"""

import time

import pytest

from tests.chaos.sampling import sample
from tests.kafka import checking
from tests.kafka.conftest import ApplicationFactory, TopicFactory
from tests.kafka.feeding import feed, words
from tests.kafka.workers import QUICK, SHORT, Application

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

TROUBLE = ("fails while", "longer than the transaction may be open", "FENCED")
CASES = [
    ("slow-behind", SHORT, 20),
    ("slow-behind", QUICK, 250),
    ("slow", SHORT, 60),
    ("slow", QUICK, 250),
]


def slow(
    name: str, topic: TopicFactory, application: ApplicationFactory, kafka: dict[str, int]
) -> Application:
    outputs = [topic("out"), topic("counts")]
    # The first fetch may bring all that there is.
    return application(name, topic("in", partitions=2), outputs, kafka=kafka)


def trouble(app: Application) -> list[str]:
    """What it has said that it should not."""
    return [said for said in TROUBLE if said in app.text()]


def check(app: Application) -> None:
    inputs = app.read_inputs()
    if app.name == "slow":
        checking.check_mapped(inputs, app.read_output(0), bytes.upper)
        inputs = checking.by_ending(inputs)
    checking.check_updates(
        checking.counted(inputs), app.read_output(1 if app.name == "slow" else 0)
    )
    app.check_store("counts")
    app.check_ends("counts")


def done(app: Application) -> bool:
    topics = [*app.inputs, *([f"{app.id}-by-ending-repartition"] if app.name == "slow" else [])]
    return checking.all_committed(app.servers, app.id, topics)


@sample("name, timeouts, records", CASES)
def test_many_slow_records_outlast_no_timeout(
    name: str,
    timeouts: dict[str, int],
    records: int,
    topic: TopicFactory,
    application: ApplicationFactory,
) -> None:
    """Nothing is fenced, given back, run again, or ended; and there is progress all the time."""
    app = slow(name, topic, application, timeouts)
    feed(app.servers, app.inputs[0], words(records, keys=10 * records))
    app.start()
    app.wait_for("runs from")
    pid, began, latest, longest_s = app.pid, time.monotonic(), time.monotonic(), 0.0
    reached = app.done()
    while not done(app):
        assert app.alive(), app.text()
        assert time.monotonic() - began < 200, app.text()
        if (now := app.done()) > reached:
            longest_s = max(longest_s, time.monotonic() - latest)
            reached, latest = now, time.monotonic()
        time.sleep(0.1)
    print(f"{records} records in {time.monotonic() - began:.1f} s, {longest_s:.1f} s without any")
    assert app.pid == pid
    app.stop()
    assert not trouble(app), app.text()
    if name == "slow-behind":
        assert longest_s < 2 * timeouts["transaction_timeout_ms"] / 1000
    check(app)


@sample("name", ["slow-behind", "slow"])
def test_without_that_they_would(
    name: str, topic: TopicFactory, application: ApplicationFactory
) -> None:
    """All that was fetched at once, as if each record took nothing."""
    app = slow(name, topic, application, SHORT)
    feed(app.servers, app.inputs[0], words(60, keys=600))
    app.start(sabotage="all-at-once")
    deadline = time.monotonic() + 20
    while app.alive() and not trouble(app):
        assert time.monotonic() < deadline, app.text()
        time.sleep(0.1)
