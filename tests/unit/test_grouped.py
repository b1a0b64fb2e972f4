"""Grouped streams and tables: names, types of stores, and modes that cannot be."""

from typing import Any

import msgspec
import pytest

import penstock as ps
from penstock.errors import TopologyError
from penstock.grouped import Grouped
from penstock.serde.primitives import INT, STR


class Total(msgspec.Struct):
    """An accumulator."""

    n: int = 0


def add(so_far: Total, value: int) -> Total:
    """Annotated."""
    return Total(so_far.n + value)


def unannotated(so_far, value):
    """Says nothing."""
    return so_far


def grouped() -> Grouped[str, int]:
    """A typed grouped stream."""
    return ps.App("app").stream("in", key=str, value=int).group_by_key()


def stored(table: Any) -> Any:
    """The type of a table's values."""
    return table._node.value.type


def test_a_count_is_of_integers():
    """The store has the key's serde and 8 bytes per count."""
    table = grouped().count(name="c")
    store = table._node.store
    assert (store.name, store.key, store.value) == ("c", STR, INT)
    assert table.name == "c"


def test_the_accumulators_type_is_known():
    """It is declared, or what `init` makes, or what `add` returns, in this order."""
    assert stored(grouped().aggregate(Total, unannotated, name="a")) is Total
    assert stored(grouped().aggregate(lambda: Total(), add, name="b")) is Total
    assert stored(grouped().aggregate(Total, add, name="c", value=dict)) is dict
    assert stored(grouped().aggregate(int, lambda n, v: n + v, name="d")) is int
    assert stored(grouped().reduce(lambda a, b: a + b, name="e")) is int


def test_an_unknown_accumulator_names_both_functions():
    """Neither function says what it makes: the error names their lines and value=."""
    with pytest.raises(TopologyError, match="Pass value= to aggregate") as caught:
        grouped().aggregate(lambda: None, unannotated, name="a")
    text = str(caught.value)
    assert "<lambda>" in text
    assert f"{__file__}:{unannotated.__code__.co_firstlineno}" in text
    assert (caught.value.operator, caught.value.store) == ("aggregate", "a")


def test_an_unknown_value_cannot_be_reduced():
    """A reduce stores what it reads."""
    stream = ps.App("app").stream("in", key=str, value=int).map(lambda n: n)
    with pytest.raises(TopologyError, match="type that reduce 'r' stores") as caught:
        stream.group_by_key().reduce(max, name="r")
    assert caught.value.store == "r"


def test_an_unknown_key_cannot_be_grouped():
    """Merged streams of different key types have no key that could be stored."""
    app = ps.App("app")
    merged = app.stream("a", key=str, value=int).merge(app.stream("b", key=int, value=int))
    with pytest.raises(TopologyError, match=r"keys that count 'c' groups by.*pass key=") as caught:
        merged.group_by_key().count(name="c")
    assert (caught.value.operator, caught.value.store) == ("count", "c")


@pytest.mark.parametrize("name", ["", "a b", ".x", "a/b", None])
@pytest.mark.parametrize("kind", ["count", "reduce", "aggregate"])
def test_a_store_has_a_safe_name(kind, name):
    """The error names the operator whose store it is."""
    declare = {
        "count": lambda: grouped().count(name=name),
        "reduce": lambda: grouped().reduce(max, name=name),
        "aggregate": lambda: grouped().aggregate(int, max, name=name),
    }
    with pytest.raises(TopologyError, match=f"the store of {kind}"):
        declare[kind]()


def test_a_name_is_mandatory():
    """Names are the identity of state: there is no generated one."""
    for declare in (
        lambda: grouped().count(),
        lambda: grouped().reduce(max),
        lambda: grouped().aggregate(int, max),
    ):
        with pytest.raises(TypeError, match="name"):
            declare()


def test_unknown_emission_is_refused():
    """emit is "commit" or "every_update"; a misspelled one must not pass as one of them."""
    with pytest.raises(TopologyError, match=r"emit='always'.*every_update"):
        grouped().count(name="c", emit="always")


@pytest.mark.parametrize("mode", ["complete", "append", "", None])
def test_a_table_goes_out_as_update(mode):
    """A table without windows knows one output mode at a topic, and the error names it."""
    with pytest.raises(TopologyError, match=r"the table 'c'.*'update'") as caught:
        grouped().count(name="c").to("out", output_mode=mode)
    assert f"output_mode={mode!r}" in str(caught.value)


def test_a_tables_types_go_to_its_topic():
    """A name is enough for a table; a Topic of another key type is refused."""
    grouped().count(name="c").to("out", output_mode="update")
    with pytest.raises(TopologyError, match="keys of type int"):
        grouped().count(name="c").to(ps.Topic("out", key=int, value=int))


def test_a_tables_changes_are_a_stream():
    """Types go on; a stream made of them can be grouped again, its key is the same."""
    stream = grouped().count(name="c").to_stream()
    assert stored(stream) is int
    stream.group_by_key().count(name="again").to("out")


def test_an_integer_is_no_duration():
    """A bare number has no unit, wherever a duration is asked for."""
    app = ps.App("app")
    app.stream("in", key=str, value=int).to("out")
    from penstock.testing import TestDriver

    with TestDriver(app) as driver, pytest.raises(TopologyError, match="number with a unit"):
        driver.advance(10)
