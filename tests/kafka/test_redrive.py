"""`penstock dead-letters` on the real broker: what it tells is there, what it sends comes once."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from confluent_kafka import IsolationLevel

from penstock.cli.redriving import MISDIRECTED
from penstock.engine.failures import PREFIX
from penstock.runtime.producer import TransactionalProducer
from penstock.testing.kafka_server import KafkaServer
from tests.kafka import checking, commands
from tests.kafka.apps import BAD
from tests.kafka.conftest import ApplicationFactory, TopicFactory
from tests.kafka.feeding import BEGIN_MS, Row, feed, feed_transaction, words
from tests.kafka.workers import WAIT_S

pytestmark = pytest.mark.kafka

PARTITIONS = 4  # of the topics that dead letters came from


def dead(number: int, origin: str, **told: str) -> Row:
    """Make a dead letter by hand: its number tells where it came from."""
    error = {
        "class": "ValueError",
        "message": "no such luck",
        "topic": origin,
        "partition": str(number % PARTITIONS),
        "offset": str(number),
        "operator": "map-1 picky",
        "application": "shop",
        **told,
    }
    headers = [("n", b"%d" % number)]
    headers += [(PREFIX + name, text.encode()) for name, text in error.items()]
    return Row(f"key-{number % 7}", f"value-{number}", BEGIN_MS + number, headers)


def call(*arguments: str, brokers: str) -> str:
    return commands.call("dead-letters", *arguments, brokers=brokers)


def check_once(servers: str, origin: str, numbers: Sequence[int]) -> None:
    """Each record is there once, as it was and where it was."""
    found = checking.read(servers, origin).records
    counted = Counter(record.value or b"" for record in found)
    expected = {b"value-%d" % number for number in numbers}
    assert counted.keys() == expected, f"{len(counted)} of {len(expected)} values"
    doubled = {value: n for value, n in counted.items() if n > 1}
    assert not doubled, f"{len(doubled)} are doubled, such as {next(iter(doubled))!r}"
    for record in found:
        number = int((record.value or b"").rpartition(b"-")[2])
        assert record.key == b"key-%d" % (number % 7)
        assert record.partition == number % PARTITIONS
        assert record.timestamp == BEGIN_MS + number
        assert record.headers == [("n", b"%d" % number)]


def test_the_dead_letters_of_an_application_are_listed_shown_and_redriven(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("picky", topic("in"), [topic("out"), topic("dead")])
    rows = words(500)
    rows[100:100] = [Row(f"k{n}", f"{BAD}-{n}", BEGIN_MS + n) for n in range(20)]
    feed(app.servers, app.inputs[0], rows)
    app.run_through()
    letters = app.outputs[1]

    (kind,) = json.loads(call("list", letters, "--json", brokers=app.servers))
    assert (kind["error"], kind["topic"]) == ("ZeroDivisionError", app.inputs[0])
    assert (kind["application"], kind["count"], kind["waiting"]) == (app.id, 20, 20)
    assert (kind["first_ms"], kind["last_ms"]) == (BEGIN_MS, BEGIN_MS + 19)
    table = call("list", letters, brokers=app.servers)
    assert "ZeroDivisionError" in table
    assert app.inputs[0] in table

    shown = ["dead-letters", "show", letters, "--limit", "1"]
    (last,) = commands.objects(*shown, brokers=app.servers)
    assert (last["key"], last["value"], last["waiting"]) == ("k19", f"{BAD}-19", True)
    at = [str(last["partition"]), str(last["offset"])]
    text = call("show", letters, *at, brokers=app.servers)
    assert f"{BAD}-19" in text
    assert "ZeroDivisionError: no such luck" in text

    said = json.loads(call("redrive", letters, "--dry-run", "--json", brokers=app.servers))
    assert said == {"sent": {app.inputs[0]: 20}, "left": {}, "dry_run": True}
    assert len(app.read_inputs()) == 520
    said = json.loads(call("redrive", letters, "--json", brokers=app.servers))
    assert said == {"sent": {app.inputs[0]: 20}, "left": {}, "dry_run": False}
    assert "No dead letter" in call("redrive", letters, brokers=app.servers)
    (kind,) = json.loads(call("list", letters, "--json", brokers=app.servers))
    assert (kind["count"], kind["waiting"]) == (20, 0)

    sent = Counter(record.value for record in app.read_inputs())
    assert all(sent[b"%s-%d" % (BAD.encode(), n)] == 2 for n in range(20))


def test_each_goes_to_where_it_came_from_and_what_cannot_is_left(
    kafka: KafkaServer, topic: TopicFactory
) -> None:
    letters, one, other = topic("dead", partitions=2), topic("one"), topic("other")
    servers = kafka.bootstrap_servers
    feed_transaction(servers, letters, [dead(n, one) for n in range(100)])
    feed_transaction(servers, letters, [dead(n, one) for n in range(100, 120)], commit=False)
    feed(servers, letters, [dead(n, other) for n in range(200, 300)])
    feed(servers, letters, [dead(n, one, omitted="value") for n in range(300, 303)])
    feed(servers, letters, [Row("a", "no dead letter"), Row(None, None)])
    feed(servers, letters, [dead(n, "__consumer_offsets") for n in range(400, 404)])
    feed(servers, letters, [dead(404, letters)])
    said = json.loads(call("redrive", letters, "--json", brokers=servers))
    assert said["sent"] == {one: 100, other: 100}
    assert said["left"] == {
        "without their payload": 3,
        "without the headers of a dead letter": 2,
        MISDIRECTED: 5,
    }
    check_once(servers, one, range(100))
    check_once(servers, other, range(200, 300))
    feed(servers, letters, [dead(n, one) for n in range(100, 110)])
    assert f"Sent 10 dead letters to {one}." in call("redrive", letters, brokers=servers)
    check_once(servers, one, range(110))


def test_another_topic_takes_them_by_their_keys(kafka: KafkaServer, topic: TopicFactory) -> None:
    letters, other, servers = topic("dead"), topic("other", 3), kafka.bootstrap_servers
    rows = [dead(n, "gone") for n in range(50)]
    rows += [row._replace(key=None, value=None) for row in rows[:6]]
    feed(servers, letters, rows)
    call("redrive", letters, "--to", other, brokers=servers)
    found = checking.read(servers, other).records
    assert len(found) == 56
    partitions: dict[bytes | None, set[int]] = {}
    for record in found:
        partitions.setdefault(record.key, set()).add(record.partition)
    assert partitions.pop(None) == {0, 1, 2}
    assert all(len(numbers) == 1 for numbers in partitions.values())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["redrive", "{dead}"], "Topic gone does not exist"),
        (["redrive", "{dead}", "--to", "{dead}"], "where the dead letters are"),
        (["redrive", "{dead}", "--to", "gone-too"], "Topic gone-too does not exist"),
        (["list", "gone"], "Topic gone does not exist"),
        (["show", "{dead}", "9", "0"], "partitions 0 to 3"),
        (["show", "{dead}", "0", "99"], "cannot be shown"),
    ],
)
def test_what_is_not_there_is_told_in_one_paragraph(
    kafka: KafkaServer, topic: TopicFactory, arguments: list[str], told: str
) -> None:
    letters, servers = topic("dead"), kafka.bootstrap_servers
    feed(servers, letters, [dead(n, "gone") for n in range(20)])
    named = [argument.format(dead=letters) for argument in arguments]
    assert told in commands.refusal("dead-letters", *named, brokers=servers)


def test_a_redrive_that_is_killed_goes_on_and_sends_each_once(
    kafka: KafkaServer, topic: TopicFactory
) -> None:
    letters, origin, servers = topic("dead", partitions=2), topic("in"), kafka.bootstrap_servers
    numbers = range(14_000)
    feed(servers, letters, [dead(n, origin) for n in numbers])
    for _ in range(2):
        process = redrive_until_something_is_sent(servers, letters, origin)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    assert 0 < sum(checking.ends(servers, [origin]).values()) < len(numbers)
    call("redrive", letters, brokers=servers)
    check_once(servers, origin, numbers)


def test_a_redrive_that_stalls_is_put_out_by_the_next_one(
    kafka: KafkaServer, topic: TopicFactory
) -> None:
    letters, origin, servers = topic("dead", partitions=2), topic("in"), kafka.bootstrap_servers
    numbers = range(15_000)
    feed(servers, letters, [dead(n, origin) for n in numbers])
    process = redrive_until_something_is_sent(servers, letters, origin)
    try:
        process.send_signal(signal.SIGSTOP)
        said = json.loads(call("redrive", letters, "--json", brokers=servers))
        assert 0 < said["sent"][origin] < len(numbers)
        process.send_signal(signal.SIGCONT)
        _, error = process.communicate(timeout=WAIT_S)
    finally:
        process.kill()
    assert process.returncode == 1, error
    assert "sends nothing twice" in error
    check_once(servers, origin, numbers)


def test_two_redrives_that_run_at_once_send_each_once(
    kafka: KafkaServer, topic: TopicFactory
) -> None:
    letters, origin, servers = topic("dead", partitions=2), topic("in"), kafka.bootstrap_servers
    numbers = range(10_000)
    feed(servers, letters, [dead(n, origin) for n in numbers])
    processes = [start_redrive(servers, letters) for _ in range(2)]
    said = [process.communicate(timeout=WAIT_S) for process in processes]
    codes = sorted(process.returncode for process in processes)
    assert codes in ([0, 0], [0, 1]), said
    check_once(servers, origin, numbers)


def start_redrive(servers: str, letters: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "penstock.cli", "dead-letters", "redrive", letters]
    return subprocess.Popen(
        [*command, "--brokers", servers], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def redrive_until_something_is_sent(
    servers: str, letters: str, origin: str
) -> "subprocess.Popen[str]":
    """Start a redrive, and return while it is at work."""
    before = written(servers, origin)
    process = start_redrive(servers, letters)
    deadline = time.monotonic() + WAIT_S
    while written(servers, origin) < before + 3_000:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(f"it has ended, or sends nothing: {process.communicate()}")
        time.sleep(0.002)
    return process


def written(servers: str, topic: str) -> int:
    return sum(checking.ends(servers, [topic], IsolationLevel.READ_UNCOMMITTED).values())


def test_the_check_notices_offsets_that_are_not_in_the_transaction(
    kafka: KafkaServer, topic: TopicFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: what another redrive sends again is found."""
    letters, origin, servers = topic("dead"), topic("in"), kafka.bootstrap_servers
    feed(servers, letters, [dead(n, origin) for n in range(10)])

    def forget(self: TransactionalProducer, offsets: Any, consumer: Any) -> None:
        """Commit nothing."""

    monkeypatch.setattr(TransactionalProducer, "send_offsets", forget)
    call("redrive", letters, brokers=servers)
    check_once(servers, origin, range(10))
    call("redrive", letters, brokers=servers)
    with pytest.raises(AssertionError, match="10 are doubled"):
        check_once(servers, origin, range(10))
