"""Schemas: what is parsed, what counts as the same, and what can be read as what."""

import json
from typing import Any

import pytest

from penstock.serde.avro_schema import MAX_SCHEMA_BYTES, mismatch, parse


def record(*fields: Any, name: str = "R", **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields), **more}


def field(name: str, type: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": type, **more}


ENUM = {"type": "enum", "name": "E", "symbols": ["A", "B"]}


def said(writer: Any, reader: Any) -> str | None:
    return mismatch(parse(writer), parse(reader))


@pytest.mark.parametrize("text", ["string", '"string"', '{"type":"string"}'])
def test_a_schema_is_text_or_what_its_json_says(text):
    """A name, JSON text, and the type written out are one schema."""
    assert parse(text).wire_form() == '"string"'


@pytest.mark.parametrize(
    ("schema", "match"),
    [
        ("nonsense", "no Avro schema: UnknownType: nonsense"),
        ("{", "JSONDecodeError"),
        ({"type": "record", "fields": []}, "name"),
        ({"no": "type"}, "KeyError"),
        ("[" * 100_000, "RecursionError"),
        ("[" * 850 + "]" * 850, "RecursionError"),
        ('"' + "x" * MAX_SCHEMA_BYTES + '"', "characters, over"),
    ],
)
def test_what_is_no_schema_is_a_value_error(schema, match):
    """Also what would take the parser too deep."""
    with pytest.raises(ValueError, match=match):
        parse(schema)


def test_documentation_does_not_change_the_format():
    """The fingerprint covers what decides the bytes, logical types among it, and no more."""
    plain = parse(record(field("a", "long")))
    said = record(field("a", {"type": "long"}, doc="x", default=1, aliases=["b"]), doc="y")
    assert parse(said).fingerprint() == plain.fingerprint()
    logical = record(field("a", {"type": "long", "logicalType": "timestamp-millis"}))
    for other in (record(field("a", "int")), record(field("b", "long")), logical):
        assert parse(other).fingerprint() != plain.fingerprint()


@pytest.mark.parametrize(
    ("writer", "reader"),
    [
        ("int", "long"),
        ("int", "double"),
        ("bytes", "string"),
        (["int", "null"], ["null", "long"]),
        ("int", ["null", "int"]),
        (record(field("a", "int"), field("b", "int")), record(field("b", "long"))),
        (record(), record(field("a", "int", default=1))),
        (record(field("old", "int")), record(field("a", "int", aliases=["old"]))),
        (record(name="n.R"), record(name="m.R")),
        (record(name="Old"), record(aliases=["Old"])),
        (ENUM, {**ENUM, "symbols": ["B", "A", "C"]}),
        (ENUM, {**ENUM, "symbols": ["B"], "default": "B"}),
        (record(field("r", ["null", "R"])), record(field("r", ["null", "R"]))),
    ],
)
def test_these_can_be_read(writer, reader):
    """Promotion, unions, fields by name or alias, defaults, symbols, recursion."""
    assert said(writer, reader) is None


@pytest.mark.parametrize(
    ("writer", "reader", "why"),
    [
        ("long", "int", "it is long, read as int"),
        (["null", "int"], "int", "it is null, read as int"),
        ("string", ["null", "int"], "it is string, read as one of null, int"),
        (record(), record(field("a", "int")), "field a is missing, and the reader has no default"),
        (record(name="Q"), record(), "it is record Q, read as record R"),
        (
            record(field("a", {"type": "array", "items": "string"})),
            record(field("a", {"type": "array", "items": "long"})),
            "field a[] is string, read as long",
        ),
        (ENUM, {**ENUM, "symbols": ["A"]}, "it has the symbols B, which the reader lacks"),
        (
            {"type": "fixed", "name": "F", "size": 2},
            {"type": "fixed", "name": "F", "size": 3},
            "it has 2 bytes, read as 3",
        ),
    ],
)
def test_these_cannot(writer, reader, why):
    """The message names the field and both sides."""
    assert str(said(writer, reader)).startswith(why)


def test_its_text_is_json():
    """What goes to a registry is the schema as it was given."""
    assert json.loads(parse(record(field("a", "int"))).text) == record(field("a", "int"))
