"""Tables of a stream or a topic: the latest value of each key."""

import pytest

import penstock as ps
from penstock.errors import DataError, TopologyError
from penstock.testing import TestDriver


def test_the_last_value_of_a_key_stays():
    """Within a batch and over batches, in the order of offsets, whatever the timestamps."""
    app = ps.App("app")
    table = app.table("names", key=str, value=str, name="names")
    table.to("out")
    with TestDriver(app) as driver:
        names = driver.topic("names")
        with driver.batch():
            names.send("x", key="a", at=9)
            names.send("y", key="a", at=5)
        names.send("z", key="b")
        assert driver.topic("out").read() == [("a", "y"), ("b", "z")]
        assert driver.topic("out").read_timestamps() == [5, 0]
        driver.crash()
        assert driver.store(table).get("a") == "y"


def test_a_null_deletes():
    """In a topic that is read as a table; the deletion goes on."""
    app = ps.App("app")
    table = app.table(ps.Topic("names", key=str, value=str), name="names")
    table.to("out")
    with TestDriver(app) as driver:
        names = driver.topic("names")
        names.send("x", key="a")
        names.send(None, key="a")
        assert driver.store(table).get("a") is None
        assert driver.topic("out").read() == [("a", "x"), ("a", None)]


def test_every_update_is_handed_on_where_somebody_can_tell():
    """In front of a count a table hands on each change."""
    app = ps.App("app")
    table = app.table("names", key=str, value=str, name="names")
    table.to_stream().group_by_key().count(name="updates").to("out")
    with TestDriver(app) as driver:
        with driver.batch():
            for name in ("x", "y", "z"):
                driver.topic("names").send(name, key="a")
        assert driver.topic("out").read() == [("a", 3)]


def test_a_user_cannot_change_what_is_stored():
    """What the table hands on shares nothing with its store."""
    app = ps.App("app")
    table = app.table("lists", key=str, value=list[int], name="lists")
    table.to_stream().map(lambda found: found.append(9), value=int).filter(bool).to("out")
    with TestDriver(app) as driver:
        driver.topic("lists").send([1], key="a")
        assert driver.store(table).get("a") == [1]


def test_records_without_a_key_are_dropped():
    """A stream of raw keys may have nulls, a table may not."""
    app = ps.App("app")
    table = app.stream("names", value=str).to_table(name="names")
    with TestDriver(app) as driver:
        driver.topic("names").send("x")
        driver.topic("names").send("y", key=b"")
        assert driver.store(table).get(b"") == "y"


def test_a_key_that_its_serde_refuses_names_its_record():
    """Bytes that are no text do not become state."""
    app = ps.App("app")
    app.table("names", key=str, value=str, name="names").to("out")
    with TestDriver(app) as driver, pytest.raises(DataError, match="names/0 offset 0"):
        driver.topic("names").send_bytes(b"x", key=b"\xff")


def test_a_topic_is_a_table_or_a_stream_of_one_type():
    """Reading it as both is fine as long as the types are the same."""
    app = ps.App("app")
    app.table("names", key=str, value=str, name="names")
    app.stream("names", key=str, value=bytes).to("out")
    with pytest.raises(TopologyError, match="different types"):
        app.topology()


@pytest.mark.parametrize("name", ["", "a/b", ".x"])
def test_a_table_has_a_safe_name(name):
    """It becomes part of a topic and a folder."""
    with pytest.raises(TopologyError, match="cannot be the name of a table"):
        ps.App("app").table("names", key=str, value=str, name=name)
