"""Windows on a real cluster: each closes once, with all of its records, whatever happens."""

from collections import Counter
from itertools import islice

import pytest

from penstock.testing.kafka_server import KafkaServer
from tests.kafka import windowing
from tests.kafka.conftest import ApplicationFactory, TopicFactory
from tests.kafka.feeding import BEGIN_MS, Row, feed
from tests.kafka.kills import kill_under_load
from tests.kafka.windowing import SIZE_MS, SKEW_MS, Window, closed, events
from tests.kafka.workers import QUICK, Application

pytestmark = pytest.mark.kafka


def check_closed(app: Application) -> int:
    """Compare what was appended with what a naive reader makes of the inputs; return the lates."""
    return windowing.check_closed(app.read_inputs(), app.read_output())


def test_windows_close_once_and_in_order_through_kills(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("windows", topic("words"), [topic("closed"), topic("counts")])
    kill_under_load(app, events(), per_second=4_000)
    app.run_through()
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


def far_apart(app: Application, servers: str) -> dict[Window, int]:
    """Write what four partitions of one outage hold, five minutes apart; return what they count."""
    for partition in range(4):
        first = BEGIN_MS - SKEW_MS * (partition + 1)
        rows = (
            Row(f"key-{number % 10}", f"word-{number % 10}", first + number * 100, None, partition)
            for number in range(3_000 * (partition + 1))
        )
        feed(servers, app.inputs[0], rows)
    expected: Counter[Window] = Counter()
    for record in app.read_inputs():
        key = (record.value or b"")[-2:]
        expected[key, record.timestamp // SIZE_MS * SIZE_MS] += 1
    newest = max(start for _, start in expected)
    return {window: n for window, n in expected.items() if window[1] < newest}


def test_partitions_far_apart_make_each_other_late_nowhere(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    """They are read one after the other."""
    app = application("windows-regrouped", topic("words"), topic("closed"))
    done = far_apart(app, kafka.bootstrap_servers)
    app.start()
    app.wait_until(lambda: len(app.read_output()) >= len(done), "all windows are closed")
    app.stop()
    assert dict(closed(app.read_output())) == done


def test_to_go_by_the_records_themselves_is_noticed(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    """Which is what Kafka Streams does: most records would come too late."""
    app = application("windows-regrouped", topic("words"), topic("closed"))
    done = far_apart(app, kafka.bootstrap_servers)
    app.start(sabotage="go-by-records")
    app.wait_drained()
    app.wait_until(lambda: bool(app.read_output()), "windows are closed")
    app.stop()
    total, counted = sum(done.values()), sum(dict(closed(app.read_output())).values())
    print(f"{total - counted} of {total} records would be dropped")
    assert counted < 0.9 * total


def test_sessions_behind_a_topic_are_exact_through_kills(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    """Each is closed once, with all of its records; who upserts and deletes has them all."""
    outputs = [topic("closed"), topic("regrouped"), topic("sessions"), topic("updates")]
    app = application("all-windows", topic("words"), outputs, kafka=QUICK)
    kill_under_load(app, windowing.skewed(), per_second=4_000)
    app.start()
    windowing.check_all(app, app.wait_until)
    app.stop()
