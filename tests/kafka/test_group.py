"""Who may be in a group, and topics that change while a worker runs."""

import pytest
from confluent_kafka.admin import NewPartitions

from penstock.testing.kafka_server import KafkaServer
from tests.kafka import checking
from tests.kafka.conftest import ApplicationFactory, TopicFactory, create_topic
from tests.kafka.feeding import feed, words
from tests.kafka.workers import QUICK, Application

pytestmark = pytest.mark.kafka

OFTEN = {"topic_check_ms": 100}


def test_another_version_is_kept_out_and_disturbs_nobody(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    """A newcomer that reads other topics together stops; who is there goes on."""
    one, other, out = topic("a"), topic("b"), [topic("upper"), topic("counts")]
    running = application("map-and-count", [one], out, kafka=QUICK).start()
    running.wait_for("runs from")
    newcomer = application("map-and-count", [one, other], out, kafka=QUICK, id=running.id)
    said = newcomer.start().fails()
    assert f"Workers of another version of {running.id} are running" in said
    assert "full stop" in said
    feed(kafka.bootstrap_servers, one, words(1_000))
    running.wait_drained()
    assert running.said("Assigned: ") == 1
    running.stop()


def test_another_version_begins_after_a_full_stop(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    """Of equal inputs the one that leads already leads on; one with more partitions takes over."""
    early, late, wide = topic("a"), topic("b"), topic("c", partitions=6)
    out = topic("upper")
    app = application("map", [late], out, kafka=QUICK)
    leads = {(late,): late, (early, late): late, (early, late, wide): wide}
    for number, (inputs, lead) in enumerate(leads.items()):
        for place, name in enumerate(inputs):
            first = number * 1_000_000 + place * 100_000
            feed(kafka.bootstrap_servers, name, words(300, first=first))
        app = application("map", inputs, out, kafka=QUICK, id=app.id)
        app.run_through()
        assert f"Task {lead}/0 runs" in app.text()
    app.check_map()
    app.check_ends()
    memories = checking.metadata(app.servers, app.id, [early, late, wide])
    assert {name for (name, _), text in memories.items() if text} == {wide}


def test_a_strangers_group_is_left_alone(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    """The application id is the name of the group; somebody else's is no place for us."""
    name = topic("words")
    app = application("map", name, topic("upper"), kafka=QUICK)
    with checking.member(kafka.bootstrap_servers, app.id, name):
        assert "belongs to another program" in app.start().fails()


def test_a_stateful_input_that_grows_stops_the_worker(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    """Its keys would go to partitions whose state knows nothing of them."""
    app = application("count", topic("words"), topic("counts"), kafka=OFTEN).start()
    app.wait_for("runs from")
    grow(app, app.inputs[0], 6)
    said = app.fails()
    assert f"{app.inputs[0]} has 6 partitions now, and had 4" in said
    assert "state of counts" in said


def test_a_stateless_input_and_a_sink_may_grow(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    """New partitions of the sink are written to, those of the input are read."""
    refresh = {"topic.metadata.refresh.interval.ms": 200}
    app = application("map", topic("words"), topic("upper"), kafka=OFTEN | {"client": refresh})
    app.start()
    app.wait_for("runs from")
    grow(app, app.outputs[0], 6)
    app.wait_for("more partitions now")
    grow(app, app.inputs[0], 6)
    feed(kafka.bootstrap_servers, app.inputs[0], words(1_000))
    app.wait_drained()
    app.stop()
    app.check_map()
    assert {record.partition for record in app.read_output()} == set(range(6))
    assert {record.partition for record in app.read_inputs()} == set(range(6))


@pytest.mark.parametrize("which", ["inputs", "outputs"])
def test_a_topic_that_is_made_anew_stops_the_worker(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory, which: str
) -> None:
    """Its offsets mean other records."""
    app = application("map", topic("words"), topic("upper"), kafka=OFTEN).start()
    app.wait_for("runs from")
    name = getattr(app, which)[0]
    checking.admin(app.servers).delete_topics([name])[name].result()
    app.wait_gone_or_ended(name)
    if app.alive():
        create_topic(app.servers, name, 4)
    assert f"The topic {name} was deleted" in app.fails()


def grow(app: Application, name: str, partitions: int) -> None:
    new = NewPartitions(name, partitions)
    checking.admin(app.servers).create_partitions([new])[name].result()
