"""The lead of a sub-topology: who is subscribed to, and what comes with it."""

import re

import pytest

import penstock as ps
from penstock.engine.assignment import LeadMap
from penstock.errors import TopologyError
from penstock.topology.graph import Topology


def topology(*parts: str | list[str]) -> Topology:
    """One sub-topology for each part, reading its topics."""
    app = ps.App("app")
    for number, topics in enumerate(parts):
        app.stream(topics, key=str, value=int).to(f"out-{number}")
    return app.topology()


def test_the_topic_with_most_partitions_leads():
    """Most partitions win over the name."""
    leads = LeadMap(topology(["a", "b"]), {"a": 2, "b": 4})
    assert leads.topics == ["b"]
    assert leads.leads["b"].siblings == ("a",)
    assert leads.leads["b"].tasks == 4


def test_among_equals_the_name_leads():
    """With equal counts the first name leads, whatever the order of declaration."""
    assert LeadMap(topology(["b", "a", "c"]), {"a": 3, "b": 3, "c": 3}).topics == ["a"]


def test_each_sub_topology_has_a_lead():
    """The group subscribes to one topic per sub-topology, in order."""
    leads = LeadMap(topology("z", ["b", "a"]), {"a": 1, "b": 1, "z": 1})
    assert leads.topics == ["a", "z"]


def test_a_task_reads_its_partition_of_every_input():
    """The lead comes first; a sibling with fewer partitions is left out where it has none."""
    lead = LeadMap(topology(["a", "b", "c"]), {"a": 2, "b": 4, "c": 4}).leads["b"]
    assert lead.inputs(1) == [("b", 1), ("a", 1), ("c", 1)]
    assert lead.inputs(3) == [("b", 3), ("c", 3)]


def test_the_fingerprint_follows_the_map():
    """Another lead or sibling is another fingerprint; other counts of the same map are not."""
    partitions = dict.fromkeys("abcd", 4)
    first = LeadMap(topology(["a", "b"], "c"), partitions).fingerprint
    assert re.fullmatch("[0-9a-f]{8}", first)
    assert LeadMap(topology("c", ["b", "a"]), partitions).fingerprint == first
    assert LeadMap(topology(["a", "b"], "c"), dict.fromkeys("abcd", 9)).fingerprint == first
    others = [
        LeadMap(topology(["a", "b"], "c"), {**partitions, "b": 5}),
        LeadMap(topology(["a", "b"], "d"), partitions),
        LeadMap(topology(["a", "b", "d"], "c"), partitions),
        LeadMap(topology("a", "b", "c"), partitions),
    ]
    assert len({first, *(other.fingerprint for other in others)}) == 5


def test_a_pattern_that_matches_nothing_is_refused():
    """A sub-topology without a topic has no lead."""
    app = ps.App("app")
    app.stream(re.compile("in-.*"), key=str, value=int).to("out")
    with pytest.raises(TopologyError, match="reads no topic"):
        LeadMap(app.topology(), {"other": 1})
