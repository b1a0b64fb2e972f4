"""JSON: typed decoding, checked encoding, and keys whose bytes are equal where they are."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import penstock as ps
from penstock.errors import TopologyError
from penstock.serde.json_serde import JsonSerde
from penstock.serde.types import format_of, is_canonical, is_immutable


class Order(msgspec.Struct):
    """A Struct."""

    id: str
    total: float = 0.0


class Rush(Order):
    """A Struct that is an Order."""


@dataclasses.dataclass
class Data:
    """A dataclass."""

    id: str


class Typed(TypedDict):
    """A TypedDict."""

    id: str


class Custom:
    """A class that no JSON stands for."""


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text("abcä"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abä"), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("type", "value", "data"),
    [
        (Order, Order("a", 1.5), b'{"id":"a","total":1.5}'),
        (Data, Data("a"), b'{"id":"a"}'),
        (Typed, {"id": "a"}, b'{"id":"a"}'),
        (dict, {"b": 1, "a": [None, True]}, b'{"b":1,"a":[null,true]}'),
        (list[int], [1, 2], b"[1,2]"),
        (int | None, 1, b"1"),
        (bool, True, b"true"),
    ],
)
def test_values_are_plain_json(type, value, data):
    """A value is the JSON that any other program writes and reads."""
    serde = ps.serde.json(type)
    assert serde.encode(value) == data
    assert serde.decode(data) == value
    assert serde.encode_all([value, value]) == [data, data]


@given(plain)
def test_any_plain_value_survives(value):
    """What JSON can say comes back as it was."""
    serde = JsonSerde(Any)
    assert serde.decode(serde.encode(value)) == value
    assert json.loads(serde.encode(value)) == value


def test_unknown_fields_are_skipped_and_missing_ones_refused():
    """A reader survives new fields of its writers; what it needs has to be there."""
    serde = JsonSerde(Order)
    assert serde.decode(b'{"id":"a","new":{"x":[1]},"total":2}') == Order("a", 2.0)
    with pytest.raises(msgspec.ValidationError, match="id"):
        serde.decode(b'{"total":2}')


@pytest.mark.parametrize("data", [b"", b"{", b"nope", b'{"id":1}', b"\xff", b"[]"])
def test_bytes_of_something_else_are_refused(data):
    """Neither broken JSON nor JSON of another shape becomes an Order."""
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        JsonSerde(Order).decode(data)


@pytest.mark.parametrize(
    ("type", "wrong"),
    [(Order, {"id": "a"}), (Order, Data("a")), (dict, Order("a")), (list[int], (1,)), (Data, "a")],
)
def test_a_value_of_another_class_is_refused(type, wrong):
    """A wrong class raises alone and in a column, although JSON could be written of it."""
    serde = JsonSerde(type)
    with pytest.raises(TypeError, match="expected"):
        serde.encode(wrong)
    with pytest.raises(TypeError, match="expected"):
        serde.encode_all([wrong])


def test_a_subclass_is_of_its_class():
    """An Order that can do more is written as what it is."""
    assert JsonSerde(Order).encode(Rush("a", 1.0)) == b'{"id":"a","total":1.0}'


@given(st.permutations(["a", "b", "ä", "z"]))
def test_keys_have_sorted_fields(order):
    """Equal keys have equal bytes, in whatever order their fields were put in."""
    serde = JsonSerde(dict[str, int], sort_fields=True)
    assert serde.encode(dict.fromkeys(order, 1)) == '{"a":1,"b":1,"z":1,"ä":1}'.encode()


def test_nested_keys_are_sorted_too():
    """Fields are sorted at every depth, and those of Structs as well."""

    class Key(msgspec.Struct):
        b: dict[str, int]
        a: int

    topic = ps.Topic("t", key=Key, value=int)
    assert topic.key.encode(Key({"z": 1, "c": 2}, 3)) == b'{"a":3,"b":{"c":2,"z":1}}'


def test_tuple_keys_are_arrays():
    """A tuple key is a JSON array."""
    topic = ps.Topic("t", key=tuple[str, int], value=int)
    assert topic.key.encode(("a", 1)) == b'["a",1]'
    assert topic.key.decode(b'["a", 1]') == ("a", 1)


def test_json_neither_is_shared_nor_stands_for_its_bytes():
    """Values can be changed in place, and one value has many texts."""
    assert not is_immutable(JsonSerde(Order))
    assert not is_canonical(JsonSerde(dict, sort_fields=True))


def test_equal_types_are_equal_serdes():
    """Serdes of one type are one serde, wherever they were declared; of keys and values not."""
    assert JsonSerde(Order) == JsonSerde(Order)
    assert hash(JsonSerde(Order)) == hash(JsonSerde(Order))
    assert JsonSerde(list[int]) == JsonSerde(list[int])
    assert JsonSerde(Order) != JsonSerde(Rush)
    assert JsonSerde(Order) != JsonSerde(Order, sort_fields=True)
    assert JsonSerde(Order) != Order


def test_formats_do_not_name_fields():
    """A schema may evolve: the format is part of a store's definition, its fields are not."""
    assert format_of(JsonSerde(Order)) == format_of(JsonSerde(Data)) == "json"
    assert format_of(JsonSerde(Order, sort_fields=True)) == "json-sorted"


@pytest.mark.parametrize("type", [dict[int, int] | dict[str, str], "Order", 3, Sequence[Custom]])
def test_types_without_json_are_refused(type):
    """A type that msgspec cannot read fails at its declaration."""
    with pytest.raises(TopologyError, match="pass a serde of your own"):
        ps.serde.json(type)


@pytest.mark.parametrize("type", [Custom, list[Custom], dict[str, Custom]])
def test_classes_without_fields_are_refused(type):
    """A class that JSON says nothing of would fail with every record: it fails at declaration."""
    with pytest.raises(TopologyError, match="Custom"):
        ps.App("app").stream("in", value=type)
