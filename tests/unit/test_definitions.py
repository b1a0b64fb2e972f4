"""Stores that changed, went, came or were renamed since the last commit."""

import logging
from types import SimpleNamespace

import pytest

import penstock as ps
from penstock.engine.metadata import BatchId, Metadata, short_hash
from penstock.errors import TopologyError
from penstock.runtime.definitions import Definitions

COUNT = "key-value str int"
TOPICS = {"shop-per-item-changelog": 4, "shop-by-item-repartition": 4, "orders": 4}


def check(committed, *declared):
    """Hold an application that counts under these names against what was committed."""
    app = ps.App("shop")
    for name in declared:
        app.stream("orders", key=str, value=str).group_by_key().count(name=name)
    return held(app.topology(), committed)


def held(topology, committed):
    found = Metadata(
        BatchId(1, 1), stores={short_hash(name): kind for name, kind in committed.items()}
    )
    admin = SimpleNamespace(topics=lambda: TOPICS)
    definitions = Definitions(topology, admin)
    [part] = topology.sub_topologies
    return [definitions.check(part.stores, found, f"orders/{n}") for n in range(2)]


def test_what_is_as_it_was_is_whole():
    """A new store is, too."""
    assert check({"per-item": COUNT}, "per-item") == [True, True]
    assert check({"per-item": COUNT}, "per-item", "more") == [True, True]
    assert check({}, "per-item") == [True, True]


def test_a_changed_definition_is_refused():
    """Naming both."""
    with pytest.raises(
        TopologyError, match=r"written as 'key-value int int' .*'key-value str int'"
    ):
        check({"per-item": "key-value int int"}, "per-item")


WINDOWS = {
    "no window": None,
    "tumbling": ps.tumbling("1m"),
    "another size": ps.tumbling("2m"),
    "hopping": ps.hopping("2m", "1m"),
    "another advance": ps.hopping("2m", "30s"),
    "offset": ps.tumbling("1m", offset="10s"),
    "offset of hopping": ps.hopping("2m", "1m", offset="10s"),
    "days": ps.tumbling("1d"),
    "days of a zone": ps.tumbling("1d", zone="Europe/Madrid"),
    "days of another zone": ps.tumbling("1d", zone="Europe/Lisbon"),
    "days of a zone from six": ps.tumbling("1d", zone="Europe/Madrid", offset="6h"),
    "sliding": ps.sliding("1m"),
    "another size of sliding": ps.sliding("2m"),
    "session": ps.session("1m"),
    "another gap": ps.session("2m"),
}


def windowed(window, grace="0s"):
    app = ps.App("shop")
    grouped = app.stream("orders", key=str, value=str).group_by_key()
    if window is not None:
        grouped = grouped.window(window, grace=grace)
    grouped.count(name="per-item")
    return app.topology()


@pytest.mark.parametrize("kind", WINDOWS)
def test_other_windows_are_another_definition(kind):
    """Each kind, size, offset and zone refuses the state of all others, naming both."""
    before = windowed(WINDOWS[kind])
    committed = {"per-item": before.stores[0].describe()}
    for other, window in WINDOWS.items():
        topology = windowed(window)
        if other == kind:
            assert held(topology, committed) == [True, True]
            continue
        with pytest.raises(TopologyError) as refused:
            held(topology, committed)
        for definition in (before.stores[0].describe(), topology.stores[0].describe()):
            assert f"'{definition}'" in str(refused.value)


def test_another_grace_is_the_same_state():
    """How long windows wait can be changed; what they hold stays."""
    for window in list(WINDOWS.values())[1:]:
        before = {"per-item": windowed(window).stores[0].describe()}
        assert held(windowed(window, grace="5m"), before) == [True, True]


def test_a_renamed_store_is_refused():
    """Under both names; the old one is known by its changelog."""
    with pytest.raises(TopologyError, match=r"'per-item' of orders/0 is not .*'items' is new") as e:
        check({"per-item": COUNT}, "items")
    assert e.value.store == "items"
    with pytest.raises(TopologyError, match="store of unknown name of"):
        check({"nobody": COUNT}, "items")


def test_one_of_another_kind_is_none_that_was_renamed():
    """It is new, and the other one is gone."""
    assert check({"per-item": "key-value str json"}, "items") == [False, False]


def test_a_store_that_is_gone_is_told_once(caplog):
    """By its name, however many tasks had it; each is to commit without it."""
    caplog.set_level(logging.WARNING, "penstock")
    assert check({"per-item": COUNT, "kept": COUNT}, "kept") == [False, False]
    [said] = caplog.messages
    assert said.startswith("The store 'per-item' (key-value str int), which orders/0 had, is not")
