"""Schemas of Avro: parsed within limits, compared, and resolved against each other.

A schema that comes from a registry is not trusted: its size and its nesting are looked at
before fastavro parses it.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import fastavro
import fastavro.schema

MAX_SCHEMA_BYTES = 1024 * 1024
MAX_SCHEMA_DEPTH = 800  # levels of JSON, of which a level of Avro takes up to four

# What decides the bytes: aliases, defaults and documentation do not.
_WIRE = ("type", "name", "symbols", "items", "values", "size", "logicalType", "precision", "scale")
_NAMED = ("record", "error", "enum", "fixed")
_PROMOTED = {
    "int": ("long", "float", "double"),
    "long": ("float", "double"),
    "float": ("double",),
    "string": ("bytes",),
    "bytes": ("string",),
}


@dataclass(frozen=True, eq=False)
class AvroSchema:
    """A schema that fastavro has parsed.

    Attributes:
        parsed: as fastavro takes it.
        named: its named types, by their full names.
        text: the JSON that was parsed.
    """

    parsed: Any
    named: Mapping[str, Any] = field(repr=False)
    text: str = field(repr=False)

    @property
    def name(self) -> str | None:
        """The full name of the record, enum or fixed that it is, None for other schemas."""
        return self.parsed.get("name") if isinstance(self.parsed, dict) else None

    @property
    def kind(self) -> str:
        """The type at its root, such as "record" or "string"."""
        return str(_kind(self.parsed))

    def wire_form(self) -> str:
        """What decides the bytes, as text: schemas with one form read each other's bytes."""
        return json.dumps(_wire(self.parsed, self.named, set()), sort_keys=True)

    def fingerprint(self) -> str:
        """The wire form in 16 characters."""
        return hashlib.sha256(self.wire_form().encode()).hexdigest()[:16]

    def records(self) -> Iterator[Any]:
        """The records in it."""
        return (of for of in self.named.values() if _kind(of) in ("record", "error"))

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
    text = schema if isinstance(schema, str) else json.dumps(schema)
    if len(text) > MAX_SCHEMA_BYTES:
        raise ValueError(f"the schema has {len(text)} characters, over {MAX_SCHEMA_BYTES}")
    types = dict(named or {})
    try:
        raw = _loads(text)
        if _depth(raw) > MAX_SCHEMA_DEPTH:
            raise RecursionError(f"it nests deeper than {MAX_SCHEMA_DEPTH} levels of JSON")
        parsed: Any = fastavro.parse_schema(raw, types)
    except Exception as error:
        raise ValueError(f"this is no Avro schema: {type(error).__name__}: {error}") from error
    return AvroSchema(parsed, types, json.dumps(raw))


def _loads(text: str) -> Any:
    # "string" is a schema as well as '"string"' is.
    return json.loads(text) if text.lstrip()[:1] in ("{", "[", '"') else text


def _depth(raw: Any) -> int:
    level, depth = [raw], 0
    while level and depth <= MAX_SCHEMA_DEPTH:
        depth += 1
        level = [inner for value in level for inner in _inside(value)]
    return depth


def _inside(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()  # pyright: ignore[reportUnknownVariableType,reportUnknownMemberType]
    return value if isinstance(value, list) else ()  # pyright: ignore[reportUnknownVariableType]


def _kind(schema: Any) -> Any:
    if isinstance(schema, list):
        return "union"
    return schema["type"] if isinstance(schema, dict) else schema


def _wire(schema: Any, named: Mapping[str, Any], seen: set[str]) -> Any:
    if isinstance(schema, list):
        return [_wire(branch, named, seen) for branch in schema]  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(schema, dict):
        return (
            schema if schema in seen or schema not in named else _wire(named[schema], named, seen)
        )
    form = {key: schema[key] for key in _WIRE if key in schema}
    kind: Any = form["type"]
    if isinstance(kind, dict | list):
        return _wire(kind, named, seen)
    if kind in _NAMED:
        if form["name"] in seen:
            return form["name"]
        seen.add(form["name"])
    for key in ("items", "values"):
        if key in form:
            form[key] = _wire(form[key], named, seen)
    if "fields" in schema:
        form["fields"] = [
            [one["name"], _wire(one["type"], named, seen)]
            for one in schema["fields"]  # pyright: ignore[reportUnknownVariableType]
        ]
    # {"type": "string"} is "string".
    return kind if len(form) == 1 else form


def mismatch(writer: AvroSchema, reader: AvroSchema) -> str | None:
    """Say why what one schema writes cannot all be read by another, None where it can.

    By the rules of schema resolution of Avro 1.11; a union of the writer is readable where
    each of its branches is.
    """
    return _Resolution(writer.named, reader.named).mismatch(writer.parsed, reader.parsed, "")


class _Resolution:
    def __init__(self, writer: Mapping[str, Any], reader: Mapping[str, Any]) -> None:
        self._writer = writer
        self._reader = reader
        self._seen: set[tuple[str, str]] = set()

    def mismatch(self, writer: Any, reader: Any, path: str) -> str | None:
        writer, reader = _named(writer, self._writer), _named(reader, self._reader)
        if isinstance(writer, list):
            found = (self.mismatch(branch, reader, path) for branch in writer)  # pyright: ignore[reportUnknownVariableType]
            return next((said for said in found if said), None)
        if isinstance(reader, list):
            if any(self.mismatch(writer, branch, path) is None for branch in reader):  # pyright: ignore[reportUnknownVariableType]
                return None
            return f"{_at(path)} is {_said(writer)}, read as one of {', '.join(map(_said, reader))}"  # pyright: ignore[reportUnknownArgumentType]
        of, to = _kind(writer), _kind(reader)
        if of != to:
            if to in _PROMOTED.get(of, ()):
                return None
            return f"{_at(path)} is {_said(writer)}, read as {_said(reader)}"
        if of in _NAMED and not _same_name(writer, reader):
            return f"{_at(path)} is {_said(writer)}, read as {_said(reader)}"
        if of in ("record", "error"):
            return self._record(writer, reader, path)
        if of in ("array", "map"):
            inner = "items" if of == "array" else "values"
            return self.mismatch(writer[inner], reader[inner], f"{path}[]")
        if of == "fixed" and writer["size"] != reader["size"]:
            return f"{_at(path)} has {writer['size']} bytes, read as {reader['size']}"
        if of == "enum" and "default" not in reader:
            unknown = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
            if unknown:
                return f"{_at(path)} has the symbols {', '.join(unknown)}, which the reader lacks"
        return None

    def _record(self, writer: Any, reader: Any, path: str) -> str | None:
        pair = (writer["name"], reader["name"])
        if pair in self._seen:
            return None
        self._seen.add(pair)
        written = {one["name"]: one["type"] for one in writer["fields"]}
        for one in reader["fields"]:
            at = f"{path}.{one['name']}" if path else one["name"]
            names = [name for name in (one["name"], *one.get("aliases", ())) if name in written]
            if names:
                found = self.mismatch(written[names[0]], one["type"], at)
                if found:
                    return found
            elif "default" not in one:
                return f"{_at(at)} is missing, and the reader has no default for it"
        return None


def _named(schema: Any, named: Mapping[str, Any]) -> Any:
    if isinstance(schema, dict) and isinstance(schema["type"], dict | list):
        return _named(schema["type"], named)
    return named.get(schema, schema) if isinstance(schema, str) else schema


def _same_name(writer: Any, reader: Any) -> bool:
    short = writer["name"].rpartition(".")[2]
    return short == reader["name"].rpartition(".")[2] or bool(
        {short, writer["name"]} & set(reader.get("aliases", ()))
    )


def _at(path: str) -> str:
    return f"field {path}" if path else "it"


def _said(schema: Any) -> str:
    if isinstance(schema, dict) and "name" in schema:
        return f"{schema['type']} {schema['name']}"
    return str(_kind(schema))
