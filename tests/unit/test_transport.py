"""Settings that give protection up are said at each start, and pass all the same."""

import traceback

import pytest

import penstock as ps
from penstock.errors import BrokerError, TopologyError
from penstock.runtime.run import Running
from penstock.runtime.settings import KafkaSettings, Settings
from penstock.runtime.transport import warn_of_weak_transport

WEAK = [
    ("security.protocol", "sasl_plaintext", "Use sasl_ssl"),
    ("security.protocol", "SASL_PLAINTEXT", "Use sasl_ssl"),
    ("enable.ssl.certificate.verification", False, "ssl.ca.location"),
    ("enable.ssl.certificate.verification", "false", "ssl.ca.location"),
    ("ssl.endpoint.identification.algorithm", "none", "any other host"),
]


@pytest.mark.parametrize(("name", "value", "said"), WEAK)
@pytest.mark.parametrize("where", range(3))
def test_a_weak_setting_is_warned_of_once(caplog, name, value, said, where):
    """In whichever group it stands, with what to do."""
    groups = [{}, {}, {}]
    groups[where] = {name: value}
    warn_of_weak_transport(*groups, {name: value})
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"{name}={value}" in record.getMessage()
    assert said in record.getMessage()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"security.protocol": "plaintext"},
        {"security.protocol": "sasl_ssl", "enable.ssl.certificate.verification": True},
        {"ssl.endpoint.identification.algorithm": "https"},
    ],
)
def test_others_are_not(caplog, settings):
    """Plain text by itself is what every first try has, and Kafka's own default."""
    warn_of_weak_transport(settings)
    assert not caplog.records


def test_a_worker_warns_at_its_start(caplog, tmp_path):
    """Before it knows whether the cluster answers."""
    client = {"security.protocol": "sasl_plaintext", "sasl.mechanism": "PLAIN"}
    client |= {"sasl.username": "ann", "sasl.password": "swordfish"}
    with pytest.raises(BrokerError, match=r"No Kafka at 127\.0\.0\.1:1"):
        running(tmp_path, client).work()
    assert "security.protocol=sasl_plaintext" in caplog.text


@pytest.mark.parametrize(
    ("client", "said"),
    [
        ({"security.protocol": "sasl_ssl"}, "Name the sasl.mechanism"),
        ({"security.protocol": "sasl_ssl", "sasl.mechanism": "PLANE"}, "PLANE"),
        ({"ssl.key.pem": "swordfish", "security.protocol": "ssl"}, "ssl.key.pem"),
        ({"sasl.jaas.config": "swordfish"}, "JAAS configuration is not supported"),
        ({"sasl.kerberos.min.time.before.relogin": "swordfish"}, "Invalid value"),
        ({"plugin.library.paths": "swordfish"}, "dlopen"),
        ({"swordfish": 1}, "No such configuration property"),
    ],
)
def test_refused_settings_are_explained_without_their_values(tmp_path, client, said):
    """The client quotes some of what it refuses; the setting's name stays."""
    with pytest.raises(TopologyError) as caught:
        running(tmp_path, client).work()
    text = "".join(traceback.format_exception(caught.value))
    assert said in str(caught.value)
    assert "KafkaSettings" in str(caught.value)
    assert "swordfish" not in text.replace('property: "swordfish"', "")


def running(folder, client):
    """A worker of an application that nobody answers."""
    settings = Settings(kafka=KafkaSettings(client=client, connect_timeout_ms=1))
    app = ps.App("app", brokers="127.0.0.1:1", state_dir=folder, settings=settings)
    app.stream("in").to("out")
    return Running(app)
