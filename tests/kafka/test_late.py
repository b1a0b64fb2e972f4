"""Late records in their topic, and windows that close in silence, on a real cluster."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import islice

import pytest

from penstock.testing.kafka_server import KafkaServer
from tests.kafka import checking
from tests.kafka.conftest import ApplicationFactory, TopicFactory
from tests.kafka.feeding import BEGIN_MS, Row, feed, open_transaction
from tests.kafka.kills import kill_under_load
from tests.kafka.windowing import GRACE_MS, SIZE_MS, Window, check_closed, closed, events
from tests.kafka.workers import Application

pytestmark = pytest.mark.kafka

PREFIX = "__penstock.late."
Place = tuple[str, int, int]


def late_ones(records: Iterable[checking.Record]) -> dict[Place, dict[str, bytes]]:
    """Return what a naive reader finds to be late, and what is to be told of it."""
    clocks: dict[int, int] = defaultdict(lambda: -1)
    found: dict[Place, dict[str, bytes]] = {}
    for record in records:
        clocks[record.partition] = clock = max(clocks[record.partition], record.timestamp)
        start = record.timestamp // SIZE_MS * SIZE_MS
        if start + SIZE_MS + GRACE_MS <= clock:
            told = {
                "store": "counts",
                "window.start": start,
                "window.end": start + SIZE_MS,
                "stream_time": clock,
                "topic": record.topic,
                "partition": record.partition,
                "offset": record.offset,
                "timestamp": record.timestamp,
            }
            place = (record.topic, record.partition, record.offset)
            found[place] = {PREFIX + name: str(value).encode() for name, value in told.items()}
    return found


def check_letters(app: Application) -> int:
    """Compare the topic of late records with the inputs; return how many there are."""
    inputs = {(r.topic, r.partition, r.offset): r for r in app.read_inputs()}
    expected = late_ones(inputs.values())
    found: Counter[Place] = Counter()
    for letter in app.read_output(1):
        told = dict(letter.headers or [])
        place = (
            (told[PREFIX + "topic"] or b"").decode(),
            int(told[PREFIX + "partition"] or -1),
            int(told[PREFIX + "offset"] or -1),
        )
        origin = inputs[place]
        found[place] += 1
        assert (letter.key, letter.value) == (origin.key, origin.value)
        assert letter.timestamp == origin.timestamp
        assert told == {**dict(origin.headers or []), **expected[place]}
    assert found == Counter(dict.fromkeys(expected, 1))
    return len(expected)


def test_each_late_record_is_there_once_through_kills(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("windows-late", topic("words"), [topic("closed"), topic("late")])
    rows = (row._replace(headers=[("h", b"x")]) for row in events())
    kill_under_load(app, rows, per_second=4_000)
    app.run_through()
    assert check_closed(app.read_inputs(), app.read_output()) == check_letters(app) > 100, (
        "the load has late records"
    )


def test_a_topic_for_late_records_has_to_exist(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("windows-late", topic("words"), [topic("closed"), "no-such-topic"])
    app.start()
    assert "no-such-topic (late= of a window writes it) does not exist" in app.fails()


@pytest.mark.parametrize("name", ["windows-idle", "windows-idle-regrouped"])
def test_windows_close_on_a_cluster_where_nothing_comes(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory, name: str
) -> None:
    """All of them, with all of their records, each once; not while a transaction is open."""
    app = application(name, topic("words"), [topic("closed"), topic("late")])
    rows = [Row(f"key-{n % 7}", f"word-{n % 7}", BEGIN_MS + n * 5) for n in range(2_000)]
    feed(kafka.bootstrap_servers, app.inputs[0], islice(rows, 1_900))
    app.start()
    last = Row("key-0", "word-0", BEGIN_MS + 1_900 * 5)
    with open_transaction(kafka.bootstrap_servers, app.inputs[0], [last], commit=True):
        app.wait_until(lambda: len(app.read_output()) > 0, "something is closed")
        app.wait_until(lambda: said_nothing_for(app, 3.0), "what is not held back is closed")
        held = (last.value or "")[-2:] if name.endswith("regrouped") else last.key
        assert newest(app, str(held).encode()) < last.timestamp // SIZE_MS * SIZE_MS
    expected: Counter[Window] = Counter()
    for row in app.read_inputs():
        key = (row.value or b"")[-2:] if name.endswith("regrouped") else row.key or b""
        expected[key, row.timestamp // SIZE_MS * SIZE_MS] += 1
    app.wait_until(lambda: len(app.read_output()) >= len(expected), "all windows are closed")
    if name == "windows-idle":
        feed(kafka.bootstrap_servers, app.inputs[0], rows[:1])
        app.wait_until(lambda: len(app.read_output(1)) == 1, "what is behind that is late")
    app.stop()
    found = closed(app.read_output())
    assert len(found) == len(dict(found)), "a window has closed twice"
    assert dict(found) == expected


def said_nothing_for(app: Application, seconds: float) -> bool:
    """Whether nothing has been closed for a while."""
    before = len(app.read_output())
    time.sleep(seconds)
    return len(app.read_output()) == before


def newest(app: Application, key: bytes) -> int:
    """Where the last window of a key begins that is closed."""
    return max((start for (of, start), _ in closed(app.read_output()) if of == key), default=-1)
