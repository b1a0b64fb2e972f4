"""A worker dies when it should give partitions back, and is replaced: nobody has them then.

A newcomer that asks for more mends that by itself; so where orphans are to be seen it does not.
"""

import time

import pytest

from penstock.testing.kafka_server import KafkaServer
from penstock.topics.admin import Admin, Owners
from tests.kafka.apps import STALL, STALLED
from tests.kafka.conftest import ApplicationFactory, TopicFactory
from tests.kafka.feeding import Row, feed, words
from tests.kafka.workers import Application

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

PARTITIONS = 4
NEVER_MS = 3_600_000
NEWCOMERS_WAIT = "newcomers-wait"
LONG_S = 20.0  # longer than a session, and than it takes otherwise


def test_the_newcomer_asks_for_them(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    workers = orphaned(kafka, topic, application, group_check_ms=NEVER_MS)
    check_shared(*workers)


@pytest.mark.full
def test_they_are_shared_out_anew(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    heir, other = orphaned(kafka, topic, application, sabotage=NEWCOMERS_WAIT)
    check_shared(heir, other)
    assert heir.said("Nobody has") + other.said("Nobody has") == 1


def check_shared(heir: Application, other: Application) -> None:
    since = time.monotonic()
    heir.wait_drained()
    print(f"drained {time.monotonic() - since:.1f} s after the heir had its partitions")
    found = owners(heir)
    assert found.stable
    assert [len(owned) for owned in found.members.values()] == [PARTITIONS // 2] * 2
    for worker in (heir, other):
        assert worker.said("Given back: ") == 0
        worker.stop()
    heir.check_map()
    heir.check_ends()


@pytest.mark.full
def test_without_a_look_they_stay_nobodys(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    """As long as no worker comes or goes."""
    heir, _ = orphaned(kafka, topic, application, sabotage=NEWCOMERS_WAIT, group_check_ms=NEVER_MS)
    time.sleep(LONG_S)
    found = owners(heir)
    assert found.stable
    assert sorted(len(owned) for owned in found.members.values()) == [0, PARTITIONS // 2]
    every = {(heir.inputs[0], number) for number in range(PARTITIONS)}
    assert heir.lag().keys() == every.difference(*found.members.values())


def orphaned(
    kafka: KafkaServer,
    topic: TopicFactory,
    application: ApplicationFactory,
    *,
    sabotage: str = "",
    **settings: int,
) -> tuple[Application, Application]:
    """Let a worker join while another one is at a long record; kill that one and start it again.

    The client goes on in the background while the record lasts: it joins the rebalance, and has
    then to give half of its partitions back, which waits for the loop.
    """
    name, out = topic("words", partitions=PARTITIONS), topic("upper")
    broken = {"sabotage": sabotage} if sabotage else {}
    first = application("stalling", name, out, kafka=settings, **broken).start()
    first.wait_for("runs from")
    feed(kafka.bootstrap_servers, name, [Row("key", STALL)])
    first.wait_for(STALLED)
    feed(kafka.bootstrap_servers, name, words(2_000))
    other = application("map", name, out, kafka=settings, id=first.id, **broken).start()
    other.wait_for("Assigned: nothing")
    first.kill()
    first.start("map")
    first.wait_for("Assigned: ")
    return first, other


def owners(worker: Application) -> Owners:
    admin = Admin({"bootstrap.servers": worker.servers}, timeout_ms=10_000)
    found = admin.owners(worker.id).result()
    assert found is not None
    return found
