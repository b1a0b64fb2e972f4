"""Topologies: what runs together, what may coalesce, and what is refused."""

import dataclasses
import datetime
import re

import msgspec
import pytest

import penstock as ps
from penstock.errors import TopologyError
from penstock.topology.graph import Topology
from penstock.topology.node import Node


class Order(msgspec.Struct):
    """A Struct."""

    id: str


def new_app():
    """An application."""
    return ps.App("app")


def kinds(topology: Topology):
    """The kinds of the steps of each sub-topology."""
    return [[node.kind for node in part.nodes] for part in topology.sub_topologies]


def step(topology: Topology, kind: str) -> Node:
    """The only step of a kind."""
    (found,) = [node for node in topology if node.kind == kind]
    return found


def test_streams_that_never_meet_run_apart():
    """Each connected part is a sub-topology of its own, in the order of declaration."""
    app = new_app()
    first = app.stream("a", key=str, value=int)
    app.stream("b", key=str, value=int).to("x")
    first.to("y")
    assert kinds(app.topology()) == [["stream", "to"], ["stream", "to"]]
    assert [part.topics for part in app.topology().sub_topologies] == [("a",), ("b",)]
    assert [part.number for part in app.topology().sub_topologies] == [0, 1]


def test_a_shared_topic_joins_parts():
    """A topic belongs to exactly one sub-topology, so whoever reads it runs there."""
    app = new_app()
    app.stream(["a", "b"], key=str, value=int).to("x")
    app.stream("c", key=str, value=int).to("y")
    app.stream(["c", "b"], key=str, value=int).to("z")
    (part,) = app.topology().sub_topologies
    assert part.topics == ("a", "b", "c")
    assert len(part.nodes) == 6


def test_a_merge_joins_parts():
    """Steps with a common child run together; parents come before children."""
    app = new_app()
    a, b = app.stream("a", key=str, value=int), app.stream("b", key=str, value=int)
    b.map(lambda n: n, value=int).merge(a).to("x")
    (part,) = app.topology().sub_topologies
    assert part.topics == ("a", "b")
    for node in part.nodes:
        assert all(part.nodes.index(parent) < part.nodes.index(node) for parent in node.parents)


def test_a_written_topic_does_not_join_parts():
    """What goes through a topic runs apart: its partitions may be elsewhere."""
    app = new_app()
    app.stream("a", key=str, value=int).to("b")
    app.stream("b", key=str, value=int).to("c")
    assert len(app.topology().sub_topologies) == 2


def test_stores_are_listed_by_part():
    """Each part owns the stores of its steps."""
    app = new_app()
    for name in ("a", "b"):
        app.stream(name, key=str, value=int).group_by_key().count(name=f"of-{name}")
    topology = app.topology()
    assert [[s.name for s in part.stores] for part in topology.sub_topologies] == [
        ["of-a"],
        ["of-b"],
    ]
    assert [store.name for store in topology.stores] == ["of-a", "of-b"]


COALESCING = {
    "nothing": lambda table: None,
    "a topic": lambda table: table.to("out"),
    "a topic by name": lambda table: table.to(ps.Topic("out", key=str, value=int)),
    "a map": lambda table: table.to_stream().map(lambda n: n, value=int).to("out"),
    "two topics": lambda table: (table.to("out"), table.to_stream().to("more")),
}
TELLING = {
    "a filter": lambda table: table.to_stream().filter(bool).to("out"),
    "a flat map": lambda table: table.to_stream().flat_map(lambda n: [n], value=int).to("out"),
    "a branch": lambda table: table.to_stream().branch(bool)[0].to("out"),
    "a callback": lambda table: table.to_stream().peek(print).to("out"),
    "another key": lambda table: table.to_stream().map_record(
        lambda r: (r.value, r.value), key=int, value=int
    ),
    "a topic per value": lambda table: table.to_stream().to(lambda n: f"out-{n}"),
    "a count": lambda table: table.to_stream().group_by_key().count(name="again"),
    "a merge": lambda table: table.to_stream().merge(table.to_stream()).to("out"),
}


@pytest.mark.parametrize("behind", COALESCING)
def test_changes_coalesce_where_nobody_can_tell(behind):
    """One change per key and batch is enough for what keeps the last one anyway."""
    app = new_app()
    COALESCING[behind](app.stream("a", key=str, value=int).group_by_key().count(name="c"))
    topology = app.topology()
    assert topology.coalesces(step(topology, "count"))


@pytest.mark.parametrize("behind", TELLING)
def test_every_update_goes_where_somebody_can_tell(behind):
    """In front of what drops, counts, sees or spreads updates each one is handed on."""
    app = new_app()
    TELLING[behind](app.stream("a", key=str, value=int).group_by_key().count(name="c"))
    topology = app.topology()
    assert not topology.coalesces(next(node for node in topology if node.kind == "count"))


def test_every_update_can_be_asked_for():
    """emit="every_update" never coalesces."""
    app = new_app()
    app.stream("a", key=str, value=int).group_by_key().count(name="c", emit="every_update")
    topology = app.topology()
    assert not topology.coalesces(step(topology, "count"))


def interleaves(declare) -> bool:
    """Whether the only part of a topology takes one record at a time."""
    app = new_app()
    declare(app, app.stream("a", key=str, value=int))
    topology = app.topology()
    return any(map(topology.interleaves, topology.sub_topologies))


def test_ways_that_meet_again_take_one_record_at_a_time():
    """At a merge or in a topic the order of a key's records must not depend on chunks."""
    assert interleaves(lambda app, a: a.merge(a.map(lambda n: n, value=int)).to("x"))
    assert interleaves(lambda app, a: (a.to("x"), a.filter(bool).to("x")))
    assert interleaves(lambda app, a: a.merge(app.stream("a", key=str, value=int)).to("x"))


def test_other_ways_take_whole_chunks():
    """Branches that stay apart, and merges of different topics, cost nothing."""
    assert not interleaves(lambda app, a: [s.to(f"x{n}") for n, s in enumerate(a.branch(bool))])
    assert not interleaves(lambda app, a: a.merge(app.stream("b", key=str, value=int)).to("x"))
    assert not interleaves(lambda app, a: (a.to("x"), app.stream("b", key=str, value=int).to("x")))


def test_headers_are_read_where_a_sink_or_a_function_wants_them():
    """A count needs no headers; a sink in front of it does, one behind it does not."""

    def reads(declare) -> bool:
        app = new_app()
        declare(app.stream("a", key=str, value=int))
        topology = app.topology()
        return topology.reads(step(topology, "stream"), "headers")

    assert reads(lambda a: a.map(lambda n: n, value=int).to("x"))
    assert reads(lambda a: a.map_record(lambda r: (r.key, r.value)))
    assert not reads(lambda a: a.filter(bool).group_by_key().count(name="c").to("x"))


def test_an_application_without_streams_is_refused():
    """The error says what to declare."""
    with pytest.raises(TopologyError, match=r"app\.stream\('topic'"):
        new_app().topology()


def test_two_stores_of_one_name_are_refused():
    """Names are the identity of state; both steps are named."""
    app = new_app()
    grouped = app.stream("a", key=str, value=int).group_by_key()
    grouped.count(name="same")
    grouped.reduce(max, name="same")
    with pytest.raises(
        TopologyError, match=r"'same': count same and reduce same.*own name="
    ) as caught:
        app.topology()
    assert caught.value.store == "same"


@pytest.mark.parametrize(("one", "other"), [("Sums", "sums"), ("by.user", "by_user")])
def test_names_that_cannot_stand_beside_each_other_are_refused(one, other):
    """A file system may ignore case; Kafka refuses topics that differ in '.' and '_' only."""
    app = new_app()
    grouped = app.stream("a", key=str, value=int).group_by_key()
    grouped.count(name=one)
    grouped.reduce(max, name=other)
    with pytest.raises(TopologyError, match=f"count {one} and reduce {other}"):
        app.topology()
    app = new_app()
    stream = app.stream("a", key=str, value=int)
    for name in (one, other):
        stream.rekey(lambda n: n, key=int, name=name).group_by_key().count(
            name=f"{name}{len(name)}"
        )
    with pytest.raises(TopologyError, match="Two steps"):
        app.topology()


def test_a_changelog_name_that_kafka_refuses_is_refused():
    """Application id and store name have to fit into one topic name, together."""
    app = ps.App("a" * 120)
    grouped = app.stream("a", key=str, value=int).group_by_key()
    grouped.count(name="b" * 118)
    assert len(app.topology().stores[0].changelog(app.id)) == 249
    grouped.count(name="b" * 119)
    with pytest.raises(TopologyError, match="250 characters"):
        app.topology()


@pytest.mark.parametrize(
    "other",
    [
        {"key": str, "value": int},
        {"key": bytes, "value": Order},
        {"value": Order},
        {"key": str, "value": dict},
        {"key": str, "value": Order, "start": "latest"},
    ],
)
def test_a_topic_is_read_as_one_type(other):
    """Two streams of one topic have to agree on its types and on where to begin."""
    app = new_app()
    app.stream("a", key=str, value=Order)
    app.stream(["b", "a"], **other)
    with pytest.raises(TopologyError, match="the topic a with different types") as caught:
        app.topology()
    assert caught.value.topic == "a"


def test_a_topic_may_be_read_twice():
    """Equal declarations of one topic are one meaning."""
    app = new_app()
    app.stream("a", key=str, value=Order).to("x")
    app.stream("a", key=str, value=Order, timestamp=lambda order: 1).to("y")
    assert len(app.topology().sub_topologies) == 1


def test_a_topology_is_frozen():
    """What is declared later does not change a topology that was taken."""
    app = new_app()
    stream = app.stream("a", key=str, value=int)
    before = app.topology()
    stream.to("x")
    assert len(before.nodes) == 1
    assert len(app.topology().nodes) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        before.application = "other"


def test_labels_number_the_steps():
    """A step's label is for messages; two steps of a kind differ."""
    app = new_app()
    stream = app.stream("a", key=str, value=int)
    stream.filter(bool).filter(bool)
    assert list(app.topology().labels.values()) == ["stream-0", "filter-1", "filter-2"]


def test_start_positions_are_words_or_moments():
    """A start is earliest, latest, or a moment with a time zone."""
    app = new_app()
    moment = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    for start in ("earliest", "latest", moment):
        app.stream(str(hash(start)), start=start)
    for wrong in ("now", 0, moment.replace(tzinfo=None), None):
        with pytest.raises(TopologyError, match="datetime with a time zone"):
            app.stream("a", start=wrong)


def test_a_pattern_reads_no_topic_yet():
    """A pattern is resolved when the application starts."""
    app = new_app()
    app.stream(re.compile("in-.*"), key=str, value=int)
    (part,) = app.topology().sub_topologies
    assert part.topics == ()
    assert part.sources[0].detail == "in-.*"
