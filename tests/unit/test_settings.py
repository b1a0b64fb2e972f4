"""Settings: named limits, frozen, and no Kafka setting that is ignored without a word."""

import dataclasses
import logging

import pytest

import penstock as ps
from penstock.engine.assignment import LeadMap
from penstock.errors import TopologyError
from penstock.runtime.client_configs import MOST_LINES, ClientConfigs, _ClientLog
from penstock.runtime.settings import (
    OWNED,
    CommitSettings,
    KafkaSettings,
    Settings,
    StateSettings,
    WorkerSettings,
)
from penstock.secret import revealed
from penstock.state.directories import Slot

GROUPS = (Settings, KafkaSettings, StateSettings, CommitSettings, WorkerSettings)


@pytest.mark.parametrize("group", GROUPS)
def test_groups_are_frozen_and_keyword_only(group):
    """Settings are values: no position has a meaning, nothing changes afterwards."""
    one = group()
    name = dataclasses.fields(group)[0].name
    with pytest.raises(TypeError):
        group(getattr(one, name))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(one, name, getattr(one, name))
    assert one == group()


@pytest.mark.parametrize("group", GROUPS)
def test_unknown_names_are_refused(group):
    """A misspelled setting is an error, never ignored."""
    with pytest.raises(TypeError, match="comit"):
        group(comit=1)


@pytest.mark.parametrize("where", ["client", "consumer", "producer"])
@pytest.mark.parametrize("name", OWNED)
def test_settings_that_penstock_owns_are_refused_with_the_reason(where, name):
    """What exactly-once rests on cannot be changed behind its back."""
    with pytest.raises(TopologyError) as caught:
        KafkaSettings(**{where: {name: "x"}})
    assert repr(name) in str(caught.value)
    assert OWNED[name] in str(caught.value)


def test_other_kafka_settings_pass():
    """Whatever librdkafka knows beside those is the user's business."""
    settings = KafkaSettings(client={"security.protocol": "SSL"}, producer={"linger.ms": 0})
    assert settings.client == {"security.protocol": "SSL"}
    assert settings.producer == {"linger.ms": 0}


def configs(tmp_path, protocol="classic", **user):
    """What the input consumer and the producer of a worker would be made of."""
    app = ps.App("app", settings=Settings(kafka=KafkaSettings(protocol=protocol, **user)))
    app.stream("in", key=str, value=int).to("out")
    configs = ClientConfigs(app)
    slot = Slot.acquire(tmp_path, "app")
    try:
        consumer = configs.inputs(slot.identity, LeadMap(app.topology(), {"in": 1}))
    finally:
        slot.release()
    return {"consumer": consumer, "client": configs.common()}


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
@pytest.mark.parametrize("where", ["client", "consumer"])
def test_a_kafka_setting_is_refused_or_has_an_effect(tmp_path, protocol, where):
    """No setting of the user is overwritten in silence."""
    for name in configs(tmp_path, protocol)[where]:
        if name == "logger":
            continue  # an object, no setting
        try:
            found = configs(tmp_path, protocol, **{where: {name: "mine"}})
        except TopologyError:
            continue
        assert revealed(found[where])[name] == "mine", name


def test_timeouts_rise():
    """request < transaction < max poll interval; the error has the three values."""
    KafkaSettings(request_timeout_ms=1, transaction_timeout_ms=2, max_poll_interval_ms=10_000)
    for wrong in (
        {"request_timeout_ms": 15_000},
        {"transaction_timeout_ms": 60_000},
        {"max_poll_interval_ms": 15_000},
    ):
        with pytest.raises(TopologyError, match="Timeouts must rise") as caught:
            KafkaSettings(**wrong)
        assert str(next(iter(wrong.values()))) in str(caught.value)


def test_a_session_is_no_longer_than_the_poll_interval():
    """librdkafka would refuse it with words of its own."""
    with pytest.raises(TopologyError, match="session_timeout_ms is 70000"):
        KafkaSettings(session_timeout_ms=70_000)


def test_every_setting_is_documented():
    """Each attribute stands in its group's docstring."""
    for group in GROUPS[1:]:
        for field in dataclasses.fields(group):
            assert f"{field.name}: " in group.__doc__


def test_a_worker_id_is_checked():
    """It becomes part of topics' keys and of files."""
    with pytest.raises(TopologyError, match="the name of a worker"):
        WorkerSettings(worker_id="pod/0")


@pytest.mark.parametrize(
    ("protocol", "leave", "static"),
    [("classic", False, True), ("classic", True, False), ("consumer", False, False)],
)
def test_a_dynamic_member_has_no_instance_id(protocol, leave, static):
    """It leaves the group when it stops; KIP-848 would refuse a duplicate for good."""
    app = ps.App(
        "app",
        settings=Settings(
            kafka=KafkaSettings(protocol=protocol), worker=WorkerSettings(leave=leave)
        ),
    )
    app.stream("in", key=str, value=int).to("out")
    config = ClientConfigs(app).inputs("me", LeadMap(app.topology(), {"in": 1}))
    assert ("group.instance.id" in config) is static
    assert config.get("group.instance.id", "me").startswith("me")


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_only_exactly_once_has_a_transactional_id(guarantee):
    """It is the application's id and the worker's."""
    app = ps.App("app", guarantee=guarantee)
    config = ClientConfigs(app).producer("me", 1_000)
    assert config.get("transactional.id") == ("app-me" if guarantee == "exactly_once" else None)


def test_what_the_kafka_client_logs_is_information_at_most(caplog):
    """It reports as an error what it will try again; what it does at each start is not told."""
    caplog.set_level(logging.INFO)
    logger = ClientConfigs(ps.App("app")).common()["logger"]
    line = "%s [%s] %s"  # as the client calls it
    logger.log(logging.ERROR, line, "FAIL", "rdkafka#producer-1", "Connection refused")
    logger.log(logging.WARNING, line, "GETPID", "rdkafka#producer-1", "Not coordinator: retrying")
    told = [(record.levelname, record.getMessage()[:4]) for record in caplog.records]
    assert told == [("INFO", "FAIL")]
    caplog.set_level(logging.DEBUG)
    logger.log(logging.WARNING, line, "GETPID", "rdkafka#producer-1", "Not coordinator: retrying")
    assert caplog.records[-1].levelname == "DEBUG"


def test_what_the_kafka_client_repeats_is_told_once_a_minute(caplog):
    """A broker that is away would fill the log by twenty lines a second, for each client."""
    clock = [0.0]
    logger = _ClientLog({}, now=lambda: clock[0])
    caplog.set_level(logging.INFO)
    for number in range(1_300):
        clock[0] = number / 20
        after = f"(after {number % 3}ms in state CONNECT)"
        logger.log(logging.ERROR, "FAIL [%s] localhost:1: Connection refused %s", "c-1", after)
    assert len(caplog.records) == 2
    logger.log(logging.ERROR, "FAIL [%s] localhost:1: Connection refused", "c-2")
    assert len(caplog.records) == 3, "another client's are its own"
    for number in range(MOST_LINES + 1):
        logger.log(logging.ERROR, "%s", f"line {number}")
    assert len(caplog.records) == 3 + MOST_LINES + 1
    assert len(logger._told) <= MOST_LINES
