"""Field paths: compiled once, checked at declaration, the same for every kind of value."""

import dataclasses
from typing import Any, TypedDict

import msgspec
import pytest

from penstock.errors import TopologyError
from penstock.operators.fields import compile_path, compile_selector, fields_of
from penstock.serde.primitives import INT, STR
from penstock.serde.types import UNKNOWN, DataType, data_type


class Inner(msgspec.Struct):
    """A Struct."""

    code: str


@dataclasses.dataclass
class Data:
    """A dataclass with a Struct."""

    inner: Inner
    maybe: Inner | None = None


class Typed(TypedDict):
    """A TypedDict with a dataclass."""

    data: Data
    free: dict[str, Any]


class Outer(msgspec.Struct):
    """A Struct with all of it."""

    typed: Typed
    number: int
    free: Any
    maybe: Inner | None = None
    named: "Inner | list[int] | None" = None


VALUE = Outer(
    {"data": Data(Inner("x"), Inner("y")), "free": {"a": {"b": 1}}},
    7,
    {"a": Inner("z")},
    Inner("m"),
    Inner("d"),
)


@pytest.mark.parametrize(
    ("path", "found", "type"),
    [
        ("number", 7, int),
        ("typed.data.inner.code", "x", str),
        ("typed.data.maybe.code", "y", None),
        ("typed.free.a.b", 1, None),
        ("free.a.code", "z", None),
        ("maybe.code", "m", None),
        ("named.code", "d", None),
        ("maybe", Inner("m"), Inner | None),
    ],
)
def test_a_path_goes_through_every_kind_of_value(path, found, type):
    """Struct, dataclass, TypedDict, dict and optional values nest in any order."""
    get, declared = compile_path(path, Outer)
    assert get(VALUE) == found
    assert declared == type


@pytest.mark.parametrize("declared", [dict, dict[str, Any], Any, None])
def test_a_plain_dict_takes_any_path(declared):
    """A path into what has no declared fields is checked per record only."""
    get, found = compile_path("a.b", declared)
    assert get({"a": {"b": 1}}) == 1
    assert found is None
    with pytest.raises(KeyError):
        get({"a": {}})


def test_a_value_of_unknown_type_may_be_an_object():
    """Behind a function without annotation a path reads attributes as well."""
    assert compile_path("code", None)[0](Inner("x")) == "x"


@pytest.mark.parametrize(
    ("path", "declared", "owner", "fields"),
    [
        ("nope", Outer, "Outer", "typed, number, free, maybe, named"),
        ("typed.nope", Outer, "Typed", "data, free"),
        ("typed.data.nope", Outer, "Data", "inner, maybe"),
        ("number.x", Outer, "int", "none"),
        ("x", int, "int", "none"),
        ("", Outer, "Outer", "typed"),
        ("number.", Outer, "int", "none"),
    ],
)
def test_a_field_that_is_not_there_lists_those_that_are(path, declared, owner, fields):
    """The error names the type, the field, the path, and the fields to choose from."""
    with pytest.raises(TopologyError) as caught:
        compile_path(path, declared)
    assert str(caught.value).startswith(f"{owner} has no field")
    assert repr(path) in str(caught.value)
    assert f"Its fields are: {fields}" in str(caught.value)


def test_a_selector_is_a_path_a_function_or_several():
    """A tuple of selectors is a tuple of what they find."""
    of = data_type(Outer)
    assert compile_selector("number", of)[1] == DataType(int, INT)
    get, found = compile_selector(lambda value: value.number + 1, of)
    assert (get(VALUE), found) == (8, UNKNOWN)

    def code(value: Outer) -> str:
        return value.typed["data"].inner.code

    assert compile_selector(code, of)[1] == DataType(str, STR)
    get, found = compile_selector(("number", "typed.data.inner.code"), of, key=True)
    assert get(VALUE) == (7, "x")
    assert found.serde is not None
    assert found.serde.encode(get(VALUE)) == b'[7,"x"]'


def test_fields_are_listed_with_their_types():
    """A type with fields has them in order, one without has none, an open one has no list."""
    assert fields_of(Inner) == {"code": str}
    assert list(fields_of(Data) or ()) == ["inner", "maybe"]
    assert fields_of(int) == {}
    assert fields_of(dict) is None
