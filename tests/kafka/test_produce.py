"""Producing on a real broker: what a consumer reads is what the summary says."""

import itertools
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import uuid
from collections import Counter, defaultdict

import pytest

from penstock.cli.events.pacing import Pace
from penstock.cli.events.producing import Plan, produce_events
from penstock.cli.events.summary import Acknowledged
from penstock.cli.events.templates import Template
from penstock.cli.target import find_topic
from penstock.errors import BrokerError
from penstock.testing.kafka_server import KafkaServer
from tests.kafka.checking import read
from tests.terminals import shown_on

pytestmark = pytest.mark.kafka

VIEWS = '{"user": "u{zipf:1000}", "page": "/p{choice:home,cart}", "at": {now_ms}, "n": {counter}}'
JAVA = {b"21": 1173551340, b"foobar": 1357151166, b"abc": 479470107}  # toPositive(murmur2(key))


def read_all(brokers, topic):
    """Read a topic as it stands."""
    return read(brokers, topic).records


def assert_is_what_was_read(summary, records):
    """Every figure of a summary, against the records of the topic."""
    timestamps = [record.timestamp for record in records]
    assert summary.failed == 0
    assert summary.failure == ""
    assert summary.records == len(records) == sum(summary.kinds.values())
    assert summary.bytes == sum(len(r.value) + len(r.key or b"") for r in records)
    assert summary.keys == len({record.key for record in records} - {None})
    offsets = defaultdict(list)
    for record in records:
        offsets[record.partition].append(record.offset)
    found = {p: Acknowledged(len(of), of[0], of[-1]) for p, of in offsets.items()}
    assert {p: at for p, at in summary.partitions.items() if at.records} == found
    assert (summary.first_timestamp, summary.last_timestamp) == (min(timestamps), max(timestamps))


@pytest.mark.parametrize("key", ["user", "n", None])
def test_a_consumer_reads_what_the_summary_says(kafka, topic, key):
    """Records, bytes, keys, timestamps and partitions; few keys, all distinct keys, and none."""
    target = find_topic(topic("views"), brokers=kafka.bootstrap_servers)
    summary = produce_events(target, Template(VIEWS, 1, key=key), Plan(pace=Pace(count=60_000)))
    records = read_all(target.brokers, target.topic)
    assert summary.records == 60_000
    assert set(summary.partitions) == {0, 1, 2, 3}
    assert all(at.records > 0 for at in summary.partitions.values())
    assert_is_what_was_read(summary, records)


def test_records_are_those_of_the_template(kafka, topic):
    """Values and keys arrive unchanged, each partition in order, with their now_ms as timestamp."""
    target = find_topic(topic("views"), brokers=kafka.bootstrap_servers)
    produce_events(target, Template(VIEWS, 2, key="user"), Plan(pace=Pace(count=12_345)))
    numbers = {partition: [] for partition in range(4)}
    for record in read_all(target.brokers, target.topic):
        view = json.loads(record.value)
        assert view["user"] == record.key.decode()
        assert view["at"] == record.timestamp
        numbers[record.partition].append(view["n"])
    assert sorted(itertools.chain(*numbers.values())) == list(range(12_345))
    assert all(sent == sorted(sent) for sent in numbers.values())


def test_the_same_seed_sends_the_same_records(kafka, topic):
    """Two runs of one seed fill two topics alike, at whatever pace."""
    text, found = '{"user": "u{zipf:9}", "id": "{uuid}"}', []
    for pace in (Pace(count=3_000), Pace(count=3_000, rate=6_000)):
        target = find_topic(topic("views", partitions=2), brokers=kafka.bootstrap_servers)
        produce_events(target, Template(text, 7, key="user"), Plan(pace=pace))
        records = read_all(target.brokers, target.topic)
        found.append({(m.partition, m.offset, m.key, m.value) for m in records})
    assert found[0] == found[1]


def test_keys_go_where_java_sends_them(kafka, topic):
    """Kafka's test vectors of murmur2 decide the partition."""
    target = find_topic(topic("keys", partitions=7), brokers=kafka.bootstrap_servers)
    text = '{"key": "{choice:21,foobar,abc}"}'
    produce_events(target, Template(text, key="key"), Plan(pace=Pace(count=100)))
    went = {(m.key, m.partition) for m in read_all(target.brokers, target.topic)}
    assert went == {(key, number % 7) for key, number in JAVA.items()}


def test_a_paced_run_sends_rate_times_duration(kafka, topic):
    """2000/s for half a second is 1000 records, and they do not come in one piece."""
    target = find_topic(topic("paced"), brokers=kafka.bootstrap_servers)
    seen = []
    pace = Pace(rate=2_000, duration_ms=500)
    summary = produce_events(
        target, Template("{counter}"), Plan(pace=pace), on_progress=seen.append
    )
    assert summary.records == 1_000
    assert len(seen) > 5
    assert_is_what_was_read(summary, read_all(target.brokers, target.topic))


def test_stop_ends_a_run_without_limits(kafka, topic):
    """Everything that was sent by then is acknowledged and in the summary."""
    target = find_topic(topic("endless"), brokers=kafka.bootstrap_servers)
    stop = threading.Event()

    def stop_soon(sent):
        if sent > 20_000:
            stop.set()

    summary = produce_events(target, Template("{counter}"), stop=stop, on_progress=stop_soon)
    assert summary.records > 20_000
    assert_is_what_was_read(summary, read_all(target.brokers, target.topic))


def test_a_record_that_the_broker_refuses_is_not_counted(kafka, topic):
    """The negative control of the summary: refused records are failed, and the run ends."""
    name = topic("small", partitions=2, max_message_bytes=2_000)
    target = find_topic(name, brokers=kafka.bootstrap_servers)
    template = Template('{"n": {counter}, "fill": "{hex:5000}"}', key="n")
    summary = produce_events(target, template, Plan(pace=Pace(rate=1_000)))
    found = read_all(target.brokers, target.topic)
    assert summary.failed > 0
    assert "too large" in summary.failure
    assert summary.records == len(found)
    with pytest.raises(BrokerError, match="too large"):
        summary.raise_for_failed()


def test_a_record_that_the_client_refuses_is_not_counted(kafka, topic):
    """A record above the client's limit ends the run with the client's reason."""
    target = find_topic(topic("large", partitions=1), brokers=kafka.bootstrap_servers)
    template = Template("{hex:600000}{hex:600000}")
    summary = produce_events(target, template, Plan(pace=Pace(count=5)))
    assert (summary.records, summary.bytes, summary.failed) == (0, 0, 1)
    assert "too large" in summary.failure


def test_a_broker_that_is_killed_and_comes_back_loses_and_repeats_nothing(tmp_path):
    """Kill -9 in mid-run: afterwards each record is there exactly once, in order."""
    with KafkaServer(data=tmp_path) as kafka:
        target = find_topic("views", brokers=kafka.bootstrap_servers, partitions=2)
        bounced = threading.Event()

        def bounce(sent):
            if sent > 100_000 and not bounced.is_set():
                bounced.set()
                kafka.kill()
                kafka.restart()

        template = Template('{"n": {counter}}')
        summary = produce_events(
            target, template, Plan(pace=Pace(count=300_000)), on_progress=bounce
        )
        records = read_all(target.brokers, target.topic)
    assert bounced.is_set()
    assert summary.records == 300_000
    assert_is_what_was_read(summary, records)
    assert sorted(json.loads(m.value)["n"] for m in records) == list(range(300_000))


def test_a_missing_topic_is_an_error_that_creates_it_when_followed(kafka):
    """The error names topic, brokers and --partitions; with partitions the topic appears."""
    name = f"missing-{uuid.uuid4().hex[:8]}"
    with pytest.raises(BrokerError) as caught:
        find_topic(name, brokers=kafka.bootstrap_servers)
    for part in (name, kafka.bootstrap_servers, f"penstock produce {name} --partitions 4"):
        assert part in str(caught.value)
    assert caught.value.topic == name
    assert find_topic(name, brokers=kafka.bootstrap_servers, partitions=3).partitions == 3
    assert find_topic(name, brokers=kafka.bootstrap_servers, partitions=9).partitions == 3


def test_a_name_that_kafka_refuses_is_an_error(kafka):
    """The broker's reason is passed on."""
    with pytest.raises(BrokerError, match="invalid"):
        find_topic("no spaces", brokers=kafka.bootstrap_servers, partitions=1)


def start_penstock(*arguments, stderr=subprocess.PIPE):
    command = [sys.executable, "-c", "from penstock.cli.main import main; main()", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)


def test_the_command_ends_with_one_json_object(kafka):
    """From the shell to the topic and back: the figures of --json are those of the topic."""
    name, brokers = f"cli-{uuid.uuid4().hex[:8]}", kafka.bootstrap_servers
    process = start_penstock(
        *("produce", name, "--template", VIEWS, "--key", "user", "--count", "5000"),
        *("--brokers", brokers, "--partitions", "3", "--json"),
    )
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    said, records = json.loads(out), read_all(brokers, name)
    assert said["records"] == len(records) == 5_000
    assert said["keys"] == len({m.key for m in records})
    partitions = Counter(str(m.partition) for m in records)
    assert said["partitions"] == {number: partitions[number] for number in ("0", "1", "2")}


@pytest.mark.parametrize("limits", [["--count", "300"], ["--duration", "300ms"]])
def test_on_a_terminal_progress_is_shown_on_stderr(kafka, topic, limits):
    """The bar and its rate go to the terminal; stdout is still one JSON object."""
    terminal, end = pty.openpty()
    process = start_penstock(
        *("produce", topic("shown"), "--template", "{counter}", "--rate", "1000/s", *limits),
        *("--brokers", kafka.bootstrap_servers, "--json"),
        stderr=end,
    )
    os.close(end)
    shown = shown_on(terminal)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(out)["records"] == 300
    assert re.search(rb"\d records, \d+/s", shown)
    assert b"Traceback" not in shown


@pytest.mark.parametrize("rate", ["20000/s", "500/s"])
def test_ctrl_c_flushes_and_sums_up(kafka, topic, rate):
    """SIGINT ends a run without limits: exit code 130, the summary, nothing else on stderr."""
    name, brokers = topic("interrupted"), kafka.bootstrap_servers
    process = start_penstock(
        "produce", name, "--template", VIEWS, "--brokers", brokers, "--json", "--rate", rate
    )
    try:
        while len(read_all(brokers, name)) < 100:
            assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, err) == (130, "")
    said, records = json.loads(out), read_all(brokers, name)
    assert said["records"] == len(records) >= 100
    assert said["failed"] == 0
