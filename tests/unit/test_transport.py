"""Settings that give protection up are said at each start, and pass all the same."""

import pytest

import penstock as ps
from penstock.errors import BrokerError
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
    kafka = KafkaSettings(client={WEAK[0][0]: WEAK[0][1]}, connect_timeout_ms=1)
    settings = Settings(kafka=kafka)
    app = ps.App("app", brokers="127.0.0.1:1", state_dir=tmp_path, settings=settings)
    app.stream("in").to("out")
    with pytest.raises(BrokerError):
        Running(app).work()
    assert "security.protocol=sasl_plaintext" in caplog.text
