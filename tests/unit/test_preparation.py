"""Preparation: what can be decided without a cluster; the rest is in tests/kafka."""

import pytest

import penstock as ps
from penstock.engine.assignment import LeadMap
from penstock.engine.metadata import BatchId, Metadata, short_hash
from penstock.errors import BrokerError, TopologyError
from penstock.runtime.preparation import (
    RECOMMIT_MS,
    check_internal,
    check_topics,
    check_version,
    recommit_ms,
)


@pytest.mark.parametrize("version", ["2.4-IV1", "2.0", "1.1-IV0", "0.11.0-IV2"])
def test_brokers_that_cannot_fence_by_group_are_refused(version):
    """The message names the version found and the one needed."""
    with pytest.raises(BrokerError, match=rf"Kafka {version}.*needs 2\.5"):
        check_version({"inter.broker.protocol.version": version})


@pytest.mark.parametrize("version", ["2.5-IV0", "2.10", "3.0-IV1", "4.3-IV0", ""])
def test_others_are_not(version):
    """Nor are those that say nothing."""
    check_version({"inter.broker.protocol.version": version})
    check_version({})


@pytest.mark.parametrize(
    ("minutes", "expected"), [(None, RECOMMIT_MS), (10_080, RECOMMIT_MS), (60, 360_000), (1, 6_000)]
)
def test_offsets_are_committed_again_long_before_they_expire(minutes, expected):
    """Every hour, or ten times in what the broker keeps them."""
    settings = {} if minutes is None else {"offsets.retention.minutes": str(minutes)}
    assert recommit_ms(settings) == expected


INTERNAL = {"shop-by-kind-repartition": 2, "shop-sold-changelog": 2}


def check_committed(existing, *, known=True, appears=False):
    """Check what a shop has committed that counts what was sold under a new key."""
    app = ps.App("shop")
    orders = app.stream("orders", key=str, value=str)
    orders.group_by(len, key=int, name="by-kind").count(name="sold").to("sold")
    topology = app.topology()
    leads = LeadMap(topology, {"orders": 2, "sold": 1, **INTERNAL})
    memories = {}
    for lead in leads.leads.values():
        topics = frozenset(map(short_hash, lead.known)) if known else frozenset()
        stores = {short_hash(of.name): of.describe() for of in lead.part.stores} if known else {}
        memories[lead.topic, 1] = Metadata(BatchId(1, 1), topics, stores).encode()

    def remembered(inputs):
        return {at: memories[at] for at in inputs if at in memories}

    there = {**existing, **INTERNAL} if appears else existing
    check_internal("shop", leads, existing, remembered, lambda: there)


def test_what_a_commit_has_named_is_not_made_anew():
    """The message says what was in it, and who had committed it."""
    check_committed(INTERNAL)
    changelog, repartition = "shop-sold-changelog", "shop-by-kind-repartition"
    with pytest.raises(BrokerError, match=f"{changelog} is gone.*shop-by-kind-repartition/1 has"):
        check_committed({repartition: 2})
    with pytest.raises(BrokerError, match=f"{repartition} is gone.*orders/1 has.*reset shop"):
        check_committed({changelog: 2})


def test_what_no_commit_has_named_is_made():
    """It is new; or another worker makes it at this moment."""
    check_committed({}, known=False)
    check_committed({}, appears=True)


def missing(topics, existing):
    """What is said of topics that an application lacks."""
    app = ps.App("shop", on_error=ps.dead_letter("bad"))
    app.stream("orders", key=str, value=str).to("sold")
    with pytest.raises(TopologyError) as error:
        check_topics(app.topology(), dict.fromkeys(existing, 1), "localhost:9092")
    assert error.value.topic == topics[0]
    return str(error.value)


def test_all_missing_topics_are_named_at_once():
    """With who needs them, and the command that creates them."""
    text = missing(["orders", "sold", "bad"], [])
    assert "orders (stream-0 reads it), sold (to-1 writes it), bad (dead_letter writes it)" in text
    assert text.endswith("'penstock topics orders sold bad --create 4 --brokers localhost:9092'.")


def test_a_misspelled_topic_is_found_by_its_likeness():
    """And one that is quite another is not."""
    assert "There is order." in missing(["orders"], ["order", "sold", "bad", "payments"])
    assert "There is" not in missing(["orders"], ["sold", "bad", "payments"])


def test_one_that_is_there_is_not_missing():
    """Nothing is said."""
    app = ps.App("shop")
    app.stream("orders", key=str, value=str).to("sold")
    check_topics(app.topology(), {"orders": 1, "sold": 1}, "localhost:9092")
