"""Windows on a real cluster: each closes once, with all of its records, whatever happens."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec
import pytest

from penstock.testing.kafka_server import KafkaServer
from tests.kafka import checking
from tests.kafka.conftest import ApplicationFactory, TopicFactory
from tests.kafka.feeding import BEGIN_MS, Load, Row, feed
from tests.kafka.workers import Application

pytestmark = pytest.mark.kafka

SIZE_MS, GRACE_MS, STEP_MS = 1_000, 100, 7
SKEW_MS = 300_000
Window = tuple[bytes, int]  # a key, and where its window starts


def events(*, keys: int = 20, seed: int = 1, disorder_ms: int = 400) -> Iterator[Row]:
    """Make rows for ever, out of order, some of them later than the grace."""
    draw = random.Random(seed)
    for number in range(1_000_000):
        at = BEGIN_MS - SKEW_MS + number * STEP_MS - draw.randrange(disorder_ms)
        yield Row(f"key-{draw.randrange(keys)}", f"word-{number}", at)


def interpreted(records: Iterable[checking.Record]) -> tuple[dict[int, Counter[Window]], int]:
    """Count as a naive reader does: by partition and window, and how many records were late."""
    clocks: dict[int, int] = defaultdict(lambda: -1)
    counts: dict[int, Counter[Window]] = defaultdict(Counter)
    late = 0
    for record in records:
        clocks[record.partition] = clock = max(clocks[record.partition], record.timestamp)
        start = record.timestamp // SIZE_MS * SIZE_MS
        if start + SIZE_MS + GRACE_MS <= clock:
            late += 1
        else:
            counts[record.partition][record.key or b"", start] += 1
    for partition, of in counts.items():
        for window in [w for w in of if w[1] + SIZE_MS + GRACE_MS > clocks[partition]]:
            del of[window]
    return counts, late


def closed(records: Iterable[checking.Record]) -> list[tuple[Window, int]]:
    """Return the windows of an output in its order, with their counts."""
    found: list[tuple[Window, int]] = []
    for record in records:
        key = msgspec.json.decode(record.key or b"", type=dict[str, object])
        window = (str(key["key"]).encode(), int(str(key["start"])))
        assert key["end"] == window[1] + SIZE_MS
        found.append((window, int.from_bytes(record.value or b"", "big")))
    return found


def check_closed(app: Application) -> int:
    """Compare what was appended with what a naive reader makes of the inputs; return the lates."""
    expected, late = interpreted(app.read_inputs())
    by_partition: dict[int, list[checking.Record]] = defaultdict(list)
    for record in app.read_output():
        by_partition[record.partition].append(record)
    for partition, windows in expected.items():
        found = closed(by_partition[partition])
        assert found == sorted(found, key=lambda of: of[0][1]), "not in the order of time"
        assert len(found) == len(dict(found)), "a window has closed twice"
        assert dict(found) == windows
    return late


def test_windows_close_once_and_in_order_through_kills(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("windows", topic("words"), [topic("closed"), topic("counts")])
    with Load(kafka.bootstrap_servers, {app.inputs[0]: events()}, per_second=4_000):
        for _ in range(4):
            app.start()
            app.wait_for_progress()
            app.kill()
    app.start()
    app.wait_drained()
    app.stop()
    assert check_closed(app) > 100, "the load has late records"


def test_restored_windows_go_on(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("windows", topic("words"), [topic("closed"), topic("counts")])
    rows = events()
    for _ in range(3):
        feed(kafka.bootstrap_servers, app.inputs[0], islice(rows, 2_000))
        app.run_through()
        app.forget_stores()
    check_closed(app)


def test_partitions_far_apart_make_each_other_late_nowhere(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    """Four partitions of one outage, five minutes apart, read one after the other."""
    app = application("windows-regrouped", topic("words"), topic("closed"))
    for partition in range(4):
        first = BEGIN_MS - SKEW_MS * (partition + 1)
        rows = (
            Row(f"key-{number % 10}", f"word-{number % 10}", first + number * 100, None, partition)
            for number in range(3_000 * (partition + 1))
        )
        feed(kafka.bootstrap_servers, app.inputs[0], rows)
    app.start()
    expected: Counter[Window] = Counter()
    for record in app.read_inputs():
        key = (record.value or b"")[-2:]
        expected[key, record.timestamp // SIZE_MS * SIZE_MS] += 1
    newest = max(start for _, start in expected)
    done = {window: n for window, n in expected.items() if window[1] < newest}
    app.wait_until(lambda: len(app.read_output()) >= len(done), "all windows are closed")
    app.stop()
    assert dict(closed(app.read_output())) == done
