"""What a changed topic means to a running application."""

from dataclasses import replace

import pytest

import penstock as ps
from penstock.engine.assignment import LeadMap
from penstock.errors import BrokerError, TopologyError
from penstock.runtime.preparation import Prepared
from penstock.runtime.watch import TopicWatch, changes, explain
from penstock.topics.admin import Description

COUNTS = {"words": 4, "a": 2, "b": 2, "single": 3, "out": 1}


def prepared() -> Prepared:
    """One sub-topology with a store, one with siblings, one of a single input."""
    app = ps.App("app")
    app.stream("words", key=str, value=str).group_by_key().count(name="c").to("out")
    app.stream(["a", "b"], key=str, value=str).to("out")
    app.stream("single", key=str, value=str).to("out")
    topology = app.topology()
    ids = {topic: f"id-{topic}" for topic in COUNTS}
    return Prepared(topology, LeadMap(topology, COUNTS), COUNTS, ids, 1, {}, 1)


def found(**changed: Description | None) -> dict[str, Description | None]:
    """The topics as they were, and what is changed."""
    now = {topic: Description(f"id-{topic}", count) for topic, count in COUNTS.items()}
    return {**now, **changed}


def test_topics_that_stay_are_no_change():
    """Nothing is said, nothing is done."""
    assert changes(prepared(), found()) == {}


@pytest.mark.parametrize("topic", list(COUNTS))
@pytest.mark.parametrize(
    ("now", "said"), [(None, "was deleted while"), (Description("new", 4), "made anew")]
)
def test_a_topic_that_is_gone_or_made_anew_stops_the_application(topic, now, said):
    """Inputs and sinks alike; the message names the topic."""
    with pytest.raises(BrokerError, match=f"topic {topic} .*{said}") as error:
        changes(prepared(), found(**{topic: now}))
    assert error.value.topic == topic


def test_what_is_to_be_done_depends_on_what_it_held():
    """Offsets and state belong to an input; a sink is created again."""
    with pytest.raises(BrokerError, match="penstock reset app --to earliest --state"):
        changes(prepared(), found(words=None))
    with pytest.raises(BrokerError, match="start again: the application goes on"):
        changes(prepared(), found(out=None))


@pytest.mark.parametrize(
    ("topic", "said"),
    [("words", "has 9 partitions now, and had 4.*state of c"), ("b", "read together with a.*stop")],
)
def test_an_input_that_grows_stops_the_application(topic, said):
    """Where it has state, or is read together with another one."""
    with pytest.raises(TopologyError, match=said):
        changes(prepared(), found(**{topic: Description(f"id-{topic}", 9)}))


def test_a_single_input_without_state_may_grow():
    """The group hands its new partitions out by itself; who goes by their time has to know."""
    assert changes(prepared(), found(single=Description("id-single", 9))) == {"single": 9}


def test_what_has_failed_is_explained_by_a_topic_that_is_gone():
    """Where the cluster says so in time; nothing is said of topics that are there."""
    cluster = Cluster()
    watch = TopicWatch(cluster, replace(prepared()), 100)  # type: ignore[arg-type]
    explain(watch)
    cluster.ready = True
    explain(watch)
    cluster.answer = None
    explain(watch)
    cluster.answer = found(out=None)
    with pytest.raises(BrokerError, match="The topic out was deleted"):
        explain(watch)
    assert cluster.asked == 4


def test_a_sink_may_grow():
    """Its new count is told."""
    assert changes(prepared(), found(out=Description("id-out", 9))) == {"out": 9}


class Cluster:
    """An admin client whose answers come when the test says so."""

    servers = "kafka:9092"

    def __init__(self) -> None:
        self.asked = 0
        self.ready = False
        self.answer: dict[str, Description | None] | None = found(out=Description("id-out", 2))

    def describe(self, topics: list[str]) -> "Cluster":
        assert topics == sorted(COUNTS)
        self.asked += 1
        return self

    def done(self) -> bool:
        return self.ready

    def wait(self, timeout_s: float) -> bool:
        assert timeout_s > 0
        return self.ready

    def result(self) -> dict[str, Description | None] | None:
        return self.answer


def test_it_looks_from_time_to_time_and_waits_for_nothing():
    """One question at a time; a cluster that is away is asked again later."""
    cluster = Cluster()
    watch = TopicWatch(cluster, replace(prepared()), 100)  # type: ignore[arg-type]
    assert watch.check(99) == {}
    assert cluster.asked == 0
    assert watch.check(100) == watch.check(500) == {}
    assert cluster.asked == 1
    cluster.ready = True
    assert watch.check(501) == {"out": 2}
    cluster.answer = None
    assert watch.check(601) == {}
    assert watch.check(602) == {}
    assert cluster.asked == 2


def test_a_cluster_that_is_away_is_told_once_and_so_is_its_return(caplog):
    """In words, with how long it was; an answer that is only slow is no news."""
    cluster = Cluster()
    cluster.answer = {}
    watch = TopicWatch(cluster, replace(prepared()), 10_000)  # type: ignore[arg-type]
    assert watch.check(10_000) == watch.check(14_999) == {}
    cluster.ready = True
    assert watch.check(14_999) == {}
    assert not caplog.records
    cluster.ready = False
    for now_ms in (20_000, 25_000, 26_000):
        assert watch.check(now_ms) == {}
        assert watch.is_away is (now_ms >= 25_000)
    assert [record.getMessage().partition(".")[0] for record in caplog.records] == [
        "Kafka at kafka:9092 has not answered for 5 s"
    ]
    cluster.ready, cluster.answer = True, None  # the question has timed out: it is asked again
    for now_ms in (50_000, 50_001, 50_002):
        watch.check(now_ms)
    assert watch.is_away
    cluster.answer = {}
    for now_ms in (65_000, 65_001):
        watch.check(now_ms)
    assert not watch.is_away
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert caplog.records[-1].getMessage() == "Kafka at kafka:9092 answers again, after 45 s."
