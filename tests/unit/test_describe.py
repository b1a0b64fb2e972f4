"""A topology as text and as a diagram: what people compare before they deploy."""

import pytest

import penstock as ps
from penstock.errors import TopologyError


def upper(text: str) -> str:
    """Upper case."""
    return text.upper()


def shop() -> ps.App:
    """Two sub-topologies, two stores, one of them in front of a count of updates."""
    app = ps.App("shop")
    orders = app.stream(["orders", "returns"], key=str, value=int)
    totals = orders.group_by_key().reduce(max, name="totals")
    totals.to("totals")
    totals.to_stream().group_by_key().count(name="updates").to("updates")
    app.stream("names", key=str, value=str).filter(bool).to(ps.Topic("named", key=str, value=str))
    return app


TEXT = """\
Application shop

  Sub-topology 0
    stream-0 orders, returns
    reduce-1 totals <- stream-0
    to-2 totals <- reduce-1
    to_stream-3 <- reduce-1
    count-4 updates <- to_stream-3
    to-5 updates <- count-4
    store totals: key-value str int; changelog shop-totals-changelog
      reduce-1 emits every update
    store updates: key-value str int; changelog shop-updates-changelog
      count-4 emits one change per key and commit

  Sub-topology 1
    stream-6 names
    filter-7 bool <- stream-6
    to-8 named <- filter-7
"""
MERMAID = """\
flowchart TD
  subgraph sub0["Sub-topology 0"]
    n0(["stream orders, returns"])
    n1[("reduce totals")]
    n2(["to totals"])
    n3["to_stream"]
    n4[("count updates")]
    n5(["to updates"])
  end
  subgraph sub1["Sub-topology 1"]
    n6(["stream names"])
    n7["filter bool"]
    n8(["to named"])
  end
  n0 --> n1
  n1 --> n2
  n1 --> n3
  n3 --> n4
  n4 --> n5
  n6 --> n7
  n7 --> n8
"""


def test_the_text_shows_steps_stores_and_topics():
    """Every step with its parents, every store with its formats and changelog."""
    assert shop().describe() == TEXT


def test_the_diagram_shows_the_same():
    """One box per sub-topology, stores as cylinders, topics rounded."""
    assert shop().describe(format="mermaid") == MERMAID


def test_quotes_do_not_break_the_diagram():
    """A name with a quote stays one label."""
    app = ps.App("app")
    app.stream('a"b', key=str, value=str).to("out")
    assert 'n0(["stream a\'b"])' in app.describe(format="mermaid")


def test_functions_are_shown_with_their_lines():
    """A step with a function names the file and line of it."""
    app = ps.App("app")
    app.stream("a", key=str, value=str).map(upper).to("out")
    line = f"map-1 upper ({__file__}:{upper.__code__.co_firstlineno}) <- stream-0"
    assert line in app.describe()


def test_what_is_wrong_is_not_described():
    """A topology that is refused raises instead of showing something."""
    with pytest.raises(TopologyError):
        ps.App("app").describe()


def test_what_becomes_of_bad_records_is_said():
    """Where it is not that the application stops."""
    app = ps.App("app", on_error=ps.dead_letter("dead"))
    app.stream("in", value=int, on_error="skip").to("out")
    text = app.describe()
    assert "  Records that fail: dead letters to dead\n" in text
    assert "stream-0 in (records that fail: skip)\n" in text
