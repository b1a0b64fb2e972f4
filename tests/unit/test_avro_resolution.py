"""What can be read as what: schemas against each other, and against what fastavro does."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.serde.avro_guard import AvroLimits
from penstock.serde.avro_resolution import mismatch
from penstock.serde.avro_schema import parse
from penstock.serde.avro_serde import AvroReader, AvroWriter
from tests.unit.avro_shapes import schema, shapes, values


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


def test_records_that_do_not_fit_do_not_fit_again():
    """What was found for a pair of records holds wherever the pair comes."""
    inner = record(field("a", "long"))
    writer = record(field("x", inner), field("y", "R"), name="Outer")
    other = record(field("a", "string"))
    first = record(field("x", other), name="Outer", namespace="one")
    second = record(field("y", "one.R"), name="Outer", namespace="two")
    assert said(writer, first) == "field x.a is long, read as string"
    assert said(writer, [first, second]) is not None


PROMOTED = {"int": ("long", "double"), "long": ("double",), "float": ("double",)}


@st.composite
def evolved(draw: Any, of: Any) -> Any:
    """A schema that reads what another has written: what may change, changes."""
    if isinstance(of, list):
        return draw(st.permutations([draw(evolved(branch)) for branch in of]))
    if isinstance(of, str):
        return draw(st.sampled_from([of, *PROMOTED.get(of, ())]))
    if of["type"] in ("array", "map"):
        inner = "items" if of["type"] == "array" else "values"
        return {**of, inner: draw(evolved(of[inner]))}
    if of["type"] == "enum":
        symbols = draw(st.permutations(of["symbols"]))
        more = {**of, "symbols": [*symbols, "NEW"]}
        return draw(st.sampled_from([more, {**of, "symbols": ["A"], "default": "A"}]))
    if of["type"] != "record" or "namespace" in of:  # with a type that it names again
        return of
    fields = []
    for one in filter(lambda _: draw(st.booleans()), of["fields"]):
        changed = field(one["name"], draw(evolved(one["type"])))
        renamed = {**changed, "name": f"new_{one['name']}", "aliases": [one["name"]]}
        fields.append(draw(st.sampled_from([changed, renamed])))
    fields.append(field("more", ["null", "string"], default=None))
    return {**of, "fields": draw(st.permutations(fields))}


@given(st.data())
def test_what_may_evolve_is_read(data):
    """Whatever evolution: no mismatch is found, and fastavro reads every value of the writer."""
    shape = data.draw(shapes)
    writer, reader = parse(schema(shape)), parse(data.draw(evolved(schema(shape))))
    assert mismatch(writer, reader) is None
    found = AvroWriter(writer, None).write(data.draw(values(shape)))
    AvroReader(writer, reader, None, AvroLimits()).read(found)
    for cut in range(len(found)):
        with pytest.raises(ValueError):
            AvroReader(writer, reader, None, AvroLimits()).read(found[:cut])


@given(st.data())
def test_what_is_said_to_be_readable_is_read(data):
    """Of two schemas that have nothing to do with each other as well; but not all bytes are text."""
    shape = data.draw(shapes)
    writer, reader = parse(schema(shape)), parse(schema(data.draw(shapes)))
    if mismatch(writer, reader) is None:
        found = AvroWriter(writer, None).write(data.draw(values(shape)))
        try:
            AvroReader(writer, reader, None, AvroLimits()).read(found)
        except ValueError as error:
            assert "UnicodeDecodeError" in str(error)  # noqa: PT017
