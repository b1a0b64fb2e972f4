"""What can be read as what: schemas against each other, and against what fastavro does."""

from typing import Any

import pytest

from penstock.serde.avro_resolution import mismatch
from penstock.serde.avro_schema import parse


def record(*fields: Any, name: str = "R", **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields), **more}


def field(name: str, type: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": type, **more}


ENUM = {"type": "enum", "name": "E", "symbols": ["A", "B"]}


def said(writer: Any, reader: Any) -> str | None:
    return mismatch(parse(writer), parse(reader))


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
