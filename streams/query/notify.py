"""Notify: where alerts go. A destination may fail or be slow: only its alerts suffer."""

import http.client
import json
import logging
import ssl
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

import msgspec

from penstock.errors import TopologyError
from penstock.secret import Secret

log = logging.getLogger("penstock")

TIMEOUT_S = 5.0
Write: TypeAlias = Callable[[str, bytes, bytes], None]  # topic, key, value


class Alert(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Something that a person should hear of.

    Attributes:
        rule: which rule it is of.
        state: whether it begins or is over.
        text: what is wrong, and what to do.
        id: of the query.
        run_id: of its run.
        instance_id: of the worker.
        name: the application id.
        timestamp: ISO 8601, UTC.
    """

    rule: str
    state: Literal["firing", "resolved"]
    text: str
    id: str
    run_id: str
    instance_id: str
    name: str
    timestamp: str


class Destination(Protocol):
    """Where alerts go."""

    def send(self, alert: Alert, write: Write | None) -> None:
        """Hand an alert over.

        Args:
            alert: what to tell.
            write: writes to a topic of the application's cluster; None before there is one.

        Raises:
            Exception: if it could not be handed over.
        """
        ...


@dataclass(frozen=True)
class ToLog:
    """The log: a warning for what begins, information for what is over."""

    def send(self, alert: Alert, write: Write | None) -> None:
        """Write a line."""
        level = logging.WARNING if alert.state == "firing" else logging.INFO
        log.log(level, "Alert %s is %s: %s", alert.rule, alert.state, alert.text)


@dataclass(frozen=True)
class ToTopic:
    """A topic: one JSON object for each alert, under the key of the query and the rule."""

    topic: str

    def send(self, alert: Alert, write: Write | None) -> None:
        """Write a record."""
        if write is None:
            raise OSError("the cluster was not reached yet")
        write(self.topic, msgspec.json.encode([alert.id, alert.rule]), msgspec.json.encode(alert))


@dataclass(frozen=True)
class ToWebhook:
    """An HTTP server: one POST of JSON for each alert.

    Attributes:
        url: its address; most have a secret in them, so that it is shown nowhere.
        headers: what the server wants to see.
    """

    url: Secret
    headers: Mapping[str, Secret] = field(default_factory=dict[str, Secret])

    @property
    def host(self) -> str:
        """The part of the address that may be shown."""
        return _split(self.url).hostname or ""

    def send(self, alert: Alert, write: Write | None) -> None:
        """Post it."""
        at = _split(self.url)
        connection = (
            http.client.HTTPSConnection(
                str(at.hostname), at.port, timeout=TIMEOUT_S, context=ssl.create_default_context()
            )
            if at.scheme == "https"
            else http.client.HTTPConnection(str(at.hostname), at.port, timeout=TIMEOUT_S)
        )
        try:
            path = urllib.parse.urlunsplit(("", "", at.path or "/", at.query, ""))
            headers = {name: value.reveal() for name, value in self.headers.items()}
            body = {**msgspec.to_builtins(alert), "text": f"{alert.name}: {alert.text}"}
            connection.request(
                "POST", path, json.dumps(body), {"Content-Type": "application/json", **headers}
            )
            answer = connection.getresponse()
            answer.read(1_000)
            if answer.status >= 300:  # a redirect could lead anywhere
                raise OSError(f"{self.host} answers {answer.status} {answer.reason}")
        finally:
            connection.close()


def webhook(url: str | Secret, headers: Mapping[str, str | Secret]) -> ToWebhook:
    """Return a webhook, whose address is checked.

    Raises:
        TopologyError: if the address is none.
    """
    address = url if isinstance(url, Secret) else Secret(url)
    found = _split(address)
    if found.scheme not in ("http", "https") or not found.hostname:
        raise TopologyError(
            "The address of the webhook is none. Pass one that begins with https:// or http://"
            " and names a host."
        )
    hidden = {
        name: value if isinstance(value, Secret) else Secret(value)
        for name, value in headers.items()
    }
    return ToWebhook(address, hidden)


def _split(url: Secret) -> urllib.parse.SplitResult:
    return urllib.parse.urlsplit(str(url.reveal()))
