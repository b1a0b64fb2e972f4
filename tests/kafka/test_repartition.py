"""Records under a new key come together again, exactly once, and nothing of them stays behind."""

import pytest

from penstock.testing.kafka_server import KafkaServer
from tests.kafka import checking
from tests.kafka.conftest import ApplicationFactory, TopicFactory
from tests.kafka.feeding import endless_words, feed, words
from tests.kafka.kills import kill_under_load
from tests.kafka.workers import Application

pytestmark = pytest.mark.kafka

RECORDS = 5_000


def test_counts_under_a_new_key_are_exact(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = regrouped(application, topic)
    for start in (0, RECORDS):
        feed(kafka.bootstrap_servers, app.inputs[0], words(RECORDS, first=start))
        run_through(app)
    check(app)


def test_the_topic_is_made_as_kafka_streams_makes_it(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = regrouped(application, topic)
    feed(kafka.bootstrap_servers, app.inputs[0], words(100))
    run_through(app)
    found = checking.config_of(kafka.bootstrap_servers, repartition(app))
    wanted = {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "message.timestamp.type": "CreateTime",
    }
    assert {name: found[name] for name in wanted} == wanted
    assert len(checking.partitions_of(kafka.bootstrap_servers, [repartition(app)])) == 4


def test_what_is_committed_is_purged(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = regrouped(application, topic, commit={"purge_interval_ms": 200})
    feed(kafka.bootstrap_servers, app.inputs[0], words(RECORDS))
    app.start()
    app.wait_until(lambda: done(app), "everything is counted")
    app.wait_until(lambda: purged(app), "everything that is committed is deleted")
    app.stop()
    feed(kafka.bootstrap_servers, app.inputs[0], words(RECORDS, first=RECORDS))
    run_through(app)
    check(app)


def test_kills_on_both_sides_of_the_topic_leave_everything_exact(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = regrouped(application, topic, commit={"purge_interval_ms": 100})

    def check_counts(_: int) -> None:
        app.check_store("counts", complete=False)

    kill_under_load(app, endless_words(), per_second=4_000, after=check_counts)
    run_through(app)
    check(app)


def regrouped(make: ApplicationFactory, topic: TopicFactory, **options: object) -> Application:
    """An application that counts words by their last two characters."""
    return make("regroup", topic("words"), topic("counts"), **options)


def run_through(app: Application) -> None:
    app.start()
    app.wait_until(lambda: done(app), "everything is counted")
    app.stop()


def repartition(app: Application) -> str:
    return f"{app.id}-by-ending-repartition"


def done(app: Application) -> bool:
    """Whether all input is committed on both sides of the repartition topic."""
    topics = [*app.inputs, repartition(app)]
    if not app.drained() or repartition(app) not in checking.topics(app.servers):
        return False
    return checking.all_committed(app.servers, app.id, topics)


def purged(app: Application) -> bool:
    topics = [repartition(app)]
    return checking.starts(app.servers, topics) == checking.ends(app.servers, topics)


def check(app: Application) -> None:
    """Each count is there, in order, the store agrees, and nothing is open."""
    counts = checking.counted(checking.by_ending(app.read_inputs()))
    checking.check_updates(counts, app.read_output())
    app.check_store("counts")
    app.check_ends("counts")
    checking.check_committed(app.servers, app.id, [repartition(app)])
