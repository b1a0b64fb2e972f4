"""App: what is refused before anything is connected, and what the errors say."""

import dataclasses
import re
from pathlib import Path

import msgspec
import pytest

import penstock as ps
from penstock.errors import TopologyError


class View(msgspec.Struct):
    """A Struct."""

    user: str
    at: int


@pytest.mark.parametrize("id", ["", "a b", "..", "a/b", "ä", "x" * 201, None, 5])
def test_an_id_becomes_part_of_topics(id):
    """An id with other characters is refused and shown."""
    with pytest.raises(TopologyError, match="the name of an application") as caught:
        ps.App(id)
    assert repr(id) in str(caught.value)


def test_unknown_words_are_refused_with_the_known_ones():
    """A guarantee or a policy that does not exist names those that do."""
    with pytest.raises(TopologyError, match="'exactly_once' or 'at_least_once'"):
        ps.App("app", guarantee="at_most_once")
    with pytest.raises(TopologyError, match=r"on_error='ignore'.*Use 'fail'"):
        ps.App("app", on_error="ignore")


def test_defaults_and_what_is_given():
    """Nothing is connected or made by declaring an application."""
    app = ps.App("app")
    assert (app.id, app.brokers, app.guarantee, app.state_dir) == (
        "app",
        None,
        "exactly_once",
        None,
    )
    assert app.settings == ps.Settings()
    other = ps.App("app", brokers="b:1", guarantee="at_least_once", state_dir="/nowhere/at/all")
    assert (other.brokers, other.guarantee) == ("b:1", "at_least_once")
    assert other.state_dir == Path("/nowhere/at/all")
    assert not Path("/nowhere").exists()


@pytest.mark.parametrize("source", ["", [], [""], ["a", 3], (), None, 5])
def test_a_source_names_topics(source):
    """Names, lists, patterns and Topics are sources; the error lists them."""
    with pytest.raises(TopologyError, match=r"names no topic.*a list of names"):
        ps.App("app").stream(source)


def test_a_topic_has_its_types_already():
    """Types beside a Topic would be a second truth."""
    topic = ps.Topic("views", key=str, value=View)
    with pytest.raises(TopologyError, match="'views' has its types already"):
        ps.App("app").stream(topic, value=dict)


def test_a_topic_keeps_its_event_time():
    """Timestamp and unit of a Topic are those of the stream."""
    app = ps.App("app")
    app.stream(ps.Topic("views", value=View, timestamp="at", unit="s"))
    (node,) = app.topology()
    assert node.source.extract(View("a", 3)) == 3_000


def test_event_time_is_checked_against_the_value():
    """A field that the value does not have, and an unknown unit, fail at declaration."""
    app = ps.App("app")
    with pytest.raises(TopologyError, match=r"View has no field 'time'.*user, at"):
        app.stream("views", value=View, timestamp="time")
    with pytest.raises(TopologyError, match="'minutes' is not a unit"):
        app.stream("views", value=View, timestamp="at", unit="minutes")


def test_names_lists_and_patterns():
    """Each form of a source shows in the topology."""
    app = ps.App("app")
    app.stream("a")
    app.stream(["b", "c"])
    app.stream(re.compile("d-.*"))
    app.stream(ps.Topic("e"))
    assert [node.source.topics for node in app.topology()] == [("a",), ("b", "c"), (), ("e",)]
    assert [node.detail for node in app.topology()] == ["a", "b, c", "d-.*", "e"]


def test_a_declaration_is_immutable_once_taken():
    """Steps are values."""
    app = ps.App("app")
    app.stream("a")
    (node,) = app.topology()
    with pytest.raises(dataclasses.FrozenInstanceError):
        node.kind = "other"
