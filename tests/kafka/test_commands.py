"""`penstock lag` and `penstock topics` on the real broker: what they tell is there."""

import time

import pytest
from confluent_kafka import Consumer, TopicPartition

from penstock.cli.application_lag import look_twice
from penstock.testing.kafka_server import KafkaServer
from tests.kafka.commands import call, objects, refusal
from tests.kafka.conftest import ApplicationFactory, TopicFactory
from tests.kafka.feeding import feed, open_transaction, words
from tests.kafka.workers import Application

pytestmark = pytest.mark.kafka


def test_the_lag_of_an_application_and_its_topics_are_what_is_there(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("regroup", topic("in"), topic("out"))
    feed(app.servers, app.inputs[0], words(2_000))
    app.start()
    app.wait_for("runs from")
    app.wait_drained()
    app.wait_until(lambda: lag_of(app) == 0, "its repartition topic is drained too")
    app.stop()
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
    check_topics(app)


def check_topics(app: Application) -> None:
    """They are listed with their records and owners."""
    found = {one["name"]: one for one in objects("topics", brokers=app.servers)[0]}
    assert {"partitions": 4, "records": 2_500}.items() <= found[app.inputs[0]].items()
    assert found[app.inputs[0]]["application"] is None
    changelog = found[app.changelog("counts")]
    assert (changelog["application"], changelog["kind"]) == (app.id, "changelog")
    assert not any(name.startswith("__") for name in found)
    table = call("topics", f"{app.id}-*", brokers=app.servers)
    assert f"repartition of {app.id}" in table
    assert app.inputs[0] not in table
    assert "__consumer_offsets" in call("topics", "__*", brokers=app.servers)
    assert "no topic like x*y" in call("topics", "x*y", brokers=app.servers)


def lag_of(app: Application) -> int:
    (found,) = objects("lag", app.id, "--over", "10ms", brokers=app.servers)
    return int(found["lag"])


def test_the_time_to_catch_up_is_that_of_the_present_rates(
    kafka: KafkaServer, topic: TopicFactory
) -> None:
    """Between the looks exactly 500 are done and 200 come."""
    name, servers = topic("in", partitions=2), kafka.bootstrap_servers
    at, group = (name, 0), f"group-{name}"
    rows = [row._replace(partition=0) for row in words(10_200)]
    feed(servers, name, rows[:10_000])
    commit(servers, group, at, 1_000)

    def meanwhile(seconds: float) -> None:
        commit(servers, group, at, 1_500)
        feed(servers, name, rows[10_000:])
        time.sleep(seconds)

    begin = time.monotonic()
    found = look_twice(group, brokers=servers, over_s=1.0, sleep=meanwhile).partitions
    took = 500 / found[at].rate
    assert 1 <= took <= time.monotonic() - begin
    assert found[at].growth == pytest.approx(200 / took)
    assert (list(found), found[at].lag) == ([at], 8_700)
    assert found[at].seconds_left == pytest.approx(8_700 / (300 / took))


def commit(servers: str, group: str, at: tuple[str, int], offset: int) -> None:
    client = Consumer({"bootstrap.servers": servers, "group.id": group, "log_level": 0})
    client.commit(offsets=[TopicPartition(*at, offset)], asynchronous=False)
    client.close()


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


def test_a_mistyped_application_is_guessed(kafka: KafkaServer, topic: TopicFactory) -> None:
    servers, name = kafka.bootstrap_servers, topic("in")
    commit(servers, f"shop-{name}", (name, 0), 0)
    assert f"Did you mean shop-{name}" in refusal("lag", f"shpo-{name}", brokers=servers)
