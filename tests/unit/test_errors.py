"""Errors: five roots by blame, with coordinates, and invariants that hold in production."""

import pytest

import penstock.errors
from penstock.errors import (
    BrokerError,
    BugError,
    DataError,
    PenstockError,
    StateError,
    TopologyError,
    check,
)
from tests.installed import ROOT

ROOTS = (TopologyError, DataError, BrokerError, StateError, BugError)


@pytest.mark.parametrize("root", ROOTS)
def test_an_error_carries_its_coordinates(root):
    """Coordinates are attributes; those that do not apply are None."""
    error = root("text", topic="t", partition=1, offset=2, operator="map-1", store="s")
    assert str(error) == "text"
    assert (error.topic, error.partition, error.offset) == ("t", 1, 2)
    assert (error.operator, error.store) == ("map-1", "s")
    plain = root("text")
    assert {plain.topic, plain.partition, plain.offset, plain.operator, plain.store} == {None}


def test_there_are_five_roots_by_blame():
    """Each root is a PenstockError of its own, and the tree in the docstring shows them all."""
    assert set(PenstockError.__subclasses__()) == set(ROOTS)
    for root in ROOTS:
        assert f"─ {root.__name__} " in penstock.errors.__doc__


def test_the_page_shows_the_tree_of_the_docstring():
    """docs/errors.md has the same lines, indented or not."""
    drawn = [
        line for line in penstock.errors.__doc__.splitlines() if "─" in line or "    Pen" in line
    ]
    page = (ROOT / "docs" / "errors.md").read_text()
    assert len(drawn) == 1 + len(ROOTS)
    assert "\n".join(line.removeprefix("    ") for line in drawn) in page
    for root in ROOTS:  # and an example of each
        assert f"\n{root.__name__}: " in page


def test_an_invariant_holds_or_is_a_bug():
    """A broken invariant names itself and asks for a report; one that holds does nothing."""
    check(True, "fine")
    with pytest.raises(BugError, match="Broken invariant: offsets rise") as caught:
        check(False, "offsets rise")
    assert "report" in str(caught.value)
