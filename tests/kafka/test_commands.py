"""`penstock lag` and `penstock topics` on the real broker: what they tell is there."""

import pytest

from penstock.testing.kafka_server import KafkaServer
from tests.kafka.commands import call, objects, refusal
from tests.kafka.conftest import ApplicationFactory, TopicFactory
from tests.kafka.feeding import Load, endless_words, feed, open_transaction, words

pytestmark = pytest.mark.kafka


# lag


def test_the_lag_of_an_application_is_what_its_group_has_not_committed(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("regroup", topic("in"), topic("out"))
    feed(app.servers, app.inputs[0], words(2_000))
    app.run_through()
    feed(app.servers, app.inputs[0], words(500, first=2_000))
    (found,) = objects("lag", app.id, "--over", "200ms", brokers=app.servers)
    assert (found["application"], found["lag"]) == (app.id, 500)
    assert found["seconds_left"] is None
    named = {(at["topic"], at["partition"]): at["lag"] for at in found["partitions"]}
    expected = app.lag()
    assert {at: lag for at, lag in named.items() if at[0] == app.inputs[0] and lag} == expected
    assert any(topic.endswith("-repartition") for topic, _ in named)
    table = call("lag", app.id, "--over", "200ms", brokers=app.servers)
    assert table.splitlines()[0].split()[0] == "Partition"
    assert "never" in table
    total = next(row for row in table.splitlines() if row.startswith("total"))
    assert " 500 " in total


def test_rates_are_those_of_the_application_and_of_its_input(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("map", topic("in"), topic("out"))
    app.start()
    with Load(app.servers, {app.inputs[0]: endless_words()}, 2_000):
        app.wait_until(lambda: app.done() > 1_000, "it is at work")
        (found,) = objects("lag", app.id, "--over", "2s", brokers=app.servers)
    app.stop()
    assert found["members"] == 1
    assert sum(at["rate"] for at in found["partitions"]) > 200
    assert sum(at["growth"] for at in found["partitions"]) > 200


def test_what_an_open_transaction_holds_back_is_told(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("map", topic("in", partitions=1), topic("out"))
    feed(app.servers, app.inputs[0], words(10))
    app.run_through()
    feed(app.servers, app.inputs[0], words(5))
    (found,) = objects("lag", app.id, "--over", "10ms", brokers=app.servers)
    assert [(at["lag"], at["open"]) for at in found["partitions"]] == [(5, 0)]
    with open_transaction(app.servers, app.inputs[0], words(7)):
        (found,) = objects("lag", app.id, "--over", "10ms", brokers=app.servers)
    assert [(at["lag"], at["open"]) for at in found["partitions"]] == [(5, 7)]


def test_an_application_that_never_ran_is_told_in_one_paragraph(kafka: KafkaServer) -> None:
    said = refusal("lag", "nobody", brokers=kafka.bootstrap_servers)
    assert "nobody has committed nothing" in said


# topics


def test_topics_are_listed_with_their_records_and_owners(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("regroup", topic("in", partitions=3), topic("out"))
    feed(app.servers, app.inputs[0], words(100))
    app.run_through()
    found = {one["name"]: one for one in objects("topics", brokers=app.servers)[0]}
    assert {"partitions": 3, "records": 100}.items() <= found[app.inputs[0]].items()
    assert found[app.inputs[0]]["application"] is None
    changelog = found[app.changelog("counts")]
    assert (changelog["application"], changelog["kind"]) == (app.id, "changelog")
    assert not any(name.startswith("__") for name in found)
    table = call("topics", f"{app.id}-*", brokers=app.servers)
    assert f"repartition of {app.id}" in table
    assert app.inputs[0] not in table
    assert "__consumer_offsets" in call("topics", "__*", brokers=app.servers)
    assert "no topic like x*y" in call("topics", "x*y", brokers=app.servers)
