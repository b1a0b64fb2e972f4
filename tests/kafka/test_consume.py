"""`penstock consume` on the real broker: what it shows is there, as much as was asked for."""

import json
import signal
import struct
import subprocess
import sys
import time

import pytest

from penstock.testing.kafka_server import KafkaServer
from tests.kafka import checking
from tests.kafka.commands import call, iso, objects, refusal
from tests.kafka.conftest import TopicFactory
from tests.kafka.feeding import BEGIN_MS, Row, feed, feed_transaction, feed_transactions, words
from tests.kafka.workers import WAIT_S

pytestmark = pytest.mark.kafka


def test_committed_records_are_shown_up_to_the_end(kafka: KafkaServer, topic: TopicFactory) -> None:
    name, servers = topic("in"), kafka.bootstrap_servers
    feed_transaction(servers, name, words(300))
    feed_transaction(servers, name, words(50, first=300), commit=False)
    feed_transaction(servers, name, words(10, first=350))
    found = objects("consume", name, "--from", "earliest", brokers=servers)
    read = checking.read(servers, name).records
    assert len(found) == len(read) == 310
    assert {
        (at["partition"], at["offset"], at["key"], at["value"], at["timestamp"]) for at in found
    } == {
        (r.partition, r.offset, (r.key or b"").decode(), (r.value or b"").decode(), r.timestamp)
        for r in read
    }
    first = objects("consume", name, "--from", "earliest", "--limit", "7", brokers=servers)
    assert len(first) == 7
    assert all(at in found for at in first)


def test_the_last_records_are_as_many_as_asked_for(kafka: KafkaServer, topic: TopicFactory) -> None:
    """Markers stand between them, most where each record is a transaction."""
    name, servers = topic("in", partitions=2), kafka.bootstrap_servers
    rows = words(40)
    feed_transactions(servers, name, rows)
    feed_transaction(servers, name, words(30), commit=False)
    for number in (1, 10, 25, 1_000):
        found = objects("consume", name, "--from", f"-{number}", brokers=servers)
        assert [at["value"] for at in found] == [row.value for row in rows][-number:]
    assert len(objects("consume", name, brokers=servers)) == 10


def test_filters_by_key_and_by_time(kafka: KafkaServer, topic: TopicFactory) -> None:
    name, servers = topic("in"), kafka.bootstrap_servers
    rows = words(200, keys=5)
    feed(servers, name, rows)
    found = objects("consume", name, "--key", "key-3", brokers=servers)
    assert {at["value"] for at in found} == {row.value for row in rows if row.key == "key-3"}
    since, until = iso(BEGIN_MS + 50), iso(BEGIN_MS + 150)
    found = objects("consume", name, "--since", since, "--until", until, brokers=servers)
    assert {at["value"] for at in found} == {row.value for row in rows[50:150]}
    found = objects("consume", name, "--from", since, brokers=servers)
    assert {at["value"] for at in found} == {row.value for row in rows[50:]}
    assert not objects("consume", name, "--from", "latest", brokers=servers)


def test_types_and_headers_are_shown(kafka: KafkaServer, topic: TopicFactory) -> None:
    name, servers = topic("in", partitions=1), kafka.bootstrap_servers
    feed(
        servers,
        name,
        [
            Row(struct.pack(">q", 5), '{"a": 1}', BEGIN_MS, [("n", b"1")]),
            Row(b"x", b"\x1b[31mred", BEGIN_MS + 1),
        ],
    )
    typed = ["--key-type", "int", "--value-type", "json", "--headers"]
    first, second = objects("consume", name, *typed, brokers=servers)
    assert (first["key"], first["value"]) == (5, {"a": 1})
    assert first["headers"] == [{"name": "n", "value": "1"}]
    assert (second["key_hex"], second["headers"]) == ("78", [])
    text = call("consume", name, *typed, brokers=servers)
    assert '  5  {"a": 1}  [n=1]' in text
    assert r"x (no int)  \x1b[31mred (no json)" in text
    assert "\x1b" not in text


def test_following_shows_what_comes_until_ctrl_c(kafka: KafkaServer, topic: TopicFactory) -> None:
    name, servers = topic("in"), kafka.bootstrap_servers
    feed(servers, name, words(3))
    command = [sys.executable, "-m", "penstock.cli", "consume", name]
    command += ["-f", "--from", "-2", "--json"]
    process = subprocess.Popen(
        [*command, "--brokers", servers], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        old = [json.loads(process.stdout.readline())["value"] for _ in range(2)]
        feed(servers, name, words(2, first=3))
        new = [json.loads(process.stdout.readline())["value"] for _ in range(2)]
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=WAIT_S)
    finally:
        process.kill()
    assert (old, sorted(new)) == (["word-1", "word-2"], ["word-3", "word-4"])
    assert (process.returncode, out, err) == (130, "", "")


def test_a_topic_that_does_not_exist(kafka: KafkaServer) -> None:
    said = refusal("consume", "no", brokers=kafka.bootstrap_servers)
    assert "Topic no does not exist" in said


def test_a_mistyped_topic_is_guessed(kafka: KafkaServer, topic: TopicFactory) -> None:
    name = topic("page-views")
    said = refusal("consume", name.replace("page", "pgae"), brokers=kafka.bootstrap_servers)
    assert f"Did you mean {name}" in said


def test_a_reader_that_has_seen_enough_ends_it_quietly(
    kafka: KafkaServer, topic: TopicFactory
) -> None:
    """As in: penstock consume views --from earliest | head -1."""
    name, servers = topic("in"), kafka.bootstrap_servers
    feed(servers, name, words(20_000))
    command = [sys.executable, "-m", "penstock.cli", "consume", name, "--from", "earliest"]
    process = subprocess.Popen(
        [*command, "--brokers", servers], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(WAIT_S) == 1
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.communicate()
