"""Disorder on a real broker: what is read back is of the kinds, and in the order, of the summary.

Values carry their number and event time, and a reader that knows only the topic recounts the
kinds: what cannot be decoded, what is there twice, what is older than its neighbours, and what
stands behind a record that was made after it.
"""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections import Counter, defaultdict

import msgspec
import pytest

from penstock.cli.events.disorder import Kind, Shares
from penstock.cli.events.keys import draw_keys
from penstock.cli.events.model_loading import Model
from penstock.cli.events.models import Fields, ModelEvents
from penstock.cli.events.pacing import Pace
from penstock.cli.events.producing import Plan, produce_events
from penstock.cli.events.sending import Sender
from penstock.cli.target import find_topic
from penstock.runtime.clock import now_ms
from penstock.serde import avro
from penstock.serde import json as json_serde
from penstock.testing.kafka_server import KafkaServer
from tests.kafka.checking import read
from tests.kafka.commands import iso, objects, refusal

pytestmark = pytest.mark.kafka

START_MS = now_ms() - 7_200_000  # young enough not to be retired
LATE_BY_MS = 3_600_000
SHARES = Shares(late=0.02, duplicates=0.03, out_of_order=0.04, poison=0.01, late_by_ms=LATE_BY_MS)


class Order(msgspec.Struct):
    user: str
    n: int
    at: int
    note: str | None = None


DECODE = json_serde(Order).decode


def orders(seed=1, serde=None):
    found = Model(name="Order", type=Order, serde=serde or json_serde(Order))
    return ModelEvents(found, seed, fields=Fields(key="user"), keys=draw_keys("zipf:50", seed))


def plan(count, seed=1, **options):
    return Plan(
        pace=Pace(count=count, **options), shares=SHARES, seed=seed, start_ms=START_MS,
        count_keys=True,
    )  # fmt: skip


def recount(records, decode):
    """Tell the kinds of records from nothing but what stands in the topic.

    Without disorder event n happens at START_MS + n; `n` counts poison too, which has a number
    that nobody can read.
    """
    kinds, seen = Counter(), set()
    newest = defaultdict(lambda: -1)
    for record in records:
        try:
            value = decode(record.value)
        except ValueError:
            kinds[Kind.POISON] += 1
            continue
        assert record.timestamp == value.at
        if (record.partition, value.n) in seen:
            kinds[Kind.DUPLICATE] += 1
            continue
        seen.add((record.partition, value.n))
        if value.at == START_MS + value.n - LATE_BY_MS:
            kinds[Kind.LATE] += 1
        else:
            assert value.at == START_MS + value.n
            behind = value.n < newest[record.partition]
            kinds[Kind.OUT_OF_ORDER if behind else Kind.CLEAN] += 1
        newest[record.partition] = max(newest[record.partition], value.n)
    return kinds


def assert_recounted(summary, records, decode=DECODE):
    assert summary.failed == 0
    assert dict(recount(records, decode)) == {k: n for k, n in summary.kinds.items() if n}
    assert summary.key_counts == Counter(record.key for record in records)
    assert summary.records == len(records)


@pytest.mark.parametrize("serde", [json_serde(Order), avro(Order)], ids=["json", "avro"])
def test_kinds_are_what_is_read_back(kafka, topic, serde):
    """Each record's kind, each key's number; shares within five standard deviations."""
    target = find_topic(topic("orders"), brokers=kafka.bootstrap_servers)
    summary = produce_events(target, orders(serde=serde), plan(20_000))
    assert_recounted(summary, read(target.brokers, target.topic).records, serde.decode)
    for kind, share in ((Kind.LATE, 0.02), (Kind.DUPLICATE, 0.03), (Kind.POISON, 0.01)):
        bound = 5 * math.sqrt(20_000 * share * (1 - share))
        assert abs(summary.kinds[kind] - 20_000 * share) <= bound
    assert summary.records == 20_000


def test_the_recount_notices_what_the_summary_does_not_say(kafka, topic):
    """The negative control: a record that is missing, one too many, and another order."""
    target = find_topic(topic("orders"), brokers=kafka.bootstrap_servers)
    summary = produce_events(target, orders(), plan(2_000))
    records = read(target.brokers, target.topic).records
    assert_recounted(summary, records)
    for wrong in (records[:-1], [*records, records[-1]], records[::-1]):
        with pytest.raises(AssertionError):
            assert_recounted(summary, wrong)


def test_the_same_seed_sends_the_same_records(kafka, topic):
    """To the byte, with their times and in their order, disorder included, at any pace."""
    found = []
    for seed, rate in ((5, None), (5, 1_000), (6, None)):
        target = find_topic(topic("orders", partitions=3), brokers=kafka.bootstrap_servers)
        produce_events(target, orders(seed), plan(1_200, seed=seed, rate=rate))
        records = read(target.brokers, target.topic).records
        found.append([(r.partition, r.offset, r.key, r.value, r.timestamp) for r in records])
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_a_broker_that_dies_changes_nothing_of_the_summary(tmp_path):
    """Killed twice in mid-run: kinds, keys and offsets are those of the topic, to the record."""
    with KafkaServer(data=tmp_path) as kafka:
        target = find_topic("orders", brokers=kafka.bootstrap_servers, partitions=2)
        bounced = []

        def bounce(sent):
            if sent > 20_000 * (len(bounced) + 1) and len(bounced) < 2:
                bounced.append(sent)
                kafka.kill()
                kafka.restart()

        summary = produce_events(target, orders(), plan(80_000), on_progress=bounce)
        records = read(target.brokers, target.topic).records
    assert len(bounced) == 2
    assert summary.records == 80_000
    assert_recounted(summary, records)
    for number, at in summary.partitions.items():
        offsets = [record.offset for record in records if record.partition == number]
        assert (at.records, at.first, at.last) == (len(offsets), offsets[0], offsets[-1])


def test_a_broker_that_stays_away_fails_what_it_had_not_acknowledged(tmp_path, monkeypatch):
    """Killed for good: acknowledged and failed records are all there were, and the run ends."""
    monkeypatch.setattr("penstock.cli.events.sending.DELIVERY_TIMEOUT_S", 3.0)
    with KafkaServer(data=tmp_path) as kafka:
        target = find_topic("orders", brokers=kafka.bootstrap_servers, partitions=2)
        handed, killed = Counter(), threading.Event()
        send = Sender.send

        def counted(self, rows, partitions, kinds):
            handed["records"] += len(rows.values)
            send(self, rows, partitions, kinds)

        def kill(sent):
            if sent > 5_000 and not killed.is_set():
                killed.set()
                kafka.kill()

        monkeypatch.setattr(Sender, "send", counted)
        summary = produce_events(
            target, orders(), plan(10**6, rate=5_000, duration_ms=15_000), on_progress=kill
        )
        assert summary.failed > 0
        assert summary.records + summary.failed == handed["records"]
        assert sum(summary.kinds.values()) == summary.records == summary.key_counts.total()
        kafka.restart()
        records = read(target.brokers, target.topic).records
    # What has failed may still be in the topic; what was acknowledged is.
    assert summary.records <= len(records) <= handed["records"]


# From the command line

SHOP = """
import msgspec
class Order(msgspec.Struct):
    user: str
    n: int
    at: int
    note: str | None = None
"""


@pytest.fixture
def shop(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    file = tmp_path / f"shop_{uuid.uuid4().hex}.py"
    file.write_text(SHOP)
    yield f"{file}:Order"
    sys.modules.pop(file.stem, None)


def test_the_command_says_what_it_has_sent(kafka, topic, shop, tmp_path):
    """Counts of kinds, offsets and keys of --json and --key-counts are those of the topic."""
    name, brokers, counts = topic("orders"), kafka.bootstrap_servers, tmp_path / "counts.jsonl"
    (said,) = objects(
        *("produce", name, "--model", shop, "--key", "user", "--keys", "zipf:50", "--seed", "3"),
        *("--count", "5000", "--start", iso(START_MS), "--late", "2%", "--late-by", "1h"),
        *("--duplicates", "3%", "--out-of-order", "0.04", "--poison", "1%"),
        *("--key-counts", str(counts)),
        brokers=brokers,
    )
    records = read(brokers, name).records
    found = recount(records, json_serde(Order).decode)
    assert said["kinds"] == {kind.value: found[kind] for kind in Kind}
    assert (said["records"], said["seed"], said["failed"]) == (len(records), 3, 0)
    by_partition = defaultdict(list)
    for record in records:
        by_partition[str(record.partition)].append(record.offset)
    assert said["offsets"] == {p: [of[0], of[-1]] for p, of in by_partition.items()}
    assert said["partitions"] == {p: len(of) for p, of in by_partition.items()}
    lines = [json.loads(line) for line in counts.read_text().splitlines()]
    keys = Counter(record.key.decode() for record in records)
    assert {line["key"]: line["records"] for line in lines} == keys


def test_a_wrong_line_ends_the_run_after_what_stands_before_it(kafka, topic, tmp_path):
    """What was sent is summed up, and the line is named."""
    name, brokers, file = topic("lines"), kafka.bootstrap_servers, tmp_path / "events.jsonl"
    file.write_text('{"a": 1}\n{"a": 2}\n{"a" 3}\n{"a": 4}\n')
    said = refusal("produce", name, "--from", str(file), brokers=brokers)
    assert "Line 3 of" in said
    assert [record.value for record in read(brokers, name).records] in (
        [b'{"a": 1}', b'{"a": 2}'],
        [b'{"a": 2}', b'{"a": 1}'],
    )


def test_a_line_is_sent_when_it_comes_and_ctrl_c_ends_the_wait_for_the_next(kafka, topic):
    """As `tail -f` would feed it: nothing waits for a block to fill."""
    name, brokers = topic("lines"), kafka.bootstrap_servers
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock.cli", "produce", name, "--from", "-", "--json"],
        env=os.environ | {"PENSTOCK_BROKERS": brokers},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        process.stdin.write('{"a": 1}\n')
        process.stdin.flush()
        while not read(brokers, name).records:
            assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        out, err = process.communicate()
    finally:
        process.kill()
    assert (process.returncode, err) == (130, "")
    assert json.loads(out)["records"] == len(read(brokers, name).records) == 1


def test_small_records_are_not_lost_with_a_batch_that_is_too_large(kafka, topic):
    """Where a topic takes little, batches are as small."""
    target = find_topic(topic("small", max_message_bytes=4_000), brokers=kafka.bootstrap_servers)
    assert target.max_bytes == 4_000
    summary = produce_events(target, orders(), Plan(pace=Pace(count=5_000)))
    assert (summary.records, summary.failed) == (5_000, 0)


def test_a_record_that_is_too_large_is_told_with_both_sizes(kafka, topic):
    """What it has, and what the topic takes."""
    name = topic("small", max_message_bytes=4_000)
    said = refusal(
        "produce", name, "--template", "{hex:9000}", "--count", "1", brokers=kafka.bootstrap_servers
    )
    assert "a record of 9,000 bytes; max.message.bytes is 4,000" in said


def test_a_topic_that_is_not_there_is_told_with_the_way_to_make_it(kafka, shop):
    """Nothing is created without a number of partitions."""
    name = f"missing-{uuid.uuid4().hex[:8]}"
    said = refusal("produce", name, "--model", shop, brokers=kafka.bootstrap_servers)
    assert f"penstock produce {name} --partitions 4" in said
