"""Patterns of topics: what they match, what they never match, and what follows from it."""

import re

import pytest

import penstock as ps
from penstock.errors import TopologyError
from penstock.topology.resolve import resolve


def declared(pattern="in-.*"):
    """An application that reads a pattern."""
    app = ps.App("app")
    app.stream(re.compile(pattern), key=str, value=int).map(lambda n: n, value=int).to("out")
    return app.topology()


def found(topics, pattern="in-.*"):
    """The topics that a pattern becomes."""
    (part,) = resolve(declared(pattern), topics).sub_topologies
    return part.topics


def test_whole_names_match():
    """A pattern has to match the whole name."""
    assert found(["in-a", "in-b", "xin-c", "in"]) == ("in-a", "in-b")
    assert found(["in", "in-a"], "in") == ("in",)


def test_internal_topics_never_match():
    """Neither Kafka's own topics nor those of this application are inputs."""
    topics = ["__consumer_offsets", "app-s-changelog", "app-r-repartition", "app-progress", "app"]
    assert found([*topics, "other-s-changelog"], ".*") == ("app", "other-s-changelog")


def test_a_pattern_without_a_match_is_refused():
    """The error shows the pattern and what can be done."""
    with pytest.raises(TopologyError, match=r"'in-\.\*'.*create the topic first"):
        found(["other"])


def test_a_topology_without_patterns_stays_what_it_is():
    """Nothing is resolved where nothing has to be."""
    app = ps.App("app")
    app.stream("a", key=str, value=int).to("out")
    topology = app.topology()
    assert resolve(topology, []) is topology


def test_the_steps_behind_a_pattern_stay_connected():
    """The resolved topology has the same steps in the same order."""
    before = declared()
    after = resolve(before, ["in-a"])
    assert [node.kind for node in after] == [node.kind for node in before]
    for old, new in zip(before, after, strict=True):
        assert [before.nodes.index(p) for p in old.parents] == [
            after.nodes.index(p) for p in new.parents
        ]


def test_a_match_joins_the_part_that_reads_it():
    """A pattern that matches another stream's topic runs in its sub-topology."""
    app = ps.App("app")
    app.stream("in-a", key=str, value=int).to("x")
    app.stream(re.compile("in-.*"), key=str, value=int).to("y")
    assert len(app.topology().sub_topologies) == 2
    assert len(resolve(app.topology(), ["in-a", "in-b"]).sub_topologies) == 1


def test_a_match_of_another_type_is_refused():
    """A topic is read as one type, also where a pattern finds it."""
    app = ps.App("app")
    app.stream("in-a", key=str, value=int).to("x")
    app.stream(re.compile("in-.*"), key=str, value=str).to("y")
    with pytest.raises(TopologyError, match="in-a with different types"):
        resolve(app.topology(), ["in-a"])
