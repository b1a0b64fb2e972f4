"""Schemas: what is parsed, and what counts as the same."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.serde.avro_guard import AvroLimits
from penstock.serde.avro_resolution import mismatch
from penstock.serde.avro_schema import MAX_SCHEMA_BYTES, parse
from penstock.serde.avro_serde import AvroReader


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


NAMES = st.sampled_from(["A", "B", "n.A", "null", "long", "string", "bytes"])
KINDS = st.sampled_from(["record", "enum", "fixed", "array", "map", "error", "union", "request"])


def objects(inner: Any) -> Any:
    """Objects with the words of Avro, each with what it may hold, or with something else."""
    of = {
        "type": NAMES | KINDS | inner,
        "name": NAMES | inner,
        "namespace": NAMES,
        "fields": st.lists(st.fixed_dictionaries({"name": NAMES, "type": inner}), max_size=3)
        | inner,
        "items": inner,
        "values": inner,
        "symbols": st.lists(NAMES, max_size=2) | inner,
        "size": st.integers(-1, 2**70) | inner,
        "logicalType": st.sampled_from(["decimal", "uuid", "date", "timestamp-millis"]) | inner,
        "precision": st.integers(-1, 2**40) | inner,
        "scale": st.integers(-1, 2**40) | inner,
        "default": inner,
        "aliases": st.lists(NAMES, max_size=2) | inner,
    }
    return st.fixed_dictionaries({}, optional=of)


json_of_any_kind = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | NAMES | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | objects(inner),
    max_leaves=12,
)


@given(json_of_any_kind, st.binary(max_size=30))
def test_no_schema_of_a_registry_is_more_than_refused(schema, data):
    """Whatever JSON it is: it is parsed, guarded and read with, or it is a ValueError."""
    try:
        parsed = parse(json.dumps(schema))
        AvroReader(parsed, parsed, None, AvroLimits()).read(data)
    except ValueError:
        return
    assert mismatch(parsed, parsed) is None
