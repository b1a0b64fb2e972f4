"""Whether what one schema writes can be read as another, by the rules of Avro 1.11.

It is asked when a reader is made, so that a schema that does not fit is refused with the field
that is in the way, and not record by record in fastavro's words.
"""

from collections.abc import Mapping
from typing import Any

from penstock.serde.avro_schema import NAMED, AvroSchema, kind_of
from penstock.serde.inspection import is_dict, is_list

_PROMOTED = {
    "int": ("long", "float", "double"),
    "long": ("float", "double"),
    "float": ("double",),
    "string": ("bytes",),
    "bytes": ("string",),
}


def mismatch(writer: AvroSchema, reader: AvroSchema) -> str | None:
    """Say why what one schema writes cannot all be read by another, None where it can.

    A union of the writer is readable where each of its branches is.
    """
    return _Resolution(writer.named, reader.named).mismatch(writer.parsed, reader.parsed, "")


class _Resolution:
    def __init__(self, writer: Mapping[str, Any], reader: Mapping[str, Any]) -> None:
        self._writer = writer
        self._reader = reader
        # What was found for two records; None while it is being looked for.
        self._found: dict[tuple[str, str], str | None] = {}

    def mismatch(self, writer: Any, reader: Any, path: str) -> str | None:
        writer, reader = _named(writer, self._writer), _named(reader, self._reader)
        if is_list(writer):
            said = (self.mismatch(branch, reader, path) for branch in writer)
            return next((why for why in said if why), None)
        if is_list(reader):
            if any(self.mismatch(writer, branch, path) is None for branch in reader):
                return None
            return f"{_at(path)} is {_said(writer)}, read as one of {', '.join(map(_said, reader))}"
        of, to = kind_of(writer), kind_of(reader)
        if of != to:
            if to in _PROMOTED.get(of, ()):
                return None
            return f"{_at(path)} is {_said(writer)}, read as {_said(reader)}"
        if of in NAMED and not _same_name(writer, reader):
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
        if pair not in self._found:
            self._found[pair] = None
            self._found[pair] = self._fields(writer, reader, path)
        return self._found[pair]

    def _fields(self, writer: Any, reader: Any, path: str) -> str | None:
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
    return named.get(schema, schema) if isinstance(schema, str) else schema


def _same_name(writer: Any, reader: Any) -> bool:
    short = writer["name"].rpartition(".")[2]
    return short == reader["name"].rpartition(".")[2] or bool(
        {short, writer["name"]} & set(reader.get("aliases", ()))
    )


def _at(path: str) -> str:
    return f"field {path}" if path else "it"


def _said(schema: Any) -> str:
    if is_dict(schema) and "name" in schema:
        return f"{schema['type']} {schema['name']}"
    return kind_of(schema)
