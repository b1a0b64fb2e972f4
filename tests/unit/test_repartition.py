"""Repartition topics: where there is one, what it is called, and what runs behind it."""

import msgspec
import pytest

import penstock as ps
from penstock.engine.assignment import LeadMap, count_partitions
from penstock.errors import TopologyError
from penstock.testing import TestDriver
from penstock.topology.graph import Topology


class View(msgspec.Struct):
    """A page that a user has seen."""

    user: str
    page: str
    seconds: int = 0


def views(app: ps.App) -> ps.Stream[str, View]:
    """The stream that all tests begin with."""
    return app.stream("views", key=str, value=View)


def topics(topology: Topology) -> list[str]:
    """The repartition topics."""
    return sorted(topology.repartitions)


def test_a_stateful_step_behind_a_new_key_has_one():
    """The topic splits the steps into two sub-topologies that meet in its name only."""
    app = ps.App("app")
    views(app).group_by("user", name="by-user").count(name="c").to("out")
    topology = app.topology()
    assert topics(topology) == ["app-by-user-repartition"]
    assert [part.topics for part in topology.sub_topologies] == [
        ("views",),
        ("app-by-user-repartition",),
    ]
    assert [store.name for store in topology.sub_topologies[1].stores] == ["c"]


def test_without_a_stateful_step_there_is_none():
    """A new key alone needs no topic, and no name."""
    app = ps.App("app")
    views(app).rekey("user").to("out")
    views(app).rekey("page", name="by-page").filter(bool).to("pages")
    assert topics(app.topology()) == []
    assert len(app.topology().sub_topologies) == 1


def test_many_steps_share_one():
    """However many stateful and other steps follow a new key, one reshuffle suffices."""
    app = ps.App("app")
    by_user = views(app).rekey("user", name="by-user")
    by_user.group_by_key().count(name="c").to("counts")
    by_user.map(lambda view: view.page, value=str).to_table(name="last").to("last")
    by_user.to("all")
    topology = app.topology()
    assert topics(topology) == ["app-by-user-repartition"]
    behind = [node.detail for node in topology.sub_topologies[1].nodes if node.sink]
    assert behind == ["counts", "last", "all"]


def test_of_several_new_keys_only_the_last_needs_one():
    """A key that is changed again before anything is stateful never reaches a topic."""
    app = ps.App("app")
    views(app).rekey("user", name="u").rekey("page", name="p").to_table(name="t").to("o")
    assert topics(app.topology()) == ["app-p-repartition"]


def test_every_way_into_a_merge_has_its_own():
    """Streams that are merged are each brought under their new key."""
    app = ps.App("app")
    one, other = views(app).rekey("user", name="a"), views(app).rekey("page", name="b")
    one.merge(other).group_by_key().count(name="c").to("o")
    assert topics(app.topology()) == ["app-a-repartition", "app-b-repartition"]


def test_one_can_be_asked_for():
    """repartition() is a topic whatever follows, with its own number of partitions."""
    app = ps.App("app")
    views(app).repartition(name="wide", partitions=12).to("out")
    topology = app.topology()
    assert topics(topology) == ["app-wide-repartition"]
    assert count_partitions(topology, {"views": 4, "out": 1}) == {"app-wide-repartition": 12}


def test_freezing_twice_is_the_same():
    """The topics of a resolved pattern come from a topology that has been split already."""
    app = ps.App("app")
    views(app).group_by("user", name="by-user").count(name="c").to("out")
    assert app.describe() == app.describe()
    assert len(app.topology().nodes) == 6


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (lambda s: s.rekey("user").group_by_key(), r"rekey user changes the key.*group_by_key"),
        (lambda s: s.rekey("user").to_table(name="t"), r"rekey user changes the key.*to_table"),
        (lambda s: s.rekey("nope", name="n"), r"View has no field 'nope'"),
        (lambda s: s.rekey("user", key=int, name="n"), r"'user' gives keys of type str.*key=int"),
        (lambda s: s.group_by(lambda v: v.user, name="n"), r"type of the keys.*Pass key="),
        (
            lambda s: s.map(lambda v: v.page).group_by(len, key=int, name="n"),
            r"type of the values.*Pass value=",
        ),
        (lambda s: s.group_by("user", name="a/b"), r"'a/b' cannot be the name"),
        (lambda s: s.repartition(name="n", partitions=0), r"partitions=0\): use 1 or more"),
        (lambda s: s.group_by("user", name="n" * 200).count(name="c"), r"249"),
    ],
)
def test_what_cannot_be_is_refused(declare, said):
    """At the declaration, or at the latest before the first record, naming step and remedy."""
    app = ps.App("a-long-application-id-for-topics-of-a-long-name")
    with pytest.raises(TopologyError, match=f"(?s){said}"):
        declare(views(app))
        app.topology()


def test_two_of_one_name_are_refused():
    """A name is the identity of a topic."""
    app = ps.App("app")
    views(app).group_by("user", name="same").count(name="a").to("o")
    views(app).group_by("page", name="same").count(name="b").to("p")
    with pytest.raises(TopologyError, match=r"(?s)named 'same'.*rekey user.*rekey page"):
        app.topology()


def test_partitions_follow_the_inputs():
    """As many as the most partitioned input of what writes it, over several topics in a row."""
    app = ps.App("app")
    by_user = views(app).merge(app.stream("more", key=str, value=View)).rekey("user", name="u")
    by_user.to_table(name="t").to_stream().rekey("page", name="p").to_table(name="p").to("o")
    counts = count_partitions(app.topology(), {"views": 3, "more": 5, "o": 1})
    assert counts == {"app-u-repartition": 5, "app-p-repartition": 5}


def test_one_that_is_there_stays_as_it_is():
    """An input in front of it may grow: the state behind it is bound to what it has."""
    app = ps.App("app")
    views(app).rekey("user", name="u").to_table(name="t").to("o")
    existing = {"views": 6, "app-u-repartition": 4, "o": 1}
    assert count_partitions(app.topology(), existing) == {"app-u-repartition": 4}


def test_what_is_read_together_has_equal_counts():
    """Beside a topic of the user's it takes that one's count, beside another one the larger."""
    app = ps.App("app")
    pages = app.stream("pages", key=str, value=View)
    views(app).rekey("page", name="p").merge(pages).group_by_key().count(name="c").to("o")
    assert count_partitions(app.topology(), {"views": 8, "pages": 2, "o": 1}) == {
        "app-p-repartition": 2
    }
    both = ps.App("both")
    one, other = views(both).rekey("user", name="a"), pages_of(both).rekey("page", name="b")
    one.merge(other).group_by_key().count(name="c").to("o")
    counts = count_partitions(both.topology(), {"views": 8, "pages": 2, "o": 1})
    assert counts == {"both-a-repartition": 8, "both-b-repartition": 8}


def pages_of(app: ps.App) -> ps.Stream[str, View]:
    """Another input."""
    return app.stream("pages", key=str, value=View)


def test_it_leads_its_sub_topology():
    """The group subscribes to repartition topics as to any input."""
    app = ps.App("app")
    views(app).group_by("user", name="by-user").count(name="c").to("out")
    topology = app.topology()
    counts = {"views": 4, "out": 1, **count_partitions(topology, {"views": 4})}
    assert LeadMap(topology, counts).topics == ["app-by-user-repartition", "views"]


def test_changes_are_not_coalesced_in_front_of_a_fold():
    """A table may hand on one change per batch across a topic to a table, not to a count."""
    app = ps.App("app")
    table = views(app).to_table(name="t")
    table.to_stream().repartition(name="copy").to_table(name="u").to("o")
    assert _coalesces(app, "to_table t")
    table.to_stream().group_by("page", name="p").count(name="c").to("counts")
    assert not _coalesces(app, "to_table t")


def test_a_topic_of_ones_own_is_looked_through():
    """What reads back what the application writes can tell, too."""
    app = ps.App("app")
    views(app).group_by_key().count(name="c").to("counts")
    assert _coalesces(app, "count c")
    app.stream("counts", key=str, value=int).filter(lambda n: n % 2).to("odd")
    assert not _coalesces(app, "count c")


def test_a_circle_through_a_topic_ends():
    """An application may write what it reads."""
    app = ps.App("app")
    counts = views(app).group_by_key().count(name="c")
    counts.to("n")
    app.stream("n", key=str, value=int).map(lambda n: n, value=int).to("n")
    assert _coalesces(app, "count c")


def test_headers_are_written_where_somebody_reads_them():
    """A count behind the topic reads none; a sink does."""
    counted, copied = ps.App("app"), ps.App("app")
    views(counted).group_by("user", name="u").count(name="c").to("o")
    views(copied).repartition(name="u").to("o")
    for app, reads in ((counted, False), (copied, True)):
        topology = app.topology()
        assert topology.reads(topology.nodes[0], "headers") == reads


def test_records_keep_time_headers_and_order_on_their_way():
    """Behind the topic a record is what it was before, under its new key."""
    app = ps.App("app")
    views(app).rekey("user", name="by-user").repartition(name="again").to("out")
    with TestDriver(app) as driver:
        for at in (7, 3):
            driver.topic("views").send(View("u", "p", at), key="k", at=at, headers=[("h", b"1")])
        assert driver.topic("out").read() == [("u", View("u", "p", at)) for at in (7, 3)]
        assert driver.topic("out").read_timestamps() == [7, 3]


def test_nulls_pass_through():
    """A deletion of a table upstream deletes downstream."""
    app = ps.App("app")
    (
        app.table("names", key=str, value=str, name="names")
        .to_stream()
        .repartition(name="again")
        .to_table(name="copy")
        .to("copy")
    )
    with TestDriver(app) as driver:
        names = driver.topic("names")
        names.send("x", key="a")
        names.send(None, key="a")
        assert driver.topic("copy").read() == [("a", "x"), ("a", None)]


def test_a_key_that_is_none_names_its_record():
    """It would belong to no partition."""
    app = ps.App("app")
    views(app).group_by(lambda view: None, key=str, name="n").count(name="c").to("o")
    with (
        TestDriver(app) as driver,
        pytest.raises(ps.DataError, match=r"rekey.*views/0 offset 0.*the new key is None"),
    ):
        driver.topic("views").send(View("u", "p"), key="k")


def test_describe_shows_them():
    """In the text and in the diagram."""
    app = ps.App("app")
    views(app).repartition(name="w", partitions=3).to("o")
    views(app).group_by("user", name="by-user").count(name="c").to("out")
    text = app.describe()
    assert "Repartition topics\n    app-w-repartition: 3 partitions\n" in text
    assert "    app-by-user-repartition: as many partitions as its inputs\n" in text
    assert "  n2 -.-> n3\n" in app.describe(format="mermaid")


def _coalesces(app: ps.App, step: str) -> bool:
    topology = app.topology()
    return topology.coalesces(next(node for node in topology if repr(node) == step))
