"""Secrets in settings: kept out of every repr, log and error, and given to the Kafka client alone.

Rule 1: what may be shown is listed in SHOWN. The value of every other setting is a Secret from
        the moment the settings are made.
Rule 2: a Secret is revealed in the call that makes a client, and nowhere else.
Rule 3: what the client says is looked through for secrets before anybody reads it.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from penstock.errors import TopologyError

HIDDEN: Final = "[hidden]"
LEAST_LENGTH: Final = 6  # shorter ones stand in every other line: true, none, 1

_SHOWN = """
    acks api.version.request batch.num.messages batch.size bootstrap.servers broker.address.family
    broker.address.ttl check.crcs client.dns.lookup client.id client.rack compression.codec
    compression.level compression.type connections.max.idle.ms debug delivery.timeout.ms
    enable.auto.commit enable.auto.offset.store enable.idempotence enable.metrics.push
    enable.partition.eof enable.ssl.certificate.verification fetch.error.backoff.ms fetch.max.bytes
    fetch.message.max.bytes fetch.min.bytes fetch.queue.backoff.ms fetch.wait.max.ms group.id
    group.instance.id group.protocol group.remote.assignor heartbeat.interval.ms isolation.level
    linger.ms log.connection.close log_level max.in.flight max.in.flight.requests.per.connection
    max.partition.fetch.bytes max.poll.interval.ms message.copy.max.bytes message.max.bytes
    message.send.max.retries message.timeout.ms metadata.max.age.ms partition.assignment.strategy
    queue.buffering.max.kbytes queue.buffering.max.messages queue.buffering.max.ms
    queued.max.messages.kbytes queued.min.messages receive.message.max.bytes
    reconnect.backoff.jitter.ms reconnect.backoff.max.ms reconnect.backoff.ms
    request.required.acks request.timeout.ms retries retry.backoff.max.ms retry.backoff.ms
    sasl.mechanism sasl.mechanisms security.protocol session.timeout.ms
    socket.connection.setup.timeout.ms socket.keepalive.enable socket.max.fails
    socket.nagle.disable socket.receive.buffer.bytes socket.send.buffer.bytes socket.timeout.ms
    ssl.ca.location ssl.certificate.location ssl.crl.location
    ssl.endpoint.identification.algorithm statistics.interval.ms
    topic.metadata.propagation.max.ms topic.metadata.refresh.fast.interval.ms
    topic.metadata.refresh.interval.ms topic.metadata.refresh.sparse transaction.timeout.ms
    transactional.id
"""
SHOWN: Final[frozenset[str]] = frozenset(_SHOWN.split())

# A text behind a key or a name.
_VALUE = re.compile(r"""([:=]\s*[rbfuRBFU]*)("|')(?:\\.|(?!\2).)*\2""")
# A line of what librdkafka logs with debug=conf.
_CONFIGURED = re.compile(r"^(.*\]:   )(\S+) = (.*)$", re.DOTALL)


class Secret:
    """A value that shows itself only where it is revealed."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def reveal(self) -> Any:
        """Return the value."""
        return self._value

    def __repr__(self) -> str:
        return HIDDEN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __deepcopy__(self, memo: object) -> "Secret":
        return self

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled: its copy would not be one")


def hidden(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings whose values are secrets, but for those that may be shown.

    >>> hidden({"security.protocol": "SASL_SSL", "sasl.password": "swordfish"})
    {'security.protocol': 'SASL_SSL', 'sasl.password': [hidden]}
    """
    return {
        name: value if name in SHOWN or isinstance(value, Secret) else Secret(value)
        for name, value in settings.items()
    }


def revealed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as the Kafka client takes them; pass them on, and keep them nowhere."""
    return {
        name: value.reveal() if isinstance(value, Secret) else value
        for name, value in settings.items()
    }


def without_secrets(text: str, *settings: Mapping[str, Any]) -> str:
    """Return what the client says without the secrets among its settings.

    It hides some of them itself where it lists them (`debug=conf`), and not the URL of a token
    endpoint, the extensions of a token, or a command for Kerberos.

    >>> without_secrets("no user swordfish", hidden({"sasl.username": "swordfish"}))
    'no user [hidden]'
    >>> without_secrets("CONF [thrd:app]:   https.ca.pem = x")
    'CONF [thrd:app]:   https.ca.pem = [hidden]'
    """
    configured = _CONFIGURED.match(text)
    if configured and configured[2] not in SHOWN:
        return f"{configured[1]}{configured[2]} = {HIDDEN}"
    values = [value for group in settings for value in group.values()]
    secrets = [value.reveal() for value in values if isinstance(value, Secret)]
    found = [s for s in secrets if isinstance(s, str) and len(s) >= LEAST_LENGTH and s in text]
    for secret in sorted(found, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def without_values(line: str) -> str:
    """Return a line of source without the texts that are values in it: one may be a password.

    >>> without_values('client={"sasl.password": "swordfish"}, retries=3, f("x")')
    'client={"sasl.password": "..."}, retries=3, f("x")'
    """
    return _VALUE.sub(r"\1\2...\2", line)


def check_brokers(brokers: str) -> str:
    """Return addresses of brokers that have no credentials in them.

    Raises:
        TopologyError: if they have, without naming them.
    """
    if "@" in brokers:
        raise TopologyError(
            "The brokers' addresses have a user or a password in them (there is an '@'). Kafka has"
            " no such addresses: give host:port, separated by commas, and the credentials as"
            " sasl.username and sasl.password in KafkaSettings(client=...)."
        )
    return brokers
