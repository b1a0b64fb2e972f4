"""The TestDriver as a user would use it: programs in tests, without a broker."""

import re
from typing import Any

import msgspec
import pytest

import penstock as ps
from penstock.errors import DataError, TopologyError
from penstock.testing import TestDriver, TestTopic


class View(msgspec.Struct):
    """A page view."""

    user: str
    page: str
    at: int = 0


class Payment(msgspec.Struct):
    """A payment."""

    card: str
    amount: float


VIEWS = ps.Topic("views", key=str, value=View, timestamp="at")
COUNTS = ps.Topic("views-per-user", key=str, value=int)


def views_app() -> ps.App:
    """Counts of views per user, without health checks."""
    app = ps.App("page-views")
    (
        app.stream(VIEWS)
        .filter(lambda view: view.page != "/health")
        .group_by_key()
        .count(name="views-per-user")
        .to(COUNTS)
    )
    return app


def upper(text: str) -> str:
    """Upper case."""
    return text.upper()


def half(n: int) -> int:
    """Half of an even number; others are poison."""
    if n % 2:
        raise ValueError(f"{n} is odd")
    return n // 2


def test_a_program_runs_record_by_record():
    """One send is one committed batch."""
    with TestDriver(views_app()) as driver:
        views, counts = driver.topic(VIEWS), driver.topic(COUNTS)
        views.send(View("ann", "/"), key="ann")
        views.send(View("ann", "/health"), key="ann")
        views.send(View("bob", "/"), key="bob")
        views.send(View("ann", "/cart"), key="ann")
        assert counts.read() == [("ann", 1), ("bob", 1), ("ann", 2)]
        assert counts.read() == []


def test_each_reader_reads_from_the_start():
    """Two handles on a topic read independently."""
    with TestDriver(views_app()) as driver:
        driver.topic(VIEWS).send(View("ann", "/"), key="ann")
        assert driver.topic(COUNTS).read() == driver.topic(COUNTS).read() == [("ann", 1)]


def test_a_batch_commits_once():
    """What is sent inside a batch gives one change per key."""
    with TestDriver(views_app()) as driver:
        views, counts = driver.topic(VIEWS), driver.topic(COUNTS)
        with driver.batch():
            for user in ("ann", "bob", "ann", "ann"):
                views.send(View(user, "/"), key=user)
            assert counts.read() == []
        assert counts.read() == [("ann", 3), ("bob", 1)]


def test_a_crash_keeps_what_is_committed():
    """State comes back from its changelog, and positions from the commits."""
    app = views_app()
    with TestDriver(app) as driver:
        views, counts = driver.topic(VIEWS), driver.topic(COUNTS)
        views.send(View("ann", "/"), key="ann")
        driver.crash()
        views.send(View("ann", "/"), key="ann")
        driver.crash()
        driver.crash()
        views.send(View("ann", "/"), key="ann")
        assert counts.read() == [("ann", 1), ("ann", 2), ("ann", 3)]


def test_a_crash_in_a_batch_processes_it_again():
    """What was sent and not committed is still in its topic."""
    with TestDriver(views_app()) as driver:
        views = driver.topic(VIEWS)
        with driver.batch():
            views.send(View("ann", "/"), key="ann")
            driver.crash()
            views.send(View("ann", "/"), key="ann")
        assert driver.topic(COUNTS).read() == [("ann", 2)]


def test_a_store_shows_committed_state():
    """A table's store answers by key, before and after a crash; unknown keys have None."""
    app = ps.App("app")
    table = app.stream("in", key=str, value=int).group_by_key().reduce(max, name="largest")
    with TestDriver(app) as driver:
        for n in (3, 7, 5):
            driver.topic("in").send(n, key="a")
        assert driver.store(table).get("a") == 7
        driver.crash()
        assert driver.store(table).get("a") == 7
        assert driver.store(table).get("b") is None
    other = ps.App("other").stream("in", key=str, value=int).group_by_key().count(name="no")
    with TestDriver(app) as driver, pytest.raises(TopologyError, match="no store named 'no'"):
        driver.store(other)


def test_a_bad_record_is_named_and_nothing_is_committed():
    """The error has topic, partition, offset and operator; its batch leaves no trace."""
    app = ps.App("app")
    numbers = app.stream("in", key=str, value=int)
    table = numbers.group_by_key().count(name="seen")
    numbers.map(half).to("out")
    with TestDriver(app) as driver:
        sent, out = driver.topic("in"), driver.topic("out")
        sent.send(2, key="a")
        with pytest.raises(DataError, match="3 is odd") as caught, driver.batch():
            sent.send(4, key="a")
            sent.send(3, key="b")
            sent.send(6, key="a")
        error = caught.value
        assert (error.topic, error.partition, error.offset) == ("in", 0, 2)
        assert error.operator == "map-2"
        assert isinstance(error.__cause__, ValueError)
        for fact in ("in/0", "offset 2", "map-2", "half", "ValueError"):
            assert fact in str(error)
        assert out.read() == [("a", 1)]
        assert driver.store(table).get("a") == 1
        assert driver.store(table).get("b") is None
        sent.send(8, key="a")
        assert out.read() == [("a", 4)]
        assert driver.store(table).get("a") == 2


def test_the_very_first_record_may_be_bad():
    """It leaves nothing behind either, not even itself."""
    app = ps.App("app")
    app.stream("in", key=str, value=int).map(half).to("out")
    with TestDriver(app) as driver:
        sent = driver.topic("in")
        with pytest.raises(DataError):
            sent.send(1, key="a")
        assert sent.read() == []
        sent.send(2, key="a")
        assert driver.topic("out").read() == [("a", 1)]
        assert sent.read() == [("a", 2)]


def test_a_function_behind_a_table_names_the_record():
    """An error at the commit is traced back to the record that caused it."""
    app = ps.App("app")
    totals = (
        app.stream("in", key=str, value=int)
        .group_by_key()
        .reduce(lambda a, b: a + b, name="totals")
    )
    totals.to_stream().map(half).to("out")
    with TestDriver(app) as driver:
        sent = driver.topic("in")
        sent.send(2, key="a")
        with pytest.raises(DataError, match="5 is odd") as caught, driver.batch():
            sent.send(4, key="b")
            sent.send(3, key="a")
        assert (caught.value.topic, caught.value.offset) == ("in", 2)
        assert driver.store(totals).get("a") == 2
        assert driver.store(totals).get("b") is None
        sent.send(4, key="b")
        assert driver.topic("out").read() == [("a", 1), ("b", 2)]


def test_a_passing_state_does_not_fail_a_batch():
    """Behind a table only the last change of a batch counts, so an odd total in between is fine."""
    app = ps.App("app")
    totals = (
        app.stream("in", key=str, value=int)
        .group_by_key()
        .reduce(lambda a, b: a + b, name="totals")
    )
    totals.to_stream().map(half).to("out")
    with TestDriver(app) as driver:
        with driver.batch():
            driver.topic("in").send(1, key="a")
            driver.topic("in").send(1, key="a")
        assert driver.topic("out").read() == [("a", 1)]


@pytest.mark.parametrize("data", [b"", b"\x00" * 7, b"nope"])
def test_bytes_that_are_no_value_name_the_source(data):
    """An undecodable record is the stream's failure, with the coordinates of the record."""
    app = ps.App("app")
    app.stream("in", key=str, value=int).to("out")
    with TestDriver(app) as driver:
        with pytest.raises(DataError) as caught:
            driver.topic("in").send_bytes(data, key=b"a")
        assert caught.value.operator == "stream-0"
        assert caught.value.offset == 0
        assert driver.topic("out").read() == []


def test_a_wrong_result_names_the_sink():
    """A value that its topic's serde refuses is found where it would be written."""
    app = ps.App("app")
    app.stream("in", key=str, value=int).map(str, value=int).to("out")
    with TestDriver(app) as driver:
        with pytest.raises(DataError) as caught:
            driver.topic("in").send(1, key="a")
        assert caught.value.operator == "to-2"


def test_stages_are_connected_by_topics():
    """What one sub-topology writes, another one reads, in the same send."""
    app = ps.App("app")
    by_card = ps.Topic("by-card", key=str, value=Payment)
    (
        app.stream("payments", value=Payment)
        .map_record(lambda record: (record.value.card, record.value), key=str, value=Payment)
        .to(by_card)
    )
    total = (
        app.stream(by_card)
        .group_by_key()
        .aggregate(float, lambda total, payment: total + payment.amount, name="per-card")
    )
    total.to("totals")
    with TestDriver(app) as driver:
        payments = driver.topic("payments")
        payments.send(Payment("x", 2.0))
        payments.send(Payment("y", 1.0))
        driver.crash()
        payments.send(Payment("x", 0.5))
        assert driver.topic("totals").read() == [("x", 2.0), ("y", 1.0), ("x", 2.5)]
        assert [key for key, _ in driver.topic(by_card).read()] == ["x", "y", "x"]


def test_headers_pass_through_steps_and_end_at_tables():
    """Record-wise steps keep headers, functions of the record see them, aggregates drop them."""
    app = ps.App("app")
    stream = app.stream("in", key=str, value=str)
    seen: list[Any] = []
    stream.map_record(lambda r: (seen.append(list(r.headers)), (r.key, r.value))[1]).to(
        ps.Topic("same", key=str, value=str)
    )
    stream.map(upper).to("out")
    stream.group_by_key().count(name="c").to("counts")
    headers = [("trace", b"1"), ("trace", None)]
    with TestDriver(app) as driver:
        driver.topic("in").send("a", key="k", headers=headers)
        driver.topic("in").send("b", key="k")
        assert seen == [headers, []]
        assert [row[3] for row in driver._committed("out")] == [headers, None]
        assert [row[3] for row in driver._committed("same")] == [headers, None]
        assert [row[3] for row in driver._committed("counts")] == [None, None]


def test_records_carry_event_time():
    """A sink carries its record's time, a table the largest of its contributors."""
    with TestDriver(views_app()) as driver:
        views = driver.topic(VIEWS)
        for at in (500, 900, 200):
            views.send(View("ann", "/", at), key="ann")
        driver.crash()
        views.send(View("ann", "/", 100), key="ann")
        assert driver.topic(COUNTS).read_timestamps() == [500, 900, 900, 900]


def test_the_clock_stands_still():
    """A record without a time gets the driver's, which moves when told."""
    app = ps.App("app")
    app.stream("in", key=str, value=str).to("out")
    with TestDriver(app, now=1_000) as driver:
        driver.topic("in").send("a", key="k")
        driver.topic("in").send("b", key="k")
        driver.advance("1.5s")
        driver.topic("in").send("c", key="k")
        driver.topic("in").send("d", key="k", at=7)
        assert driver.topic("out").read_timestamps() == [1_000, 1_000, 2_500, 7]
        with pytest.raises(TopologyError):
            driver.advance("-1s")


def test_null_values_are_dropped_in_streams():
    """A tombstone means nothing in a typed stream; a raw stream hands it on."""
    app = ps.App("app")
    typed = app.stream("typed", key=str, value=str)
    typed.to("out")
    typed.group_by_key().count(name="c")
    app.stream("raw").to("raw-out")
    with TestDriver(app) as driver:
        driver.topic("typed").send(None, key="a")
        driver.topic("typed").send("", key="a")
        driver.topic("raw").send(None, key=b"a")
        driver.topic("raw").send(None)
        assert driver.topic("out").read() == [("a", "")]
        assert driver.topic("raw-out").read() == [(b"a", None), (None, None)]


def test_a_table_writes_tombstones():
    """A result of None deletes the key, which then begins anew."""
    app = ps.App("app")
    table = (
        app.stream("in", key=str, value=int)
        .group_by_key()
        .reduce(lambda a, b: a + b if b else None, name="r")
    )
    table.to("out")
    with TestDriver(app) as driver:
        for n in (1, 2, 0, 5):
            driver.topic("in").send(n, key="a")
        assert driver.topic("out").read() == [("a", 1), ("a", 3), ("a", None), ("a", 5)]
        driver.topic("in").send(0, key="a")
        assert driver.store(table).get("a") is None
        driver.crash()
        assert driver.store(table).get("a") is None


def test_dead_keys_stop_typed_streams_only():
    """A null key is refused where key= is declared; without it, it belongs to no group."""
    app = ps.App("app")
    app.stream("typed", key=str, value=int).to("typed-out")
    raw = app.stream("raw", value=int)
    raw.to("raw-out")
    counts = raw.group_by_key().count(name="c")
    counts.to("counts")
    with TestDriver(app) as driver:
        with pytest.raises(DataError, match="leave key= out"):
            driver.topic("typed").send(1)
        driver.topic("typed").send(1, key="")
        assert driver.topic("typed-out").read() == [("", 1)]
        driver.topic("raw").send(1)
        driver.topic("raw").send(1, key=b"")
        assert driver.topic("raw-out").read() == [(None, 1), (b"", 1)]
        assert driver.topic("counts").read() == [(b"", 1)]


def test_a_function_names_the_topic():
    """Each record goes to the topic that the function names, in order."""
    app = ps.App("app")
    app.stream("in", key=str, value=int).to(lambda n: "odd" if n % 2 else "even")
    with TestDriver(app) as driver:
        with driver.batch():
            for n in range(5):
                driver.topic("in").send(n, key="k")
        assert driver.topic("odd").read() == [("k", 1), ("k", 3)]
        assert driver.topic("even").read() == [("k", 0), ("k", 2), ("k", 4)]


def test_a_list_of_topics_is_one_stream():
    """All topics of a list are read, each with its own offsets."""
    app = ps.App("app")
    app.stream(["a", "b"], key=str, value=int).group_by_key().count(name="c").to("out")
    with TestDriver(app) as driver:
        driver.topic("a").send(1, key="k")
        driver.topic("b").send(1, key="k")
        driver.topic("a").send(1, key="k")
        assert driver.topic("out").read() == [("k", 1), ("k", 2), ("k", 3)]


def test_a_pattern_matches_the_topics_that_a_test_names():
    """Naming a topic is what creating it is on a cluster."""
    app = ps.App("app")
    app.stream(re.compile("in-.*"), key=str, value=int).group_by_key().count(name="c").to("out")
    with TestDriver(app) as driver:
        first = driver.topic("in-a")
        first.send(1, key="k")
        driver.topic(ps.Topic("in-b", key=str, value=int)).send(1, key="k")
        first.send(1, key="k")
        assert driver.topic("out").read() == [("k", 1), ("k", 2), ("k", 3)]
        with pytest.raises(TopologyError, match="'other'"):
            driver.topic("other")


def test_unknown_topics_are_refused():
    """A name that the application neither reads nor writes is a typing error."""
    with (
        TestDriver(views_app()) as driver,
        pytest.raises(TopologyError, match="neither reads nor writes the topic 'veiws'"),
    ):
        driver.topic("veiws")


def test_emission_of_every_update():
    """emit="every_update" hands on each change of a batch, else the last one of each key."""
    app = ps.App("app")
    grouped = app.stream("in", key=str, value=int).group_by_key()
    grouped.count(name="each", emit="every_update").to("each")
    grouped.count(name="last").to("last")
    with TestDriver(app) as driver:
        with driver.batch():
            for _ in range(3):
                driver.topic("in").send(1, key="k")
        assert driver.topic("each").read() == [("k", 1), ("k", 2), ("k", 3)]
        assert driver.topic("last").read() == [("k", 3)]


def test_branches_explode_select_merge_and_peek():
    """The steps of the surface in one program."""

    class Item(msgspec.Struct):
        code: str
        qty: int

    class Invoice(msgspec.Struct):
        city: str
        items: list[Item]

    app = ps.App("app")
    seen: list[str] = []
    lines = (
        app.stream("invoices", key=str, value=Invoice)
        .peek(lambda invoice: seen.append(invoice.city))
        .explode("items", rename="item")
        .select("city", "item.code", n="item.qty")
    )
    many, few = lines.branch(lambda line: line["n"] > 1, lambda line: True)
    many.map(lambda line: {**line, "many": True}, value=dict).merge(few).to(
        ps.Topic("lines", key=str, value=dict)
    )
    with TestDriver(app) as driver:
        driver.topic("invoices").send(Invoice("Rome", [Item("a", 1), Item("b", 2)]), key="1")
        driver.topic("invoices").send(Invoice("Oslo", []), key="2")
        assert seen == ["Rome", "Oslo"]
        assert sorted(driver.topic("lines").read(), key=str) == [
            ("1", {"city": "Rome", "code": "a", "n": 1}),
            ("1", {"city": "Rome", "code": "b", "n": 2, "many": True}),
        ]


def test_pytest_does_not_collect_the_driver():
    """Classes named Test* are a user's imports, not tests."""
    assert TestDriver.__test__ is False
    assert TestTopic.__test__ is False
