"""Bad records leave a dead letter each, and nothing else."""

import pytest

from tests.kafka import checking
from tests.kafka.apps import BAD, ODD
from tests.kafka.bad import UNDECODABLE, check_dead_letters, good
from tests.kafka.conftest import ApplicationFactory, TopicFactory
from tests.kafka.feeding import BEGIN_MS, Row, feed, words

pytestmark = pytest.mark.kafka


def mixed(count: int) -> list[Row]:
    """Words with two kinds of bad ones at the head, at the end, and here and there."""
    rows: list[Row] = []
    for n, row in enumerate(words(count)):
        if n % 97 == 0 or n == count - 1:
            rows.append(row._replace(value=f"{BAD}-{n}", headers=[("n", b"%d" % n)]))
        elif n % 89 == 0:
            rows.append(row._replace(value=UNDECODABLE))
        rows.append(row)
    return rows


def test_bad_records_among_good_ones(topic: TopicFactory, application: ApplicationFactory) -> None:
    app = application("picky", topic("in"), [topic("out"), topic("dead")])
    feed(app.servers, app.inputs[0], mixed(3_000))
    app.run_through()
    check_dead_letters(app)
    checking.check_mapped(good(app.read_inputs()), app.read_output(0), bytes.upper)
    assert "The record is a dead letter in dead-" in app.text()


def test_a_bad_record_alone(topic: TopicFactory, application: ApplicationFactory) -> None:
    app = application("picky", topic("in"), [topic("out"), topic("dead")])
    feed(app.servers, app.inputs[0], [Row("a", BAD)])
    app.run_through()
    check_dead_letters(app)
    assert not app.read_output(0)


def test_ten_thousand_bad_records_in_a_row(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("picky", topic("in", partitions=1), [topic("out"), topic("dead")])
    bad = [Row(f"k{n % 7}", f"{BAD}-{n}", BEGIN_MS + n) for n in range(10_000)]
    feed(app.servers, app.inputs[0], [*words(500), *bad, *words(500, first=500)])
    app.run_through()
    check_dead_letters(app)
    checking.check_mapped(good(app.read_inputs()), app.read_output(0), bytes.upper)


def test_bad_records_behind_a_repartition_topic_and_state(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    """In a stateful function, in a serde behind the state, and too large for the sink."""
    sink = topic("out", max_message_bytes=1_000)
    app = application("picky-deep", topic("in", partitions=1), [sink, topic("dead")])
    kinds = (f"{BAD}-", f"{ODD}-", "x" * 2_000)
    rows: list[Row] = []
    bad: set[bytes] = set()
    for n, row in enumerate(words(2_000)):
        rows.append(row)
        if n % 149 == 0 or n == 1_999:
            worse = f"{kinds[n % 3]}{row.value}"
            bad.add(worse.encode())
            rows += [row._replace(value=worse)]
    feed(app.servers, app.inputs[0], rows)
    repartition = f"{app.id}-by-ending-repartition"
    app.start()
    app.wait_for_progress()
    app.wait_through(
        lambda: checking.all_committed(app.servers, app.id, [*app.inputs, repartition]),
        "all is committed",
    )
    app.stop()
    letters = app.read_output(1)
    assert sorted(letter.value or b"" for letter in letters) == sorted(bad)
    told = [dict(letter.headers or []) for letter in letters]
    classes = {headers["__penstock.error.class"] for headers in told}
    assert classes == {b"ZeroDivisionError", b"ValueError"}
    assert {headers["__penstock.error.topic"] for headers in told} == {repartition.encode()}
    kept = [r for r in app.read_inputs() if r.value not in bad]
    states: dict[bytes, list[bytes]] = {}
    for record in checking.by_ending(kept):
        states.setdefault(record.key or b"", []).append((record.value or b"").upper())
    checking.check_updates(states, app.read_output(0))


def test_records_that_the_broker_refuses(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    """A compacted topic takes no record without a key: the commit fails, and says not which."""
    sink = topic("out", cleanup_policy="compact")
    app = application("picky-raw", topic("in"), [sink, topic("dead")])
    rows = [
        Row(None, f"lost-{n}", BEGIN_MS + n, partition=n % 4)
        if n in (0, 700, 701, 1_999)
        else Row(f"k{n}", f"kept-{n}", BEGIN_MS + n)
        for n in range(2_000)
    ]
    feed(app.servers, app.inputs[0], rows)
    app.run_through()
    letters = app.read_output(1)
    assert sorted(r.value or b"" for r in letters) == [
        b"lost-0",
        b"lost-1999",
        b"lost-700",
        b"lost-701",
    ]
    classes = {dict(letter.headers or [])["__penstock.error.message"] for letter in letters}
    assert all(b"INVALID_RECORD" in (told or b"") for told in classes), classes
    kept = [record for record in app.read_inputs() if record.key is not None]
    checking.check_mapped(kept, app.read_output(0), bytes)


def test_too_many_stop_the_application(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("guarded", topic("in", partitions=1), [topic("out"), topic("dead")])
    bad = [Row("k", f"{BAD}-{n}", BEGIN_MS + n) for n in range(50)]
    feed(app.servers, app.inputs[0], [*words(100), *bad])
    last = app.start().fails().rstrip().splitlines()[-1]
    assert last.startswith("penstock.errors.DataError: ")
    assert "records in a row, more than max_run=20 of dead_letter('dead-" in last
