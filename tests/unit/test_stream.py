"""Streams: wrong steps are refused where they are declared, naming the operator and the fix."""

import dataclasses
from collections.abc import Iterator
from typing import Any, TypedDict

import msgspec
import pytest

import penstock as ps
from penstock.errors import TopologyError
from penstock.stream import Stream


class Item(msgspec.Struct):
    """A part of an order."""

    code: str
    qty: int


class Order(msgspec.Struct):
    """A Struct with a list."""

    id: str
    items: list[Item]
    city: str = ""


class Wide(msgspec.Struct):
    """What a select builds."""

    id: str
    town: str


class Typed(TypedDict):
    """A TypedDict."""

    id: str


def orders() -> Stream[str, Order]:
    """A typed stream."""
    return ps.App("app").stream("orders", key=str, value=Order)


def total(order: Order) -> int:
    """Annotated."""
    return len(order.items)


def lines(order: Order) -> Iterator[Item]:
    """Annotated with what it yields."""
    yield from order.items


def unannotated(order):
    """Says nothing of what it returns."""
    return order


def value_type(stream: Any) -> Any:
    """What is known of a stream's values."""
    return stream._node.value.type


def test_types_follow_annotations_and_declarations():
    """The value's type is declared, annotated, or unknown; it is never guessed."""
    stream = orders()
    assert value_type(stream.map(total)) is int
    assert value_type(stream.map(unannotated)) is None
    assert value_type(stream.map(unannotated, value=str)) is str
    assert value_type(stream.map(total, value=float)) is float
    assert value_type(stream.flat_map(lines)) is Item
    assert value_type(stream.flat_map(unannotated, value=Item)) is Item
    for same in (stream.filter(bool), stream.peek(print), *stream.branch(bool, bool)):
        assert value_type(same) is Order
    assert value_type(stream.explode("items")) == dict[str, Any]
    assert value_type(stream.select("id")) == dict[str, Any]
    assert value_type(stream.select(Wide, town="city")) is Wide
    assert value_type(stream.map(Typed)) is Typed


@pytest.mark.parametrize(
    ("declare", "function"),
    [
        (lambda: orders().map(unannotated).to("out"), "unannotated"),
        (lambda: orders().map(lambda order: order).to("out"), "<lambda>"),
        (lambda: orders().flat_map(unannotated).to("out"), "unannotated"),
        (
            lambda: orders().map(unannotated).group_by_key().reduce(max, name="r"),
            "unannotated",
        ),
        (lambda: orders().map_record(lambda r: (r.key, 1)).to("out"), "<lambda>"),
    ],
)
def test_an_unknown_serde_names_the_line_of_its_function(declare, function):
    """Where bytes are needed and unknown, the error has the function's file and line."""
    with pytest.raises(TopologyError) as caught:
        declare()
    text = str(caught.value)
    assert function in text
    assert f"{__file__}:" in text
    assert "value=" in text
    if function == "unannotated":
        assert f"{__file__}:{unannotated.__code__.co_firstlineno}" in text


def test_an_unknown_key_names_its_function():
    """A key made by a function without key= cannot be written."""
    keyed = orders().map_record(unannotated, value=Order)
    with pytest.raises(TopologyError, match=r"keys that go to out.*key= to map_record") as caught:
        keyed.to("out")
    assert "test_stream.py" in str(caught.value)
    assert caught.value.operator == "map_record"
    assert caught.value.topic == "out"


def test_a_topic_with_types_needs_no_annotation():
    """Writing to a Topic says what is written."""
    orders().map(unannotated).to(ps.Topic("out", key=str, value=Order))
    orders().map_record(unannotated).to(ps.Topic("out", key=int, value=Order))


@pytest.mark.parametrize(
    ("key", "wanted"), [(int, "int"), (Order, "Order"), (None, "bytes"), (float, "float")]
)
def test_keys_of_another_type_are_refused(key, wanted):
    """Keys that could never be written are refused naming both types and the fix."""
    declared = {} if key is None else {"key": key}
    with pytest.raises(TopologyError, match=f"keys of type {wanted}.*are str.*key=str") as caught:
        orders().to(ps.Topic("out", value=Order, **declared))
    assert caught.value.topic == "out"


def test_keys_that_fit_are_accepted():
    """Equal types, wider ones and unknown ones can be written."""
    app = ps.App("app")
    orders().to(ps.Topic("out", key=str, value=Order))
    app.stream("a", key=int, value=int).to(ps.Topic("out", key=float, value=int))
    app.stream("b", value=int).to(ps.Topic("out", value=int))
    app.stream("c", key=dict, value=int).to(ps.Topic("out", key=Typed, value=int))
    app.stream("d", key=dict[str, int], value=int).to(ps.Topic("out", key=dict, value=int))


def test_grouping_behind_another_key_is_refused():
    """Equal keys would be in different partitions: the step and the way out are named."""
    stream = orders().map_record(lambda r: (r.value.city, 1), key=str, value=int)
    for behind in (stream, stream.filter(bool), stream.merge(orders())):
        with pytest.raises(TopologyError, match=r"^map_record .*name='by-...'") as caught:
            behind.group_by_key()
        assert caught.value.operator == "map_record"
        assert "test_stream.py" in str(caught.value)


@pytest.mark.parametrize(
    ("declare", "field"),
    [
        (lambda: orders().explode("lines"), "lines"),
        (lambda: orders().select("town"), "town"),
        (lambda: orders().select("items.code"), "code"),
        (lambda: orders().select(Wide), "town"),
        (lambda: orders().select(Wide, town="town"), "town"),
        (lambda: orders().select(Wide, town="city", nope="id"), "nope"),
        (lambda: orders().map(total).select("id"), "id"),
    ],
)
def test_a_field_that_does_not_exist_is_refused(declare, field):
    """Paths are checked against the declared type."""
    with pytest.raises(TopologyError, match=f"has no field '{field}'"):
        declare()


def test_a_select_without_a_class_is_refused():
    """`select` builds something with fields."""
    with pytest.raises(TopologyError, match="int has no fields"):
        orders().select(int)


def test_two_fields_of_one_name_are_refused():
    """The second one has to be renamed, and the error shows how."""
    stream = ps.App("app").stream("a", value=dict)
    with pytest.raises(TopologyError, match=r"two fields named 'id'.*other='b\.id'"):
        stream.select("a.id", "b.id")
    with pytest.raises(TopologyError, match="two fields named 'id'"):
        stream.select("id", id="other")


def test_merged_streams_of_one_type_have_it():
    """Streams of equal types stay typed, of different types they are unknown."""
    app = ps.App("app")
    a = app.stream("a", key=str, value=Order)
    b = app.stream("b", key=str, value=Order)
    a.merge(b).to("out")
    a.merge(b, b).group_by_key().count(name="c")
    with pytest.raises(TopologyError, match="values that go to out is not known: merge"):
        a.merge(app.stream("c", key=str, value=dict)).to("out")
    with pytest.raises(TopologyError, match="keys"):
        a.merge(app.stream("d", key=int, value=Order)).to("out")


def test_a_stream_can_be_used_twice():
    """Steps are values: declaring one changes no other."""
    stream = orders()
    node = stream._node
    stream.filter(bool).to("x")
    stream.map(total).to("y")
    assert stream._node is node
    with pytest.raises(dataclasses.FrozenInstanceError):
        node.detail = "changed"
