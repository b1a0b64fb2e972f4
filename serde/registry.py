"""A schema registry, asked through Confluent's client, within bounded time and memory.

The client is an extra of confluent_kafka, loaded when the first registry is declared. What it
is asked either is answered, refused by the registry, or fails after a few attempts: then it is
the cluster that is at fault, and no record.

Each question has a client of its own, which is closed behind it (20 ms): questions are few, and
the client would keep its connections, and every schema that it has seen, as long as it lives.
"""

import importlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

from penstock.errors import BrokerError, TopologyError
from penstock.secret import hidden, revealed, without_secrets
from penstock.serde.avro_schema import AvroSchema, parse
from penstock.serde.registry_http import AnswerTooLarge, bound

log = logging.getLogger("penstock")

R = TypeVar("R")

# Three attempts of 3 s and what is waited between them end before a worker has to stop.
DEFAULTS: dict[str, Any] = {
    "timeout": 3,
    "max.retries": 2,
    "retries.wait.ms": 100,
    "retries.max.wait.ms": 1_000,
}
MAX_REFERENCES = 50  # schemas that a schema refers to, and those that they refer to
MAX_SAID = 500  # characters of what the registry says

_CLIENT = "confluent_kafka.schema_registry"
# What the registry says about a schema, and not about itself. That there is nothing at a path
# is said of a wrong URL as well: it needs one of the codes for subject, version and schema.
_NOT_FOUND = (40401, 40402, 40403)
_OF_THE_SCHEMA = (409, 422)


class Refused(Exception):
    """The registry has answered no.

    Attributes:
        unknown: whether it does not know what it was asked for.
    """

    def __init__(self, message: str, *, unknown: bool) -> None:
        super().__init__(message)
        self.unknown = unknown


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
        settings: dict[str, Any] = {**DEFAULTS, **given, "url": self.url}
        self._config = {**hidden(settings), "url": self.url}
        self._timeout_s = settings["timeout"]
        self._attempts = int(settings["max.retries"]) + 1
        self._library = _client_library()
        with self._client():  # settings that are wrong are said when they are declared
            pass
        if settings.get("ssl.ca.location") is False:
            log.warning(
                "The certificate of the schema registry %s is not verified (ssl.ca.location is"
                " False): anybody between can change schemas. Give it the path of the CA.",
                self.url,
            )

    def by_id(self, id: int) -> AvroSchema:
        """Fetch a schema.

        Raises:
            Refused: if the registry does not know it.
            BrokerError: if the registry does not answer.
            ValueError: if it is no Avro schema, or beyond the limits.
        """
        return self._parsed(self._ask(f"schema {id}", lambda client: client.get_schema(id)))

    def subjects_of(self, id: int) -> str:
        """Say under which subjects and versions a schema is registered, for messages."""
        try:
            found = self._ask(f"schema {id}", lambda client: client.get_schema_versions(id))
        except (Refused, BrokerError, ValueError):
            return "no subject that it tells"
        return ", ".join(f"{one.subject} version {one.version}" for one in found)[:MAX_SAID]

    def latest(self, subject: str) -> Registered | None:
        """Fetch the latest version of a subject, None where it has none.

        Raises:
            BrokerError: if the registry does not answer.
            ValueError: if it is no Avro schema, or beyond the limits.
        """
        try:
            found = self._ask(
                f"subject {subject}", lambda client: client.get_latest_version(subject)
            )
        except Refused as refused:
            if refused.unknown:
                return None
            raise
        return Registered(subject, found.version, found.schema_id, self._parsed(found.schema))

    def register(self, subject: str, schema: AvroSchema) -> int:
        """Register a schema, if it is not yet, and return its id.

        Raises:
            Refused: if it is not compatible with what is there.
            BrokerError: if the registry does not answer.
        """
        given = self._library.Schema(schema.text, "AVRO")
        return _id(
            self._ask(f"subject {subject}", lambda client: client.register_schema(subject, given))
        )

    def lookup(self, subject: str, schema: AvroSchema) -> int:
        """Return the id of a schema that is registered.

        Raises:
            Refused: if it is not.
            BrokerError: if the registry does not answer.
        """
        given = self._library.Schema(schema.text, "AVRO")
        found = self._ask(f"subject {subject}", lambda client: client.lookup_schema(subject, given))
        return _id(found.schema_id)

    def _parsed(self, schema: Any) -> AvroSchema:
        if (schema.schema_type or "AVRO") != "AVRO":
            raise ValueError(f"it is {schema.schema_type}, not Avro")
        if not isinstance(schema.schema_str, str):
            raise ValueError("the registry's answer has no schema in it")
        return parse(schema.schema_str, self._types(schema.references or (), {}))

    def _types(self, references: Iterable[Any], asked: dict[tuple[str, int], Any]) -> Any:
        """The types of the schemas that a schema refers to, by their full names."""
        named: dict[str, Any] = {}
        for to in references:
            at = (to.subject, to.version)
            if at not in asked:
                if len(asked) == MAX_REFERENCES:
                    raise ValueError(f"it refers to more than {MAX_REFERENCES} schemas")
                asked[at] = {}  # for those that refer to each other
                asked[at] = self._type(at, asked)
            named |= asked[at]
        return named

    def _type(self, at: tuple[str, int], asked: dict[tuple[str, int], Any]) -> Any:
        subject, version = at
        what = f"subject {subject} version {version}"
        try:
            found = self._ask(what, lambda client: client.get_version(subject, version)).schema
        except Refused as refused:
            raise ValueError(f"it refers to {what}: {refused}") from refused
        return parse(found.schema_str, self._types(found.references or (), asked)).named

    def _ask(self, what: str, question: Callable[[Any], R]) -> R:
        """Ask a client that is there for this question only."""
        try:
            with self._client() as client:
                # The client has no setting for it: its session is looked for where it is.
                bound(client._rest_client.session, self._timeout_s)
                return question(client)
        except self._library.SchemaRegistryError as error:
            said = str(error)[:MAX_SAID]
            unknown = error.error_code in _NOT_FOUND
            if unknown or error.http_status_code in _OF_THE_SCHEMA:
                raise Refused(said, unknown=unknown) from error
            said = f"answers: {said}. Look at its log, and at the URL and credentials in registry="
        except (TopologyError, AnswerTooLarge):
            raise
        except json.JSONDecodeError as error:
            said = f"answers, and not in JSON ({error}). Correct the URL in registry="
        except Exception as error:  # noqa: BLE001 - the client's HTTP library raises its own
            told = without_secrets(str(error), self._config)
            reason = f"{type(error).__name__}: {told}"[:MAX_SAID]
            said = (
                f"does not answer in {self._attempts} attempts: {reason}. Start it, or correct"
                " registry="
            )
        raise BrokerError(
            f"The schema registry {self.url}, asked for {what}, {said}; no record is at fault."
        )

    def _client(self) -> Any:
        try:
            return self._library.SchemaRegistryClient(revealed(self._config))
        except (TypeError, ValueError, OSError) as error:
            said = without_secrets(str(error), self._config)
        raise TopologyError(
            f"The settings of the schema registry {self.url} are refused: {said}. Correct"
            " registry=."
        )


def _client_library() -> Any:
    try:
        return importlib.import_module(_CLIENT)
    except ImportError as error:
        raise TopologyError(
            f"serde.avro(..., registry=...) needs Confluent's registry client, and {error.name}"
            " is not installed: pip install 'penstock[registry]'"
        ) from error


def _id(found: Any) -> int:
    """An id that fits the four bytes of the wire format."""
    if not isinstance(found, int) or not 0 <= found < 2**32:
        raise ValueError(f"the registry's answer has the id {found!r}")
    return found


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
