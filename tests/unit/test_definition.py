"""Names are the identity of state: which ones are safe, and what a definition says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import TopologyError
from penstock.serde.primitives import INT, STR
from penstock.state.definition import MAX_NAME, StoreDefinition, check_name


@pytest.mark.parametrize("name", ["a", "per-user", "A.b_c-1", "_x", "-x", "0", "a" * MAX_NAME])
def test_a_safe_name_is_returned(name):
    """Letters, digits, dots, underscores and hyphens are fine."""
    assert check_name(name, "a store") == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".slots",
        "a/b",
        "a b",
        "ä",
        "a\n",
        "a\x00",
        "a" * (MAX_NAME + 1),
        1,
        None,
        b"a",
    ],
)
def test_an_unsafe_name_is_refused(name):
    """The message says which name of what, and what is allowed."""
    with pytest.raises(TopologyError, match="cannot be the name of a store") as caught:
        check_name(name, "a store")
    assert repr(name) in str(caught.value)


@given(st.text())
def test_a_name_that_passes_stays_where_it_belongs(name):
    """No accepted name leaves its folder or needs escaping in a topic."""
    try:
        check_name(name, "a store")
    except TopologyError:
        return
    assert name
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    assert not name.startswith(".")


def test_the_changelog_has_kafka_streams_name():
    """A Java application finds the changelog of our store under its own name for it."""
    assert StoreDefinition("counts", STR, INT).changelog("app") == "app-counts-changelog"


def test_a_definition_names_its_formats():
    """Another format of keys or values is another definition; the name is not part of it."""
    assert StoreDefinition("a", STR, INT).describe() == "key-value str int"
    assert StoreDefinition("b", STR, INT).describe() == StoreDefinition("a", STR, INT).describe()
    assert StoreDefinition("a", INT, STR).describe() != StoreDefinition("a", STR, INT).describe()
