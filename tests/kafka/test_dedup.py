"""Deduplication on a real cluster: each distinct record once, whatever is sent and killed."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice

import pytest

from penstock.testing.kafka_server import KafkaServer
from tests.kafka import checking
from tests.kafka.conftest import ApplicationFactory, TopicFactory
from tests.kafka.feeding import BEGIN_MS, Row, feed
from tests.kafka.kills import kill_under_load
from tests.kafka.workers import Application

pytestmark = pytest.mark.kafka

WITHIN_MS, STEP_MS = 2_000, 1
SKEW_MS = 300_000


def events(*, keys: int = 20, again: float = 0.4, seed: int = 1) -> Iterator[Row]:
    """Make rows for ever, out of order; some come again, of which few are too late to be told."""
    draw = random.Random(seed)
    sent: list[Row] = []
    for number in range(1_000_000):
        at = BEGIN_MS - SKEW_MS + number * STEP_MS - draw.randrange(400)
        sent.append(Row(f"key-{draw.randrange(keys)}", f"word-{number}", at))
        yield sent[-1]
        while draw.random() < again:
            yield draw.choice(sent[-3_000:])


def first_of(records: Iterable[checking.Record]) -> tuple[dict[int, list[bytes]], int]:
    """Remember everything, as a naive reader does: what comes first by partition, and the lates."""
    clocks: dict[int, int] = defaultdict(lambda: -1)
    first: dict[int, dict[bytes, int]] = defaultdict(dict)
    late = 0
    for record in records:
        clocks[record.partition] = clock = max(clocks[record.partition], record.timestamp)
        if record.timestamp < clock - WITHIN_MS:
            late += 1
        else:
            first[record.partition].setdefault(record.value or b"", record.timestamp)
    return {partition: list(of) for partition, of in first.items()}, late


def check(app: Application) -> tuple[int, int]:
    """Compare the outputs with a naive reader's; return how many records were late and doubled."""
    inputs = app.read_inputs()
    expected, late = first_of(inputs)
    found: dict[int, list[bytes]] = defaultdict(list)
    for record in app.read_output():
        found[record.partition].append(record.value or b"")
    assert found == expected
    everything = [value for of in found.values() for value in of]
    assert len(everything) == len(set(everything)), "a record has come twice"
    kept = Counter(r.key or b"" for r in app.read_output())
    counts = {r.key: int.from_bytes(r.value or b"", "big") for r in app.read_output(1)}
    assert counts == kept, "what is behind it has not seen the same"
    return late, len(inputs) - late - len(everything)


def check_memory(app: Application) -> None:
    """What is remembered, in the changelog and on disk, is what a duplicate could still come of."""
    app.check_store("seen")
    held = checking.fold_of(app.read_changelog("seen").records)
    newest: dict[int, int] = defaultdict(int)
    for record in app.read_inputs():
        newest[record.partition] = max(newest[record.partition], record.timestamp)
    oldest = min(int.from_bytes(data[:8], "big") for data in held.values())
    assert oldest >= min(newest.values()) - 3 * WITHIN_MS - 1
    assert len(held) < len(app.read_output()) / 2


def test_each_record_goes_out_once_through_kills(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("once", topic("words"), [topic("out"), topic("counts")])
    kill_under_load(app, events(), per_second=5_000, kills=5)
    app.run_through()
    late, duplicates = check(app)
    assert late > 10
    assert duplicates > 1_000
    check_memory(app)


def test_a_restored_memory_knows_what_it_knew(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("once", topic("words"), [topic("out"), topic("counts")])
    rows = events(seed=2)
    for _ in range(3):
        feed(kafka.bootstrap_servers, app.inputs[0], islice(rows, 4_000))
        app.run_through()
        app.forget_stores()
    assert check(app)[1] > 1_000
