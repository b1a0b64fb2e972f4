"""Secrets in settings: what shows them, what does not, and where they are needed all the same."""

import copy
import dataclasses
import json
import logging
import pprint

import pytest

import penstock as ps
from penstock.errors import TopologyError
from penstock.runtime.client_configs import ClientConfigs
from penstock.runtime.settings import KafkaSettings, Settings
from penstock.secret import (
    HIDDEN,
    SHOWN,
    Secret,
    check_brokers,
    hidden,
    revealed,
    without_secrets,
)

CANARY = "canary-8f2c"

# What of librdkafka's settings can hold a secret, or a URL or command with one in it.
SECRETS = [
    "https.ca.pem",
    "sasl.kerberos.keytab",
    "sasl.kerberos.kinit.cmd",
    "sasl.kerberos.principal",
    "sasl.oauthbearer.assertion.file",
    "sasl.oauthbearer.assertion.private.key.passphrase",
    "sasl.oauthbearer.assertion.private.key.pem",
    "sasl.oauthbearer.client.credentials.client.id",
    "sasl.oauthbearer.client.credentials.client.secret",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.extensions",
    "sasl.oauthbearer.token.endpoint.url",
    "sasl.password",
    "sasl.username",
    "ssl.certificate.pem",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
]


@pytest.mark.parametrize("name", [*SECRETS, "sasl.jaas.config", "a.setting.of.next.year"])
@pytest.mark.parametrize("where", ["client", "consumer", "producer"])
def test_no_setting_shows_its_value_unless_it_is_listed(where, name):
    """Not in a repr, a copy, a dictionary made of it, or JSON."""
    kafka = KafkaSettings(**{where: {name: f"{CANARY} {where}"}})
    settings = Settings(kafka=kafka)
    for shown in (
        repr(settings),
        str(getattr(kafka, where)),
        f"{getattr(kafka, where)[name]}",
        pprint.pformat(dataclasses.asdict(settings)),
        repr(dataclasses.replace(kafka, topic_check_ms=1)),
        repr(copy.deepcopy(settings)),
        json.dumps(dataclasses.asdict(settings), default=str),
    ):
        assert CANARY not in shown
        assert HIDDEN in shown or name not in shown
    with pytest.raises(TypeError, match="not pickled"):
        copy.copy(getattr(kafka, where)[name])


def test_what_is_listed_is_shown():
    """The control of the test above: a secret under such a name would be found."""
    assert CANARY in repr(KafkaSettings(client={"client.rack": CANARY}))
    assert not SHOWN.intersection(SECRETS)
    assert not [name for name in SHOWN if name.startswith(("ssl.key", "sasl.oauth", "sasl.kerb"))]


@pytest.mark.parametrize("name", [*SECRETS, "oauth_cb"])
def test_every_client_gets_it_unchanged(name):
    """Consumer, producer, admin client and the restore consumer."""
    value = CANARY if name != "oauth_cb" else lambda config: (CANARY, 0.0)
    app = ps.App("app", settings=Settings(kafka=KafkaSettings(client={name: value})))
    configs = ClientConfigs(app)
    for config in (configs.common(), configs.restore(), configs.producer("me", 1_000)):
        assert CANARY not in repr(config)
        assert revealed(config)[name] is value


def test_secrets_are_equal_only_to_secrets():
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1
    assert hidden({"x": Secret("a")}) == hidden({"x": "a"})


def test_what_the_client_says_is_looked_through():
    """Longer secrets first; what is too short to be told from words stays."""
    settings = hidden(
        {"sasl.password": "long-secret-indeed", "sasl.username": "long-secret", "x": "none"}
    )
    assert without_secrets("long-secret-indeed of long-secret, none", settings) == (
        f"{HIDDEN} of {HIDDEN}, none"
    )
    assert without_secrets("nothing") == "nothing"


@pytest.mark.parametrize("name", SECRETS)
def test_a_listed_setting_of_the_client_is_hidden_by_its_name(name):
    """As librdkafka lists them with debug=conf, which hides some of them only."""
    line = f"CONF [rdkafka#producer-1] [thrd:app]:   {name} = {CANARY}\nsecond line"
    assert without_secrets(line) == f"CONF [rdkafka#producer-1] [thrd:app]:   {name} = {HIDDEN}"
    shown = "CONF [rdkafka#producer-1] [thrd:app]:   linger.ms = 5"
    assert without_secrets(shown) == shown


def test_the_log_of_the_client_has_no_secrets(caplog):
    """librdkafka's own lines, with all that it can say."""
    from confluent_kafka import Producer

    kafka = KafkaSettings(
        client={
            "debug": "all",
            "sasl.password": CANARY,
            "sasl.oauthbearer.token.endpoint.url": f"https://{CANARY}@example.org",
            "sasl.oauthbearer.extensions": f"a={CANARY}",
            "sasl.kerberos.kinit.cmd": f"echo {CANARY}",
        }
    )
    app = ps.App("app", brokers="127.0.0.1:1", settings=Settings(kafka=kafka))
    with caplog.at_level(logging.DEBUG, "penstock.kafka"):
        Producer(revealed(ClientConfigs(app).producer("me", 1_000))).poll(0.3)
    assert "sasl.oauthbearer.token.endpoint.url = [hidden]" in caplog.text
    assert CANARY not in caplog.text
    lines: list[str] = []
    raw = logging.Logger("raw", logging.DEBUG)
    raw.addHandler(_Collecting(lines))
    Producer({**revealed(ClientConfigs(app).producer("me", 1_000)), "logger": raw}).poll(0.3)
    assert CANARY in "\n".join(lines), "the control: the client itself hides less"


class _Collecting(logging.Handler):
    """Keep what is logged."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())


@pytest.mark.parametrize("brokers", [f"ann:{CANARY}@host:9092", f"SASL_SSL://{CANARY}@h:9"])
def test_brokers_with_credentials_are_refused_without_naming_them(brokers, monkeypatch):
    """Kafka has no such addresses, and an address is shown in every message about the cluster."""
    with pytest.raises(TopologyError, match=r"sasl\.username") as caught:
        ps.App("app", brokers=brokers)
    assert CANARY not in str(caught.value)
    monkeypatch.setenv("PENSTOCK_BROKERS", brokers)
    with pytest.raises(TopologyError) as caught:
        ClientConfigs(ps.App("app")).common()
    assert CANARY not in str(caught.value)
    assert check_brokers("a:1,SSL://b:2,[::1]:3") == "a:1,SSL://b:2,[::1]:3"
