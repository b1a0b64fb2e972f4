"""Two versions of an application that read other topics together: the newer one is kept out.

Nobody fences who reads a topic beside its lead, so both would read some. Under load, through a
repartition topic, with both group protocols.
"""

import time
from typing import Any

import pytest

from tests.chaos.sampling import sample
from tests.chaos.team import Team
from tests.kafka.conftest import ApplicationFactory, TopicFactory
from tests.kafka.feeding import Load, endless_words, feed, words
from tests.kafka.workers import QUICK, WAIT_S, Application

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

PROTOCOLS = ["consumer", "classic"]
KEPT_OUT = "Workers of another version of "
MORE = 10_000_000  # the number of the first word of the topic that is new


def team(make: ApplicationFactory, protocol: str, **options: Any) -> Team:
    kafka = QUICK | {"protocol": protocol, "session_timeout_ms": 1_500}
    return Team(make, 2, kafka=kafka, state={"lock_timeout_ms": 500}, **options)


@pytest.mark.full
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_rolling_upgrade_to_other_inputs_waits_for_a_full_stop(
    protocol: str, application: ApplicationFactory, topic: TopicFactory
) -> None:
    """The newcomer ends, who is there goes on; after a full stop all is as exact as before."""
    workers, more = team(application, protocol), topic("more")
    feed(workers.first.servers, more, words(1_000, first=MORE))
    with workers.load():
        workers.start()
        first, other = workers.workers
        workers.wait_for_progress()
        old = list(first.inputs)
        upgrade(first, [*old, more])
        assert KEPT_OUT in first.fails()
        assert other.alive()
        workers.wait_for_progress()
        first.inputs = old
        first.start().wait_for("runs from")
        workers.wait_for_progress()
    first.stop()
    other.stop()
    for worker in workers.workers:
        worker.inputs = [*old, more]
    rows = {name: endless_words(first=n * MORE + MORE // 2) for n, name in enumerate(first.inputs)}
    with Load(first.servers, rows, 3_000):
        workers.start()
        workers.wait_for_progress()
    workers.end()
    assert {record.topic for record in first.read_inputs()} == {*old, more}


@sample("protocol", PROTOCOLS)
def test_two_versions_that_start_at_once_are_not_both_let_in(
    protocol: str, application: ApplicationFactory, topic: TopicFactory
) -> None:
    """Neither has seen the other one when it joins."""
    workers = two_versions(application, topic, protocol)
    with workers.load():
        for worker in workers.workers:
            worker.start()
        refused = wait_for_refusal(workers)
        assert refused.said("runs from") == 0
        newer = workers[1]
        for worker in workers.workers:
            worker.close()  # the other one may be refused as well
        newer.start(sabotage="meet")  # there were two already: it waits for nobody
        newer.wait_for("runs from")
        workers.first.inputs = newer.inputs
        workers.wait_for_progress()
    workers.end()


@pytest.mark.full
def test_versions_that_do_not_ask_would_both_read_what_one_reads(
    application: ApplicationFactory, topic: TopicFactory
) -> None:
    workers = two_versions(application, topic, "classic", ",join-unasked")
    with workers.load():
        for worker in workers.workers:
            worker.start()
        for worker in workers.workers:
            worker.wait_for("runs from")
        workers.wait_for_progress()
    workers.first.inputs = workers[1].inputs
    with pytest.raises(AssertionError, match="is there twice"):
        workers.end()


def upgrade(worker: Application, inputs: list[str]) -> None:
    """Replace a worker by one of a version that reads more together."""
    worker.stop()
    worker.inputs = inputs
    worker.start()


def two_versions(
    make: ApplicationFactory, topic: TopicFactory, protocol: str, sabotage: str = ""
) -> Team:
    """Two workers, of which the second reads another topic together with the first one's."""
    workers, more = team(make, protocol, sabotage=f"meet{sabotage}"), topic("more")
    feed(workers.first.servers, more, words(1_000, first=MORE))
    workers[1].inputs = [*workers.first.inputs, more]
    return workers


def wait_for_refusal(workers: Team) -> Application:
    """Wait until one of them has ended because of the other one, and return it."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        for worker in workers.workers:
            if not worker.alive():
                assert KEPT_OUT in worker.fails()
                return worker
        time.sleep(0.05)
    raise AssertionError("\n\n".join(worker.text() for worker in workers.workers))
