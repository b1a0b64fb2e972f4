"""A schema registry, asked through Confluent's client, within bounded time.

The client is an extra of confluent_kafka, loaded when the first registry is declared. What it
is asked either is answered, refused by the registry, or fails after a few attempts: then it is
the cluster that is at fault, and no record.
"""

import importlib
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

from penstock.errors import BrokerError, TopologyError
from penstock.serde.avro_schema import AvroSchema, parse

R = TypeVar("R")

# Three attempts of 3 s and what is waited between them end before a worker has to stop.
DEFAULTS: dict[str, Any] = {
    "timeout": 3,
    "max.retries": 2,
    "retries.wait.ms": 100,
    "retries.max.wait.ms": 1_000,
    "cache.capacity": 256,
}
MAX_REFERENCES = 10  # schemas that refer to schemas, one in the other

_CLIENT = "confluent_kafka.schema_registry"
# What the registry says about a schema, and not about itself.
_OF_THE_SCHEMA = (404, 409, 422)


class Refused(Exception):
    """The registry has answered no.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Registered(NamedTuple):
    """A schema as the registry knows it under a subject."""

    subject: str
    version: int | None
    id: int
    schema: AvroSchema


class Registry:
    """One schema registry.

    Args:
        config: its URL, or settings of Confluent's client with `url` among them.

    Attributes:
        url: without credentials, for messages.

    Raises:
        TopologyError: if there is no URL, or the client is not installed.
    """

    def __init__(self, config: str | Mapping[str, Any]) -> None:
        given = {"url": config} if isinstance(config, str) else dict(config)
        url = given.get("url")
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            raise TopologyError(
                "The registry of serde.avro() has no URL that begins with http:// or https://."
                ' Pass registry="http://localhost:8081", or a mapping with "url".'
            )
        self.url, user = _without_user(url)
        if user is not None:
            given.setdefault("basic.auth.user.info", user)
        self._config = {**DEFAULTS, **given, "url": self.url}
        self._attempts = int(self._config["max.retries"]) + 1
        self._library = _client_library()

    @cached_property
    def _client(self) -> Any:
        try:
            return self._library.SchemaRegistryClient(self._config)
        except (TypeError, ValueError) as error:
            raise TopologyError(
                f"The settings of the schema registry {self.url} are refused: {error}."
            ) from error

    def by_id(self, id: int) -> AvroSchema:
        """Fetch a schema.

        Raises:
            Refused: if the registry does not know it.
            BrokerError: if the registry does not answer.
            ValueError: if it is no Avro schema, or beyond the limits.
        """
        return self._parsed(self._ask(f"schema {id}", lambda: self._client.get_schema(id)))

    def subjects_of(self, id: int) -> str:
        """Say under which subjects and versions a schema is registered, for messages."""
        try:
            found = self._ask(f"schema {id}", lambda: self._client.get_schema_versions(id))
        except (Refused, BrokerError):
            return "no subject that it tells"
        return ", ".join(f"{one.subject} version {one.version}" for one in found)

    def latest(self, subject: str) -> Registered | None:
        """Fetch the latest version of a subject, None where it has none.

        Raises:
            BrokerError: if the registry does not answer.
            ValueError: if it is no Avro schema, or beyond the limits.
        """
        try:
            found = self._ask(
                f"subject {subject}", lambda: self._client.get_latest_version(subject)
            )
        except Refused:
            return None
        return Registered(subject, found.version, found.schema_id, self._parsed(found.schema))

    def register(self, subject: str, schema: AvroSchema) -> int:
        """Register a schema, if it is not yet, and return its id.

        Raises:
            Refused: if it is not compatible with what is there.
            BrokerError: if the registry does not answer.
        """
        given = self._library.Schema(schema.text, "AVRO")
        found: int = self._ask(
            f"subject {subject}", lambda: self._client.register_schema(subject, given)
        )
        return found

    def lookup(self, subject: str, schema: AvroSchema) -> int:
        """Return the id of a schema that is registered.

        Raises:
            Refused: if it is not.
            BrokerError: if the registry does not answer.
        """
        given = self._library.Schema(schema.text, "AVRO")
        found = self._ask(f"subject {subject}", lambda: self._client.lookup_schema(subject, given))
        return int(found.schema_id)

    def _parsed(self, schema: Any, level: int = 0) -> AvroSchema:
        if (schema.schema_type or "AVRO") != "AVRO":
            raise ValueError(f"it is {schema.schema_type}, not Avro")
        if not isinstance(schema.schema_str, str):
            raise ValueError("the registry's answer has no schema in it")
        if level > MAX_REFERENCES:
            raise ValueError(f"its references go deeper than {MAX_REFERENCES} schemas")
        named: dict[str, Any] = {}
        for to in schema.references or ():
            found = self._ask(
                f"subject {to.subject} version {to.version}",
                partial(self._client.get_version, to.subject, to.version),
            )
            named |= self._parsed(found.schema, level + 1).named
        return parse(schema.schema_str, named)

    def _ask(self, what: str, question: Callable[[], R]) -> R:
        try:
            return question()
        except self._library.SchemaRegistryError as error:
            if error.http_status_code in _OF_THE_SCHEMA:
                raise Refused(error.http_status_code, str(error)) from error
            said = f"answers: {error}. Look at its log, and at the credentials in registry="
        except (TopologyError, BrokerError):
            raise
        except Exception as error:  # noqa: BLE001 - the client's HTTP library raises its own
            said = (
                f"does not answer in {self._attempts} attempts: {type(error).__name__}: {error}."
                " Start it, or correct registry="
            )
        raise BrokerError(
            f"The schema registry {self.url}, asked for {what}, {said}; no record is at fault."
        )


def _client_library() -> Any:
    try:
        return importlib.import_module(_CLIENT)
    except ImportError as error:
        raise TopologyError(
            f"serde.avro(..., registry=...) needs Confluent's registry client, and {error.name}"
            " is not installed: pip install 'penstock[registry]'"
        ) from error


def _without_user(url: str) -> tuple[str, str | None]:
    """A URL, or several with commas between, without credentials; and those of the first."""
    found: list[str] = []
    users: list[str] = []
    for one in url.split(","):
        parts = urlsplit(one.strip())
        user, at, host = parts.netloc.rpartition("@")
        users += [unquote(user)] if at else []
        found.append(urlunsplit(parts._replace(netloc=host)))
    return ",".join(found), users[0] if users else None
