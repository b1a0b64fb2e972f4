"""Avro by fastavro: values of a type or a schema, in the plain binary form.

The bytes say nothing of their schema, so both sides have it in code. A change of it changes the
format, and a store that was written under another one is refused at the start, not misread.
With a schema registry it may evolve: `registry_serde`.

Rule 1. Bytes are held against limits before fastavro sees them (`avro_guard`), and all of them
        have to belong to the value.
Rule 2. A typed value is made by msgspec from what fastavro has read, so a field of another type
        than the declared one is an error.
"""

import copy
import datetime
import decimal
import uuid
from collections.abc import Mapping, Sequence
from io import BytesIO
from types import GenericAlias
from typing import Any, Generic, Literal, TypeAlias, TypeVar, cast, overload

import fastavro
import msgspec

from penstock.errors import TopologyError
from penstock.serde.avro_guard import AvroLimits, Guard
from penstock.serde.avro_schema import MAX_SAID, VALUE, AvroSchema, parse
from penstock.serde.avro_types import check_type, schema_of
from penstock.serde.inspection import check_class, is_dict, runtime_class
from penstock.serde.types import Serde

T = TypeVar("T")
Schema: TypeAlias = str | dict[str, Any] | list[Any]
Subject: TypeAlias = Literal["topic", "record", "topic_record"]

# Their annotations are generic without arguments.
_read: Any = cast("Any", fastavro).schemaless_reader
_write: Any = cast("Any", fastavro).schemaless_writer

_LIMITS = AvroLimits()
_AS_THEY_ARE = (bytes, datetime.datetime, datetime.date, datetime.time, uuid.UUID, decimal.Decimal)
_CLASSES: dict[str, Any] = {
    "record": dict,
    "map": dict,
    "array": list,
    "string": str,
    "enum": str,
    "int": int,
    "long": int,
    "float": float,
    "double": float,
    "boolean": bool,
    "bytes": bytes,
    "fixed": bytes,
}
_IMMUTABLE = {"string", "enum", "int", "long", "float", "double", "boolean", "bytes", "fixed"}


class AvroReader:
    """Read what one schema wrote, as another, into a type.

    Args:
        writer: the schema that the bytes were written with.
        reader: the one that they are read as.
        type: what msgspec makes of them; None for what fastavro has read.

    Raises:
        ValueError: if the writer's schema is beyond the limits.
    """

    def __init__(
        self, writer: AvroSchema, reader: AvroSchema, type: Any, limits: AvroLimits
    ) -> None:
        # Before all else: others walk a schema without looking how deep it is.
        self._guard = Guard(writer.parsed, writer.named, limits)
        resolved = writer.wire_form() != reader.wire_form()
        fields = [one for of in reader.records() for one in of["fields"]] if resolved else []
        if fields:
            self._guard = Guard(writer.parsed, writer.named, limits, added=len(fields))
        self._free_bytes = self._guard.free_bytes
        self._bare = writer.kind == reader.kind == "record"
        self._writer = writer.parsed if self._bare else writer.in_record()
        self._reader: Any = None
        if resolved:
            self._reader = reader.parsed if self._bare else reader.in_record()
        self._type = type
        self._column: Any = GenericAlias(list, (type,))
        # fastavro puts the very object of a default into each record.
        self._shares = type is None and any(
            isinstance(one.get("default"), dict | list) for one in fields
        )

    def read(self, data: bytes, start: int = 0) -> Any:
        """Read one value, which ends with the bytes.

        Raises:
            ValueError: if they are something else, or beyond the limits.
        """
        value = self._plain(data, start)
        return value if self._type is None else msgspec.convert(value, self._type)

    def read_all(self, column: Sequence[bytes], start: int = 0) -> list[Any]:
        """Read a column of values."""
        plain = self._plain
        values = [plain(data, start) for data in column]
        if self._type is None:
            return values
        made: list[Any] = msgspec.convert(values, self._column)
        return made

    def _plain(self, data: bytes, start: int) -> Any:
        # Hot: what is not fastavro's here costs 0.2 us per record, a walk 3.5 us (bench/avro.py).
        if len(data) - start > self._free_bytes:
            self._guard.check(data, start)
        # fastavro skips what the reader lacks without a look whether it is whole. Who has taken
        # the byte behind the end has gone too far.
        source = BytesIO(data if self._reader is None else data + b"\0")
        if start:
            source.seek(start)
        try:
            value: Any = _read(source, self._writer, self._reader)
        except Exception as error:
            raise ValueError(f"no Avro of this schema: {error!r}"[:MAX_SAID]) from error
        if source.tell() != len(data):
            raise ValueError(_wrong_end(len(data) - source.tell()))
        if not self._bare:
            value = value[VALUE]
        return copy.deepcopy(value) if self._shares else value


def _wrong_end(left: int) -> str:
    if left < 0:
        return "the bytes end in the middle of a value"
    return f"{left} bytes follow the value"


class AvroWriter:
    """Write values of a type with a schema.

    Args:
        schema: what the bytes are written with.
        type: the class of the values; None for what fastavro takes.
    """

    def __init__(self, schema: AvroSchema, type: Any) -> None:
        self._bare = schema.kind == "record"
        self._schema = schema.parsed if self._bare else schema.in_record()
        self._class = None if type is None else runtime_class(type)
        self._plain = type is None and not schema.has_maps()
        # Equal maps are written in equal order: a key has to have the same bytes each time.
        self._order: Literal["deterministic"] | None = (
            "deterministic" if schema.has_maps() else None
        )

    def write(self, value: Any, prefix: bytes = b"") -> bytes:
        """Write one value behind a prefix.

        Raises:
            TypeError: if its class is not the declared one.
            ValueError: if it has no bytes in this schema.
        """
        check_class(value.__class__, self._class)
        if not self._plain:
            value = msgspec.to_builtins(value, builtin_types=_AS_THEY_ARE, order=self._order)
        if not self._bare:
            value = {VALUE: value}
        target = BytesIO()
        target.write(prefix)
        _write(target, self._schema, value, strict_allow_default=True)
        return target.getvalue()


class AvroSerde(Generic[T]):
    """Encode and decode one type as plain Avro, with the schema in code."""

    def __init__(self, type: Any, schema: AvroSchema, limits: AvroLimits = _LIMITS) -> None:
        self.type: Any = type
        self.schema = schema
        self.format = f"avro-{schema.fingerprint()}"
        self.immutable = schema.kind in _IMMUTABLE and runtime_class(type) in _CLASSES.values()
        made = made_by_msgspec(type)
        self._reader = AvroReader(schema, schema, made, limits)
        self._writer = AvroWriter(schema, made)
        self.decode = self._reader.read
        self.decode_all = self._reader.read_all

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AvroSerde):
            return NotImplemented
        return (self.type, self.format) == (other.type, other.format)

    def __hash__(self) -> int:
        return hash((repr(self.type), self.format))

    def encode(self, value: T, /) -> bytes:
        """Encode one value. Raises TypeError where its class is not the declared one."""
        return self._writer.write(value)


def made_by_msgspec(type: Any) -> Any:
    """The type that msgspec is to make of what fastavro has read, None where that is it."""
    return None if type is Any or type in _CLASSES.values() else type


def resolve_type(spec: Any, schema: Schema | None) -> tuple[Any, AvroSchema]:
    """From what a user declared to the type of the values and their schema.

    Raises:
        TopologyError: if the type has no schema, or the schema is none.
    """
    try:
        if schema is None and isinstance(spec, str | dict | list):
            found = parse(spec)
            return _class_of(found), found
        if schema is None:
            return spec, parse(schema_of(spec))
        check_type(spec)
        return spec, parse(schema)
    except ValueError as error:
        raise TopologyError(
            f"serde.avro({spec!r}) has a schema that cannot be used: {error}. Correct it."
        ) from error


def _class_of(schema: AvroSchema) -> Any:
    """The class of what fastavro reads, Any where there are several."""
    if is_dict(schema.parsed) and "logicalType" in schema.parsed:
        return Any
    return _CLASSES.get(schema.kind, Any)


@overload
def avro(
    spec: type[T],
    /,
    *,
    schema: Schema | None = None,
    registry: str | Mapping[str, Any] | None = None,
    subject: Subject = "topic",
    auto_register: bool = True,
    limits: AvroLimits = _LIMITS,
) -> Serde[T]: ...
@overload
def avro(
    spec: Schema,
    /,
    *,
    registry: str | Mapping[str, Any] | None = None,
    subject: Subject = "topic",
    auto_register: bool = True,
    limits: AvroLimits = _LIMITS,
) -> Serde[Any]: ...
def avro(
    spec: Any,
    /,
    *,
    schema: Schema | None = None,
    registry: str | Mapping[str, Any] | None = None,
    subject: Subject = "topic",
    auto_register: bool = True,
    limits: AvroLimits = _LIMITS,
) -> Any:
    """Make an Avro serde of a type or of a schema.

    Args:
        spec: a Struct, dataclass, TypedDict or another type, whose schema is derived; or a
            schema, as JSON text, dict or list, whose records are read as dicts.
        schema: the schema of a type, where it is not to be derived.
        registry: URL of a schema registry, or settings of Confluent's client with "url" among
            them: bytes are in Confluent's wire format. Left out, they are plain Avro.
        subject: how subjects in the registry are named: "topic" (`orders-value`), "record"
            (the record's full name) or "topic_record" (both).
        auto_register: whether schemas are registered at the start, or have to be there.
        limits: what one value may take before it is decoded.

    Raises:
        TopologyError: if the type has no schema, the schema is none, or the registry's client
            is not installed.
    """
    declared, found = resolve_type(spec, schema)
    if registry is None:
        plain: AvroSerde[Any] = AvroSerde(declared, found, limits)
        return plain
    from penstock.serde.registry import Registry
    from penstock.serde.registry_serde import RegistrySerde

    registered: RegistrySerde[Any] = RegistrySerde(
        declared,
        found,
        Registry(registry),
        subject=subject,
        auto_register=auto_register,
        limits=limits,
    )
    return registered
