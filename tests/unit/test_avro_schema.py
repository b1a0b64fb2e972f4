"""Schemas: what is parsed, and what counts as the same."""

import json
from typing import Any

import pytest

from penstock.serde.avro_schema import MAX_SCHEMA_BYTES, parse


def record(*fields: Any, name: str = "R", **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields), **more}


def field(name: str, type: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": type, **more}


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
        ("[" * 650 + "]" * 650, "nests deeper than 600 levels of JSON"),
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


def test_its_text_is_json():
    """What goes to a registry is the schema as it was given."""
    assert json.loads(parse(record(field("a", "int"))).text) == record(field("a", "int"))
