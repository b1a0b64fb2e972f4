"""Schemas of Avro: parsed within limits, and what of them decides the bytes.

A schema that comes from a registry is not trusted: its size and its nesting are looked at
before fastavro parses it.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import fastavro

from penstock.serde.inspection import is_dict, is_list

MAX_SCHEMA_BYTES = 1024 * 1024
MAX_SAID = 300  # characters of an error, which may quote the whole schema
MAX_SCHEMA_DEPTH = 600  # levels of JSON, of which a level of Avro takes up to four

# What decides the bytes: aliases, defaults and documentation do not.
_WIRE = ("type", "name", "symbols", "items", "values", "size", "logicalType", "precision", "scale")
VALUE = "value"
NAMED = ("record", "error", "enum", "fixed")


@dataclass(frozen=True, eq=False)
class AvroSchema:
    """A schema that fastavro has parsed.

    Attributes:
        parsed: as fastavro takes it.
        named: its named types, by their full names.
        text: the JSON that was parsed.
        given: those of its named types that it refers to and does not define.
    """

    parsed: Any
    named: Mapping[str, Any] = field(repr=False)
    text: str = field(repr=False)
    given: Mapping[str, Any] = field(repr=False)

    @property
    def name(self) -> str | None:
        """The full name of the record, enum or fixed that it is, None for other schemas."""
        return self.parsed.get("name") if is_dict(self.parsed) else None

    @property
    def kind(self) -> str:
        """The type at its root, such as "record" or "string"."""
        return kind_of(self.parsed)

    def in_record(self) -> Any:
        """The schema as that of the field VALUE of a record, which has the same bytes.

        A parsed record is all that fastavro takes as it is. Any other schema it parses for each
        value, without the types that the schema refers to and does not define.
        """
        fields = [{"name": VALUE, "type": json.loads(self.text)}]
        record = {"type": "record", "name": "PenstockValue", "fields": fields}
        return fastavro.parse_schema(record, dict(self.given))

    def wire_form(self) -> str:
        """What decides the bytes, as text: schemas with one form read each other's bytes."""
        return json.dumps(_wire(self.parsed, self.named, set()), sort_keys=True)

    def fingerprint(self) -> str:
        """The wire form in 16 characters."""
        return hashlib.sha256(self.wire_form().encode()).hexdigest()[:16]

    def records(self) -> Iterator[Any]:
        """The records in it."""
        return (of for of in self.named.values() if kind_of(of) in ("record", "error"))

    def has_maps(self) -> bool:
        """Whether there may be a map in it: its entries have no order of their own."""
        return '"map"' in self.wire_form()


def parse(schema: Any, named: Mapping[str, Any] | None = None) -> AvroSchema:
    """Parse a schema, text or what its JSON stands for.

    Args:
        schema: JSON text, the name of a primitive type, a dict or a list.
        named: types that it refers to and does not define.

    Raises:
        ValueError: if it is no schema, or larger or deeper than the limits.
    """
    given = dict(named or {})
    types = dict(given)
    try:
        text = schema if isinstance(schema, str) else json.dumps(schema)
        if len(text) > MAX_SCHEMA_BYTES:
            raise ValueError(f"it has {len(text)} characters, over {MAX_SCHEMA_BYTES}")
        raw = _loads(text)
        if _depth(raw) > MAX_SCHEMA_DEPTH:
            raise ValueError(f"it nests deeper than {MAX_SCHEMA_DEPTH} levels of JSON")
        parsed: Any = fastavro.parse_schema(raw, types)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"[:MAX_SAID]
        raise ValueError(f"this is no Avro schema: {said}") from error
    return AvroSchema(parsed, types, json.dumps(raw), given)


def _loads(text: str) -> Any:
    # "string" is a schema as well as '"string"' is.
    return json.loads(text) if text.lstrip()[:1] in ("{", "[", '"') else text


def _depth(raw: Any) -> int:
    level, depth = [raw], 0
    while level and depth <= MAX_SCHEMA_DEPTH:
        depth += 1
        level = [inner for value in level for inner in _inside(value)]
    return depth


def _inside(value: Any) -> Iterable[Any]:
    if is_dict(value):
        return value.values()
    return value if is_list(value) else ()


def kind_of(schema: Any) -> str:
    """The type at the root of a parsed schema, or the name of one that it refers to."""
    if is_list(schema):
        return "union"
    return str(schema["type"]) if is_dict(schema) else str(schema)


def _wire(schema: Any, named: Mapping[str, Any], seen: set[str]) -> Any:
    if is_list(schema):
        return [_wire(branch, named, seen) for branch in schema]
    if not is_dict(schema):
        known = schema in seen or schema not in named
        return schema if known else _wire(named[schema], named, seen)
    form = {key: schema[key] for key in _WIRE if key in schema}
    if form["type"] in NAMED:
        if form["name"] in seen:
            return form["name"]
        seen.add(form["name"])
    for key in ("items", "values"):
        if key in form:
            form[key] = _wire(form[key], named, seen)
    if "fields" in schema:
        fields: list[Any] = schema["fields"]
        form["fields"] = [[one["name"], _wire(one["type"], named, seen)] for one in fields]
    # {"type": "string"} is "string".
    return form["type"] if len(form) == 1 else form
