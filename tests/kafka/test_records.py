"""What passes through from record to record, where reading begins, and what is refused."""

import datetime
from collections import defaultdict

import pytest

from penstock.testing.kafka_server import KafkaServer
from tests.kafka import checking
from tests.kafka.apps import BAD
from tests.kafka.conftest import ApplicationFactory, TopicFactory, create_topic
from tests.kafka.feeding import BEGIN_MS, Row, feed, words
from tests.kafka.workers import Application

pytestmark = pytest.mark.kafka

MEGABYTE = 1024 * 1024
ROOMY = {"message.max.bytes": 20 * MEGABYTE}  # of the producer; the topics have their own


# Timestamps and headers


def test_a_map_keeps_timestamps_and_headers(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("map", topic("words"), topic("upper"))
    rows = [
        row._replace(headers=[("n", b"%d" % n), ("n", None)]) for n, row in enumerate(words(50))
    ]
    feed(app.servers, app.inputs[0], [*rows, *words(50, first=50)])
    app.run_through()
    kept = {(r.key, r.value): (r.timestamp, r.headers) for r in app.read_output()}
    sent = app.read_inputs()
    assert {r.timestamp for r in sent} == set(range(BEGIN_MS, BEGIN_MS + 100))
    assert kept == {(r.key, (r.value or b"").upper()): (r.timestamp, r.headers) for r in sent}


def test_a_count_has_the_largest_timestamp_of_its_contributors_and_no_headers(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("count", topic("words"), topic("counts"))
    for first in (500, 0):  # the later ones are older
        rows = [row._replace(headers=[("n", b"1")]) for row in words(500, first=first)]
        feed(app.servers, app.inputs[0], reversed(rows))
        app.run_through()
    outputs = app.read_output()
    checking.check_timestamps(app.read_inputs(), outputs)
    assert {record.headers for record in outputs} == {None}
    app.check_count()


def test_a_thousand_headers_pass(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    headers = [(f"header-{n}", b"x" * (n % 50)) for n in range(1_000)]
    app = application("raw", topic("in"), topic("out"))
    feed(app.servers, app.inputs[0], [Row("key", "value", headers=headers)])
    app.run_through()
    [record] = app.read_output()
    assert record.headers == headers


# Nulls and empty ones


def test_empty_keys_and_values_pass_and_null_values_are_dropped(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("text", topic("in", partitions=1), topic("out", partitions=1))
    rows = [Row("", "no key"), Row("a", ""), Row("b", None), Row("", ""), Row("c", "last")]
    feed(app.servers, app.inputs[0], rows)
    app.run_through()
    found = [(r.key, r.value) for r in app.read_output()]
    assert found == [(b"", b"no key"), (b"a", b""), (b"", b""), (b"c", b"last")]
    app.check_ends()


def test_raw_streams_pass_everything(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("raw", topic("in", partitions=1), topic("out", partitions=1))
    rows = [Row(None, "x"), Row("a", None), Row("", ""), Row(None, None), Row(b"\xff", b"\xfe")]
    feed(app.servers, app.inputs[0], rows)
    app.run_through()
    found = [(r.key, r.value) for r in app.read_output()]
    assert found == [(None, b"x"), (b"a", None), (b"", b""), (None, None), (b"\xff", b"\xfe")]


def test_empty_keys_and_values_are_counted_and_null_values_are_not(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("count", topic("in"), topic("out"))
    rows = [Row("", "x"), Row("", ""), Row("a", None), Row("a", ""), Row("a", "x")] * 10
    feed(app.servers, app.inputs[0], rows)
    app.run_through()
    app.check_count()
    assert app.read_output()


def test_a_null_key_where_one_is_declared_is_named(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("map", topic("in"), topic("out"))
    feed(app.servers, app.inputs[0], [Row("a", str(n), partition=2) for n in range(7)])
    feed(app.servers, app.inputs[0], [Row(None, "x", partition=2)])
    error = app.start().fails().splitlines()[-1]
    assert error.startswith("penstock.errors.DataError: stream-0"), error
    assert f"{app.inputs[0]}/2 offset 7" in error
    assert "the key is null" in error


def test_a_failing_function_is_named_and_its_neighbours_are_not_lost(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("failing", topic("in", partitions=1), topic("out", partitions=1))
    rows = [Row("a", f"word-{n}") for n in range(2_000)]
    feed(app.servers, app.inputs[0], [*rows[:1_500], Row("a", BAD), *rows[1_500:]])
    for _ in range(2):
        error = app.start().fails().splitlines()[-1]
        assert error.startswith("penstock.errors.DataError: map-1 fragile"), error
        assert f"{app.inputs[0]}/0 offset 1500: ZeroDivisionError: no such luck" in error
        assert "apps.py" in error
    app.start("map")
    app.wait_drained()
    app.stop()
    app.check_map()
    app.check_ends()


# Sizes


def test_ten_megabytes_pass_where_the_topics_take_them(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    limit = 12 * MEGABYTE
    app = application(
        "raw", topic("in", max_message_bytes=limit), topic("out", max_message_bytes=limit)
    )
    large = b"x" * 10 * MEGABYTE
    feed(app.servers, app.inputs[0], [Row("a", large), Row("a", "small")], **ROOMY)
    app.run_through()
    assert [r.value for r in app.read_output()] == [large, b"small"]


def test_ten_megabytes_that_a_topic_does_not_take_are_named_and_not_lost(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    limit = 12 * MEGABYTE
    app = application("raw", topic("in", max_message_bytes=limit), topic("out"))
    large = b"x" * 10 * MEGABYTE
    rows = [Row("a", "before"), Row("a", large), Row("a", "after")]
    feed(app.servers, app.inputs[0], rows, **ROOMY)
    error = app.start().fails().splitlines()[-1]
    assert error.startswith("penstock.errors.DataError: to-2"), error
    assert app.outputs[0] in error
    assert "max.message.bytes=1048588" in error
    assert "offset 1" in error
    checking.configure(app.servers, app.outputs[0], {"max.message.bytes": str(limit)})
    app.run_through()
    assert [r.value for r in app.read_output()] == [b"before", large, b"after"]


@pytest.mark.parametrize("size", [999_000, 1_000_100, 1_048_400])
def test_a_record_just_below_the_default_limit_passes(
    size: int, kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    """The client's own limit is lower than the broker's; what came in has to go out."""
    app = application("raw", topic("in"), topic("out"))
    feed(app.servers, app.inputs[0], [Row("a", b"x" * size)], **ROOMY)
    app.run_through()
    assert [len(r.value or b"") for r in app.read_output()] == [size]


def test_headers_count_for_the_size_of_a_record(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("raw", topic("in", max_message_bytes=2 * MEGABYTE), topic("out"))
    rows = [Row("a", "before"), Row("a", b"x" * 900_000, headers=[("long", b"x" * 200_000)])]
    feed(app.servers, app.inputs[0], rows, **ROOMY)
    error = app.start().fails().splitlines()[-1]
    assert error.startswith("penstock.errors.DataError: to-2"), error
    assert "max.message.bytes=1048588" in error
    assert "offset 1" in error


def test_a_topic_with_a_low_limit_takes_many_small_records(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    """The broker holds the limit against whole batches of records."""
    app = application("map", topic("words"), topic("upper", max_message_bytes=5_000))
    feed(app.servers, app.inputs[0], words(20_000))
    app.run_through()
    app.check_map()


def test_state_that_outgrows_its_changelog_is_named_and_not_lost(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    limit = 2 * MEGABYTE
    app = application("join", topic("in", partitions=1), topic("out", max_message_bytes=limit))
    feed(app.servers, app.inputs[0], [Row("a", "x" * 400_000) for _ in range(4)])
    error = app.start().fails().splitlines()[-1]
    assert error.startswith("penstock.errors.DataError: aggregate-1 joined"), error
    assert app.changelog("joined") in error
    assert "max.message.bytes=1048588" in error
    assert f"{app.inputs[0]}/0 offset 2" in error
    changelog = {"max.message.bytes": str(limit)}
    checking.configure(app.servers, app.changelog("joined"), changelog)
    app.run_through()
    assert len(app.read_output()[-1].value or b"") == 1_600_000


# Where to begin


def test_the_latest_start_skips_what_is_there_and_misses_nothing_later(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("map", topic("words"), topic("upper"), start="latest")
    feed(app.servers, app.inputs[0], words(100))
    app.start()
    app.wait_drained()  # the starts are committed, though nothing was read
    app.kill()
    feed(app.servers, app.inputs[0], words(100, first=100))  # while nobody is there
    app.run_through()
    assert numbers(app) == list(range(100, 200))


def test_a_start_in_time_skips_what_is_older(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    begin = datetime.datetime.fromtimestamp((BEGIN_MS + 60) / 1000, datetime.UTC)
    app = application("map", topic("words"), topic("upper"), start=begin.isoformat())
    feed(app.servers, app.inputs[0], words(100))
    app.run_through()
    assert numbers(app) == list(range(60, 100))


def test_a_start_in_the_future_waits_at_the_end(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("map", topic("words"), topic("upper"), start="2100-01-01T00:00:00+00:00")
    feed(app.servers, app.inputs[0], words(100))
    app.run_through()
    assert numbers(app) == []


# Which topics


def test_a_list_of_topics_with_different_partition_counts_is_merged(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    inputs = [
        topic("small", partitions=2),
        topic("large", partitions=5),
        topic("one", partitions=1),
    ]
    app = application("map", inputs, topic("upper"))
    for number, name in enumerate(app.inputs):
        feed(app.servers, name, words(500, first=number * 500))
    app.run_through()
    assert numbers(app) == list(range(1_500))
    app.check_map()
    app.check_ends()


def test_a_pattern_takes_the_topics_that_match_as_a_whole(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    matching = [topic("shop-north"), topic("shop-south")]
    other = topic("workshop-north")
    app = application("map", matching, topic("upper"), pattern="shop-(north|south)-[0-9a-f]+")
    for number, name in enumerate([*matching, other]):
        feed(app.servers, name, words(500, first=number * 500))
    app.run_through()
    assert numbers(app) == list(range(1_000))
    app.check_map()


def test_a_destination_is_chosen_for_each_record(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    prefix = topic("routed")
    for name in ("red", "green"):
        create_topic(kafka.bootstrap_servers, f"{prefix}-{name}", 3)
    app = application("routed", topic("in"), prefix)
    rows = [Row(f"key-{n}", f"{('red', 'green')[n % 2]}:{n}") for n in range(200)]
    feed(app.servers, app.inputs[0], rows)
    app.run_through()
    sent = app.read_inputs()
    for name in ("red", "green"):
        found = checking.read(app.servers, f"{prefix}-{name}").records
        wanted = [r for r in sent if (r.value or b"").startswith(name.encode())]
        checking.check_mapped(wanted, found, bytes)
    app.check_committed()


def test_equal_keys_go_where_other_producers_send_them(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    """As Kafka's own partitioner does: joining with topics that others write depends on it."""
    app = application("map", topic("words", partitions=7), topic("upper", partitions=7))
    feed(app.servers, app.inputs[0], words(2_000, keys=500))
    app.run_through()
    places = defaultdict(set)
    for record in [*app.read_inputs(), *app.read_output()]:
        places[record.key].add(record.partition)
    assert {len(partitions) for partitions in places.values()} == {1}


def numbers(app: Application) -> list[int]:
    """The numbers of the words that came out."""
    return sorted(int((r.value or b"").removeprefix(b"WORD-")) for r in app.read_output())
