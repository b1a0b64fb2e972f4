"""From a type to its Avro schema: every field has one, or the message names it."""

import dataclasses
import datetime
import decimal
import enum
import uuid
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import fastavro
import msgspec
import pytest

from penstock.errors import TopologyError
from penstock.serde.avro_types import schema_of


class Kind(enum.Enum):
    """Symbols."""

    NEW = "new"
    OLD = "old"


class Level(enum.IntEnum):
    """Numbers."""

    LOW = 1
    HIGH = 2


class Spaced(enum.Enum):
    """No symbols."""

    A = "a b"


class Line(msgspec.Struct):
    """A nested record."""

    item: str
    parent: "Line | None" = None


def fields(type: Any) -> Any:
    schema = schema_of(type)
    fastavro.parse_schema(schema)
    return {one["name"]: one for one in schema["fields"]}


def the_field(declared: Any, **more: Any) -> Any:
    Made = msgspec.defstruct("Made", [("a", declared, *more.values())])
    return fields(Made)["a"]


@pytest.mark.parametrize(
    ("declared", "schema"),
    [
        (str, "string"),
        (int, "long"),
        (float, "double"),
        (bool, "boolean"),
        (bytes, "bytes"),
        (None, "null"),
        (int | None, ["null", "long"]),
        (int | str, ["long", "string"]),
        (list[int], {"type": "array", "items": "long"}),
        (set[str], {"type": "array", "items": "string"}),
        (tuple[int, ...], {"type": "array", "items": "long"}),
        (dict[str, list[float]], {"type": "map", "values": {"type": "array", "items": "double"}}),
        (Kind, {"type": "enum", "name": "Kind", "symbols": ["new", "old"]}),
        (Level, "long"),
        (Literal["a", "b"], "string"),
        (datetime.datetime, {"type": "long", "logicalType": "timestamp-millis"}),
        (datetime.date, {"type": "int", "logicalType": "date"}),
        (datetime.time, {"type": "long", "logicalType": "time-micros"}),
        (uuid.UUID, {"type": "string", "logicalType": "uuid"}),
        (Annotated[int, msgspec.Meta(ge=0, extra={"unit": "ms"})], "long"),
    ],
)
def test_types_have_their_schemas(declared, schema):
    """Alone and as a field."""
    assert schema_of(declared) == schema
    assert the_field(declared)["type"] == schema


def test_records_are_named_and_named_once():
    """A class is a record under its name; where it comes again, the name stands for it."""

    class Order(msgspec.Struct, rename="camel"):
        first_line: Line
        lines: list[Line]

    schema = schema_of(Order)
    line = {
        "type": "record",
        "name": "Line",
        "fields": [
            {"name": "item", "type": "string"},
            {"name": "parent", "type": ["null", "Line"], "default": None},
        ],
    }
    assert schema == {
        "type": "record",
        "name": "Order",
        "fields": [
            {"name": "firstLine", "type": line},
            {"name": "lines", "type": {"type": "array", "items": "Line"}},
        ],
    }
    fastavro.parse_schema(schema)


def test_dataclasses_and_typed_dicts_are_records():
    """Whatever declares fields."""

    @dataclasses.dataclass
    class Data:
        a: int

    class Typed(TypedDict):
        a: int

    assert fields(Data) == fields(Typed) == {"a": {"name": "a", "type": "long"}}


@pytest.mark.parametrize(
    ("declared", "default", "schema"),
    [
        (int, 5, {"type": "long", "default": 5}),
        (float, 5, {"type": "double", "default": 5.0}),
        (str, "x", {"type": "string", "default": "x"}),
        (bool, False, {"type": "boolean", "default": False}),
        (int | None, None, {"type": ["null", "long"], "default": None}),
        (int | None, 5, {"type": ["long", "null"], "default": 5}),
        (float | None, 5, {"type": ["double", "null"], "default": 5.0}),
        (Literal["a"], "a", {"type": "string", "default": "a"}),
        (list[int], [], {"type": {"type": "array", "items": "long"}, "default": []}),
        (dict[str, int], {}, {"type": {"type": "map", "values": "long"}, "default": {}}),
        (bytes, b"x", {"type": "bytes"}),
        (
            datetime.date,
            datetime.date(2020, 1, 1),
            {"type": {"type": "int", "logicalType": "date"}},
        ),
    ],
)
def test_defaults_are_those_of_the_type(declared, default, schema):
    """So that a reader with a new field reads what was written before; null or not comes first."""
    assert the_field(declared, default=default) == {"name": "a", **schema}


def test_a_default_of_an_enum_is_its_symbol():
    """Not the member."""

    class Order(msgspec.Struct):
        kind: Kind = Kind.OLD

    assert fields(Order)["kind"]["default"] == "old"


class Other:
    """No fields."""


@pytest.mark.parametrize(
    ("declared", "match"),
    [
        (datetime.timedelta, r"Made\.a is TimeDelta, for which Avro has no type"),
        (decimal.Decimal, r"Made\.a is Decimal, .*schema=\.\.\."),
        (dict, r"Made\.a is Dict"),
        (Any, r"Made\.a is Any"),
        (dict[int, str], r"Made\.a is Dict"),
        (tuple[int, str], r"Made\.a is Tuple"),
        (list[Other], r"Made\.a is Other"),
        (Spaced, r"Made\.a is the enum Spaced, whose values are no symbols of Avro: 'a b'"),
    ],
)
def test_other_types_are_refused(declared, match):
    """The message names the field, and what to do."""
    with pytest.raises(TopologyError, match=match):
        the_field(declared)


def test_what_cannot_be_told_apart_is_refused():
    """Two records in a union, two classes of one name, a field that may be missing."""

    class Made(msgspec.Struct):
        line: Line

    outer = Made

    class Made(msgspec.Struct):
        made: outer

    with pytest.raises(TopologyError, match="a second class named Made"):
        schema_of(Made)

    class One(msgspec.Struct, tag=True):
        a: int

    class Two(msgspec.Struct, tag=True):
        a: int

    with pytest.raises(TopologyError, match=r"Made\.a is a union of several records"):
        the_field(One | Two)

    class Partial(TypedDict):
        a: NotRequired[int]

    with pytest.raises(TopologyError, match=r"Partial\.a may be missing"):
        schema_of(Partial)


@pytest.mark.parametrize("option", ["omit_defaults", "array_like", "tag"])
def test_structs_that_are_no_records_are_refused(option):
    """What msgspec would leave out or put in does not fit a record."""
    Made = msgspec.defstruct("Made", [("a", int, 0)], **{option: True})
    with pytest.raises(TopologyError, match=f"Made is declared with {option}="):
        schema_of(list[Made])


def test_a_field_needs_a_name_of_avro():
    """What JSON can call a field, Avro cannot always."""
    Made = msgspec.defstruct("Made", [("a", int)], rename={"a": "a-b"})
    with pytest.raises(TopologyError, match=r"Made\.a is written as 'a-b'"):
        schema_of(Made)
