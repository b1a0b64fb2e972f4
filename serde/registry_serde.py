"""Avro with a schema registry: the bytes name their schema, in Confluent's wire format.

    0, four bytes of the schema's id (big-endian), the value in plain Avro

Rule 1. What is written has one schema, that of the declaration. It is registered (or looked up)
        under its subject when a worker starts, before a record is read.
Rule 2. What is read has whatever schema its id says, and is resolved to the declared one. What
        a subject's latest version could not be resolved to is said at the start as well.
Rule 3. A registry that does not answer is no record's fault: a BrokerError ends the worker,
        whatever `on_error` says. An id that the registry does not know is.
"""

import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Generic, TypeVar

from penstock.errors import TopologyError
from penstock.serde.avro_guard import AvroLimits
from penstock.serde.avro_resolution import mismatch
from penstock.serde.avro_schema import AvroSchema
from penstock.serde.avro_serde import AvroReader, AvroWriter, Subject, made_by_msgspec
from penstock.serde.registry import Refused, Registry

T = TypeVar("T")

MAGIC = 0
PREFIX = 5  # bytes before the value
MAX_READERS = 256
# An id that is refused is not asked for again at once; so many are kept in mind.
MAX_REFUSED = 1_000
REFUSED_SECONDS = 10.0


class RegistrySerde(Generic[T]):
    """Encode and decode one type as Avro whose schema a registry knows.

    Args:
        type: of the values.
        schema: what is written, and what everything is read as.
        subject: how subjects are named: by the topic, the record, or both.
        auto_register: whether schemas are registered, or have to be there.
    """

    format = "avro-registry"
    immutable = False

    def __init__(
        self,
        type: Any,
        schema: AvroSchema,
        registry: Registry,
        *,
        subject: Subject,
        auto_register: bool,
        limits: AvroLimits,
    ) -> None:
        self.type: Any = type
        self.schema = schema
        self._registry = registry
        self._naming: Subject = subject
        self._auto_register = auto_register
        self._limits = limits
        self._made = made_by_msgspec(type)
        self._writer = AvroWriter(schema, self._made)
        self._prefix = b""
        self._registered = ""
        self._refused: dict[bytes, tuple[float, str]] = {}
        self._known: dict[int, AvroSchema] | None = None
        self._reader_of = lru_cache(MAX_READERS)(self._load)
        if subject != "topic" and schema.name is None:
            raise TopologyError(
                f'subject="{subject}" names subjects by the record, and this schema is'
                f' {schema.kind}. Use subject="topic".'
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RegistrySerde):
            return NotImplemented
        return self._identity() == other._identity()  # pyright: ignore[reportPrivateUsage]

    def __hash__(self) -> int:
        return hash(repr(self._identity()))

    def _identity(self) -> tuple[Any, ...]:
        form = self.schema.wire_form()
        return (self.type, form, self._registry.url, self._naming, self._auto_register)

    def prepare(self, topic: str | None, *, key: bool, writes: bool) -> None:
        """Ask the registry what there is to ask before the first record of a topic.

        Args:
            topic: its name; None for one that is named per record.
            key: whether this is for its keys.
            writes: whether records are written to it, or read from it.

        Raises:
            TopologyError: if the schema is not compatible with what the registry has.
            BrokerError: if the registry does not answer.
        """
        if self._known is not None:
            self._begin(None, b"")
        subject = self._subject(topic, key=key)
        if writes:
            self._prepare_to_write(subject)
        else:
            self._prepare_to_read(subject)

    def stand_alone(self, known: dict[int, AvroSchema]) -> None:
        """Do without the registry, as in a TestDriver, until `prepare` is called.

        Args:
            known: all schemas that there are, to which this one is added, by ids that follow
                from the schemas.
        """
        id = int(self.schema.fingerprint()[:7], 16)
        known[id] = self.schema
        self._begin(known, _frame(id))

    def _begin(self, known: dict[int, AvroSchema] | None, prefix: bytes) -> None:
        self._known, self._prefix = known, prefix
        self._refused.clear()
        self._reader_of.cache_clear()

    def encode(self, value: T, /) -> bytes:
        """Encode one value. Raises TypeError where its class is not the declared one."""
        if not self._prefix:
            raise TopologyError(
                "The schema has not been registered yet, which a worker does at its start. Call"
                " prepare(topic, key=False, writes=True) of the serde first."
            )
        return self._writer.write(value, self._prefix)

    def decode(self, data: bytes, /) -> T:
        """Decode one value, of any schema that the registry knows.

        Raises:
            ValueError: if the bytes are no such value, or the registry does not know the id.
            BrokerError: if the registry does not answer.
        """
        found: T = self._reader_of(data[:PREFIX]).read(data, PREFIX)
        return found

    def decode_all(self, column: Sequence[bytes]) -> list[T]:
        """Decode a column; most have one schema, whose reader is looked up once."""
        prefixes = {data[:PREFIX] for data in column}
        if len(prefixes) == 1:
            return self._reader_of(prefixes.pop()).read_all(column, PREFIX)
        return list(map(self.decode, column))

    def _subject(self, topic: str | None, *, key: bool) -> str:
        if self._naming == "record":
            return str(self.schema.name)
        if topic is None:
            raise TopologyError(
                f'subject="{self._naming}" names subjects by their topic, and this destination is'
                ' named per record. Use subject="record".'
            )
        return f"{topic}-{self.schema.name if self._naming == 'topic_record' else _field(key)}"

    def _prepare_to_write(self, subject: str) -> None:
        registry, schema = self._registry, self.schema
        try:
            ask = registry.register if self._auto_register else registry.lookup
            id = ask(subject, schema)
        except (Refused, ValueError) as refused:
            raise TopologyError(self._cannot_write(subject, refused)) from refused
        prefix = _frame(id)
        if self._prefix not in (b"", prefix):
            raise TopologyError(
                f"The registry {registry.url} has one schema under two ids:"
                f" {int.from_bytes(self._prefix[1:])} for subject {self._registered}, {id} for"
                f" subject {subject}. Use a serde.avro() of its own for each."
            )
        self._prefix, self._registered = prefix, subject

    def _cannot_write(self, subject: str, refused: Exception) -> str:
        there = self._there(subject)
        if not self._auto_register:
            return (
                f"The schema of subject {subject} is not in the registry {self._registry.url}"
                f" ({there}): {refused}. Register it, or leave auto_register=False out."
            )
        return (
            f"The registry {self._registry.url} refuses the schema for subject {subject}"
            f" ({there}): {refused}. Change the schema so that it is compatible, or the"
            " subject's compatibility level."
        )

    def _there(self, subject: str) -> str:
        try:
            latest = self._registry.latest(subject)
        except (Refused, ValueError):
            return "its latest version cannot be used"
        return f"version {latest.version} has id {latest.id}" if latest else "it has no version"

    def _prepare_to_read(self, subject: str) -> None:
        registry = self._registry
        there = ""
        try:
            latest = registry.latest(subject)
            if latest:
                there = f"version {latest.version}, id {latest.id}, "
                self._reader_of_schema(latest.schema)
        except (Refused, ValueError) as error:
            raise TopologyError(
                f"What is written to subject {subject} cannot be read ({there}registry"
                f" {registry.url}): {error}. Change the declared schema, or give the field a"
                " default."
            ) from error

    def _load(self, prefix: bytes) -> AvroReader:
        """Make a reader of what the bytes before a value say."""
        if len(prefix) < PREFIX or prefix[0] != MAGIC:
            raise ValueError(
                f"it begins with {prefix.hex(' ') or 'nothing'}, not with 0 and the id of a"
                " schema: it was not written with a schema registry"
            )
        until, said = self._refused.get(prefix, (0.0, ""))
        if time.monotonic() < until:
            raise ValueError(said)
        id = int.from_bytes(prefix[1:])
        try:
            return self._reader(id)
        except ValueError as error:
            if len(self._refused) >= MAX_REFUSED:
                self._refused.clear()
            self._refused[prefix] = time.monotonic() + REFUSED_SECONDS, str(error)
            raise

    def _reader(self, id: int) -> AvroReader:
        registry = self._registry
        if self._known is not None:
            if id not in self._known:
                raise ValueError(f"no topic of the test has schema {id}")
            return self._reader_of_schema(self._known[id])
        try:
            return self._reader_of_schema(registry.by_id(id))
        except Refused as refused:
            raise ValueError(
                f"schema {id} is not in the registry {registry.url}: {refused}"
            ) from refused
        except ValueError as error:
            raise ValueError(
                f"schema {id} ({registry.subjects_of(id)}, registry {registry.url}): {error}"
            ) from error

    def _reader_of_schema(self, writer: AvroSchema) -> AvroReader:
        # Made first: it is what refuses a schema that is too deep to be looked at.
        reader = AvroReader(writer, self.schema, self._made, self._limits)
        why = mismatch(writer, self.schema)
        if why:
            raise ValueError(f"it cannot be read as the declared schema: {why}")
        return reader


def _frame(id: int) -> bytes:
    return bytes([MAGIC]) + id.to_bytes(4, "big")


def _field(key: bool) -> str:
    return "key" if key else "value"
