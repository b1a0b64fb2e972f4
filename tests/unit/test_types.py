"""From declared types to serdes, and from functions to what they return."""

import functools
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from penstock.errors import TopologyError
from penstock.serde.json_serde import JsonSerde
from penstock.serde.primitives import BYTES, FLOAT, INT, STR
from penstock.serde.types import UNKNOWN, DataType, data_type, element, format_of, returned, where


class Order(msgspec.Struct):
    """A Struct."""

    id: str


class Upper:
    """A serde of the user's own."""

    def encode(self, value: str, /) -> bytes:
        """Encode."""
        return value.upper().encode()

    def decode(self, data: bytes, /) -> str:
        """Decode."""
        return data.decode().lower()


@pytest.mark.parametrize(
    ("spec", "serde"), [(str, STR), (int, INT), (float, FLOAT), (bytes, BYTES)]
)
def test_primitive_types_have_kafkas_formats(spec, serde):
    """The four primitive types are their own serdes."""
    assert data_type(spec) == DataType(spec, serde)


def test_other_types_are_json():
    """A Struct is JSON; as a key its fields are sorted."""
    assert data_type(Order).type is Order
    assert format_of(data_type(Order).serde) == "json"
    assert format_of(data_type(Order, key=True).serde) == "json-sorted"


def test_a_serde_is_taken_as_it_is():
    """A serde of the user's own says what its type is, if it wants."""
    mine = Upper()
    assert data_type(mine) == DataType(None, mine)
    assert data_type(JsonSerde(Order)) == DataType(Order, JsonSerde(Order))
    assert format_of(mine) == "Upper"


def test_nothing_declared_is_unknown():
    """None says nothing."""
    assert data_type(None) is UNKNOWN


@pytest.mark.parametrize("spec", [{"id": str}, [int], "Order", 3, Upper, {int}])
def test_what_is_no_type_is_refused(spec):
    """A schema, an instance or a serde's class in place of a type is a TopologyError."""
    with pytest.raises(TopologyError):
        data_type(spec)


def annotated(value: str) -> int:
    """With a return annotation."""
    return len(value)


def nothing(value: str) -> None:
    """Returns nothing."""


def several(value: str) -> Iterator[Order]:
    """Yields Structs."""
    yield Order(value)


def ambiguous(value: str) -> "list[int] | dict[str, int] | NotThere":  # noqa: F821
    """A name of a scope that is gone."""
    return [len(value)]


@pytest.mark.parametrize(
    ("function", "type"),
    [
        (annotated, int),
        (Order, Order),
        (int, int),
        (lambda value: 1, None),
        (nothing, None),
        (ambiguous, None),
        (str.lower, None),
        (len, None),
        (functools.partial(annotated), None),
    ],
)
def test_the_return_annotation_is_the_type(function, type):
    """An annotation or a class says what is returned; without one it is unknown, not guessed."""
    assert returned(function).type is type
    assert (returned(function).serde is None) is (type is None)


def test_the_elements_of_what_is_returned():
    """A flat map's type is that of one element."""
    assert element(several).type is Order
    assert element(annotated) is UNKNOWN
    assert element(lambda value: [1]) is UNKNOWN
    assert element(ambiguous) is UNKNOWN


def test_any_is_unknown():
    """A function that returns Any says nothing."""

    def anything(value: str) -> Any:
        return value

    assert returned(anything) is UNKNOWN


def test_a_function_is_named_with_its_line():
    """Messages name the file and the line of a user's function."""
    shown = where(annotated)
    assert shown.startswith("annotated (")
    assert shown.endswith(f"test_types.py:{annotated.__code__.co_firstlineno})")
    assert "<lambda>" in where(lambda value: value)
    assert where(str.lower) == "str.lower"
    assert "partial" in where(functools.partial(annotated))
