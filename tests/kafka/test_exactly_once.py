"""Every output is there once and in its order, whatever ends the worker in between."""

import shutil
import struct
import time
from collections import Counter

import msgspec
import pytest
from confluent_kafka import Consumer, IsolationLevel, Producer, TopicPartition

from penstock.testing.kafka_server import KafkaServer
from tests.kafka import checking
from tests.kafka.apps import STALLED, Sale, total
from tests.kafka.conftest import ApplicationFactory, TopicFactory, create_topic
from tests.kafka.feeding import Load, Row, feed, feed_transaction, words
from tests.kafka.workers import QUICK, WAIT_S, Application

pytestmark = pytest.mark.kafka

RECORDS = 5_000


# From input to output, and on after a clean stop


def test_a_map_goes_on_where_it_was_stopped(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("map", topic("words"), topic("upper"))
    run_twice(app, kafka)
    app.check_map()
    app.check_ends()


def test_a_count_goes_on_where_it_was_stopped(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("count", topic("words"), topic("counts"))
    run_twice(app, kafka)
    app.check_count()
    app.check_ends("counts")


def test_siblings_are_mapped_and_counted_together(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    inputs = [topic("words"), topic("more-words")]
    app = application("map-and-count", inputs, [topic("upper"), topic("counts")])
    run_twice(app, kafka)
    app.check_map()
    app.check_count(1)
    app.check_ends("counts")


def test_structs_are_reduced(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("reduce", topic("sales"), topic("totals"))
    sales = [
        row._replace(value=msgspec.json.encode(Sale(number)))
        for number, row in enumerate(words(RECORDS))
    ]
    feed(kafka.bootstrap_servers, app.inputs[0], sales)
    app.run_through()
    decode, encode = msgspec.json.Decoder(Sale).decode, msgspec.json.Encoder().encode
    expected = checking.folded(app.read_inputs(), decode, total, encode)
    checking.check_updates(expected, app.read_output())
    app.check_store("totals")
    app.check_ends("totals")


def test_two_stores_are_kept(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("two-stores", topic("words"), [topic("counts"), topic("longest")])
    feed(kafka.bootstrap_servers, app.inputs[0], words(RECORDS))
    app.run_through()
    app.forget_stores()
    feed(kafka.bootstrap_servers, app.inputs[0], words(RECORDS, first=RECORDS))
    app.run_through()
    app.check_count()
    longest = checking.folded(
        app.read_inputs(), bytes.decode, lambda a, b: max(a, b, key=len), str.encode
    )
    checking.check_updates(longest, app.read_output(1))
    app.check_store("longest")
    app.check_ends("counts", "longest")


def test_a_stop_under_load_loses_nothing(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    inputs = [topic("words"), topic("more-words")]
    app = application("map-and-count", inputs, [topic("upper"), topic("counts")])
    with Load(kafka.bootstrap_servers, two_inputs(app), per_second=10_000) as load:
        while load.going:
            app.start()
            app.wait_for("runs from")
            app.stop()
            app.check_store("counts")
    app.run_through()
    app.check_map()
    app.check_count(1)
    app.check_ends("counts")


# Kills


def test_a_worker_killed_in_an_open_transaction_leaves_nothing_of_it(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("stalling-flush", topic("words"), topic("counts"), commit=SLOW_COMMITS)
    servers = kafka.bootstrap_servers
    feed(servers, app.inputs[0], [Row(f"key-{n}", "word", partition=n % 4) for n in range(4)])
    app.start()
    app.wait_for(STALLED)
    app.wait_until(
        lambda: ends_of_changelog(app, IsolationLevel.READ_UNCOMMITTED) > 0, "a change is logged"
    )
    app.kill()
    assert ends_of_changelog(app, IsolationLevel.READ_COMMITTED) == 0
    assert app.read_output() == []
    app.start("count", commit={})
    app.wait_drained()
    app.stop()
    app.check_count()
    app.check_ends("counts")


def test_offsets_that_somebody_left_in_an_open_transaction_are_waited_for(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    """For longer than a request may take: as by a worker that was killed on another host."""
    inputs = [topic("words"), topic("more-words")]
    outputs = [topic("upper"), topic("counts")]
    app = application("map-and-count", inputs, outputs, kafka=QUICK)
    for name in inputs:
        feed(kafka.bootstrap_servers, name, words(100))
    open_ms = QUICK["request_timeout_ms"] + 1_500
    abandoned = Producer(
        {
            "bootstrap.servers": app.servers,
            "transactional.id": f"{app.id}-abandoned",
            "transaction.timeout.ms": open_ms,
            "log_level": 0,
        }
    )
    group = Consumer({"bootstrap.servers": app.servers, "group.id": app.id, "log_level": 0})
    abandoned.init_transactions(WAIT_S)
    abandoned.begin_transaction()
    abandoned.send_offsets_to_transaction(
        [TopicPartition(name, 0, 50) for name in inputs], group.consumer_group_metadata(), WAIT_S
    )
    began = time.monotonic()
    app.run_through()
    assert time.monotonic() - began > open_ms / 1000
    group.close()
    app.check_map()
    app.check_count(1)


def test_aborted_changes_of_a_first_transaction_are_no_state(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("count", topic("words"), topic("counts"))
    create_topic(app.servers, app.changelog("counts"), 4, cleanup_policy="compact")
    feed_transaction(kafka.bootstrap_servers, app.changelog("counts"), changes(), commit=False)
    feed(kafka.bootstrap_servers, app.inputs[0], words(100))
    app.run_through()
    app.check_count()
    app.check_ends("counts")


def test_a_killed_worker_that_starts_again_at_once_is_the_same_member(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    """The session lasts longer than any wait here: nobody waits for its end."""
    inputs = [topic("words"), topic("more-words")]
    outputs = [topic("upper"), topic("counts")]
    session = {"session_timeout_ms": 600_000, "max_poll_interval_ms": 700_000}
    app = application("map-and-count", inputs, outputs, kafka=session)
    with Load(kafka.bootstrap_servers, two_inputs(app), per_second=10_000):
        app.start()
        app.wait_until(lambda: b"word-500" in committed_values(app), "it is at work")
        app.kill()
        app.start()
        app.wait_for("runs from")
    app.wait_drained()
    app.stop()
    app.check_map()
    app.check_count(1)
    app.check_ends("counts")


def test_at_least_once_loses_nothing_under_kills(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    inputs = [topic("words"), topic("more-words")]
    outputs = [topic("upper"), topic("counts")]
    app = application("map-and-count", inputs, outputs, guarantee="at_least_once")
    with Load(kafka.bootstrap_servers, two_inputs(app), per_second=10_000):
        for _ in range(3):
            app.start()
            app.wait_for("runs from")
            app.kill()
    app.run_through()
    sent = app.read_inputs()
    mapped = {(r.key, r.value) for r in app.read_output()}
    assert mapped == {(r.key, (r.value or b"").upper()) for r in sent}
    last = {r.key: struct.unpack(">q", r.value or b"")[0] for r in app.read_output(1)}
    for key, count in Counter(r.key for r in sent).items():
        assert last[key] >= count, f"{key!r}: {last[key]} of {count}"
    app.check_store("counts")
    app.check_ends("counts")


# Transactional inputs


@pytest.mark.parametrize("commit", [True, False])
def test_an_input_that_ends_in_a_marker_is_read_to_its_end(
    commit: bool, kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    """`wait_drained` compares with the end of the log, which is behind the marker."""
    app = application("count", topic("words"), topic("counts"))
    servers, name = kafka.bootstrap_servers, app.inputs[0]
    feed_transaction(servers, name, words(500))
    feed_transaction(servers, name, words(100, first=500), commit=commit)
    app.start()
    app.wait_drained()
    feed_transaction(servers, name, words(500, first=600))
    feed_transaction(servers, name, words(100, first=1100), commit=commit)
    app.wait_drained()
    app.stop()
    assert len(app.read_inputs()) == (1200 if commit else 1000)
    app.check_count()
    app.check_ends("counts")


def test_aborted_input_is_never_processed(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("map", topic("words"), topic("upper"))
    servers, name = kafka.bootstrap_servers, app.inputs[0]
    feed_transaction(servers, name, words(500), commit=False)
    feed_transaction(servers, name, words(500, first=500))
    feed_transaction(servers, name, words(500, first=1000), commit=False)
    feed(servers, name, words(500, first=1500))
    app.run_through()
    assert len(app.read_output()) == 1000
    app.check_map()


# A worker on another disk


def test_a_worker_without_state_folder_restores_it(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    """It is another member then, and waits for the end of the old one's session."""
    app = application("count", topic("words"), topic("counts"), kafka=QUICK)
    feed(kafka.bootstrap_servers, app.inputs[0], words(RECORDS))
    app.run_through()
    shutil.rmtree(app.state_dir)
    feed(kafka.bootstrap_servers, app.inputs[0], words(RECORDS, first=RECORDS))
    app.run_through()
    app.check_count()
    app.check_ends("counts")


SLOW_COMMITS = {"interval_ms": 1_500, "min_interval_ms": 1_500}


def run_twice(app: Application, kafka: KafkaServer) -> None:
    """Let an application process its inputs, stop, and process more."""
    for first in (0, RECORDS):
        for number, name in enumerate(app.inputs):
            rows = words(RECORDS, seed=number + 1, first=first + number * 1_000_000)
            feed(kafka.bootstrap_servers, name, rows)
        app.run_through()


def two_inputs(app: Application) -> dict[str, list[Row]]:
    one, two = app.inputs
    return {one: words(RECORDS), two: words(RECORDS, seed=2, first=1_000_000)}


def changes() -> list[Row]:
    """Records that nobody may ever see in a store of counts."""
    return [
        Row(f"key-{n}", struct.pack(">q", 1_000_000), partition=partition)
        for n in range(10)
        for partition in range(4)
    ]


def ends_of_changelog(app: Application, isolation: IsolationLevel) -> int:
    topics = [app.changelog("counts")]
    return sum(checking.ends(app.servers, topics, isolation).values())


def committed_values(app: Application) -> set[bytes | None]:
    return {record.value.lower() for record in app.read_output() if record.value}
