"""What is wrong is said once, at the end of stderr: what, where, and what to do about it."""

import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import (
    Consumer,
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    TopicPartition,
)

from penstock.testing.kafka_server import KafkaServer
from tests.kafka import checking
from tests.kafka.conftest import (
    ApplicationFactory,
    TopicFactory,
    applications,
    create_topic,
)
from tests.kafka.feeding import Row, feed, words
from tests.kafka.workers import QUICK, STOP_S, Application

pytestmark = pytest.mark.kafka

SHORT = {"connect_timeout_ms": 1_500}
BOUND_S = 15.0  # for a wait of 1.5 s and the start of a process, on busy cores


# Topics


@pytest.mark.parametrize(
    ("missing", "use"), [("in", "stream-0 reads it"), ("out", "to-2 writes it")]
)
def test_a_missing_topic_is_named_before_a_record_is_read(
    missing: str, use: str, topic: TopicFactory, application: ApplicationFactory
) -> None:
    names = {"in": topic("in"), "out": topic("out")} | {missing: "no-such-topic"}
    app = application("map", names["in"], names["out"])
    error = explained(app.start(), "TopologyError")
    assert f"The topic no-such-topic ({use}) does not exist" in error
    assert "penstock topics no-such-topic --create 4" in error


def test_a_pattern_that_matches_nothing_is_named(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("map", [], topic("out"), pattern="no-such-[a-z]+")
    assert "No topic matches the pattern 'no-such-[a-z]+'" in explained(
        app.start(), "TopologyError"
    )


def test_a_missing_destination_is_named_with_its_record(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("routed", topic("in", partitions=1), "nowhere")
    feed(app.servers, app.inputs[0], [Row("a", "red:1")])
    error = explained(app.start(), "DataError")
    assert "nowhere-red" in error
    assert f"{app.inputs[0]}/0 offset 0" in error
    assert "penstock topics nowhere-red --create 4" in error


def test_an_internal_topic_with_another_configuration_is_refused(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("count", topic("in"), topic("out"))
    changelog = app.changelog("counts")
    create_topic(app.servers, changelog, 4, cleanup_policy="delete")
    error = explained(app.start(), "TopologyError")
    assert f"{changelog} has cleanup.policy=delete" in error
    assert "needs cleanup.policy=compact" in error
    assert f"--entity-name {changelog} --add-config cleanup.policy=compact" in error
    checking.configure(app.servers, changelog, {"cleanup.policy": "compact"})
    app.run_through()


def test_an_internal_topic_with_another_partition_count_is_refused(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("count", topic("in", partitions=4), topic("out"))
    create_topic(app.servers, app.changelog("counts"), 3, cleanup_policy="compact")
    error = explained(app.start(), "TopologyError")
    assert f"{app.changelog('counts')} has 3 partitions, the application needs 4" in error


def test_inputs_of_shared_state_with_different_partition_counts_are_refused(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    inputs = [topic("in", partitions=4), topic("more", partitions=3)]
    app = application("count", inputs, topic("out"))
    error = explained(app.start(), "TopologyError")
    assert f"{inputs[0]} has 4" in error
    assert f"{inputs[1]} has 3" in error


# The cluster


def test_a_port_where_nobody_listens_is_named_in_bounded_time(tmp_path: Path) -> None:
    servers = f"127.0.0.1:{free_port()}"
    with applications(servers, tmp_path) as make:
        app = make("map", "in", "out", kafka=SHORT)
        error = explained(app.start(), "BrokerError", BOUND_S)
    assert f"No Kafka at {servers}" in error
    assert "connect_timeout_ms" in error
    assert len(error) < 600


def test_an_unknown_host_is_named_in_bounded_time(tmp_path: Path) -> None:
    with applications("no-such-host.invalid:9092", tmp_path) as make:
        app = make("map", "in", "out", kafka=SHORT)
        error = explained(app.start(), "BrokerError", BOUND_S)
    assert "No Kafka at no-such-host.invalid:9092" in error
    assert "resolve" in error.lower()


def test_a_worker_that_waits_for_its_cluster_can_be_stopped(tmp_path: Path) -> None:
    with applications(f"127.0.0.1:{free_port()}", tmp_path) as make:
        app = make("map", "in", "out", kafka={"connect_timeout_ms": 600_000}).start()
        time.sleep(1.5)
        app.signal(signal.SIGTERM)
        app.wait_ended(STOP_S)


def test_a_broker_that_is_still_starting_is_waited_for(tmp_path: Path) -> None:
    with KafkaServer(data=tmp_path / "data") as kafka:
        servers, port = kafka.bootstrap_servers, int(kafka.bootstrap_servers.split(":")[1])
        for name in ("in", "out"):
            create_topic(servers, name, 4)
        feed(servers, "in", words(100))
        kafka.kill()
    with applications(servers, tmp_path) as make:
        app = make("map", "in", "out").start()
        app.wait_for(f"No Kafka at {servers} yet: ")
        assert "Trying for up to 30 s." in app.text()
        with KafkaServer(data=tmp_path / "data", port=port) as kafka:
            app.wait_drained()
            app.stop()
            app.check_map()
            kafka.kill()


SECRET = "s3cret-of-alice"


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    """The address of a broker that wants a password."""
    port, controller, clients = free_port(), free_port(), free_port()
    module = "org.apache.kafka.common.security.plain.PlainLoginModule"
    names = {"BROKER": port, "CONTROLLER": controller, "CLIENTS": clients}
    addresses = {name: f"{name}://127.0.0.1:{number}" for name, number in names.items()}
    settings = {
        "listeners": ",".join(addresses.values()),
        "advertised.listeners": ",".join(addresses[name] for name in ("BROKER", "CLIENTS")),
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listener.security.protocol.map": (
            "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,CLIENTS:SASL_PLAINTEXT"
        ),
        "listener.name.clients.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.clients.plain.sasl.jaas.config": (
            f'{module} required user_alice="{SECRET}";'
        ),
    }
    with KafkaServer(port=port, settings=settings) as kafka:
        for name in ("in", "out"):
            create_topic(kafka.bootstrap_servers, name, 4)
        feed(kafka.bootstrap_servers, "in", words(100))
        yield f"127.0.0.1:{clients}"


def login(password: str) -> dict[str, object]:
    client = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "alice",
        "sasl.password": password,
    }
    return {"client": client, **SHORT}


def test_a_wrong_password_is_said_and_not_shown(guarded: str, tmp_path: Path) -> None:
    with applications(guarded, tmp_path) as make:
        app = make("map", "in", "out", kafka=login("wrong-pass"))
        error = explained(app.start(), "BrokerError", BOUND_S)
        assert "Authentication failed" in error
        assert "sasl.*" in error
        assert "wrong-pass" not in app.text()


def test_the_right_password_lets_in_and_is_not_shown(guarded: str, tmp_path: Path) -> None:
    with applications(guarded, tmp_path) as make:
        app = make("map", "in", "out", kafka=login(SECRET)).start()
        app.wait_for("Task in/3 runs from")
        app.stop()
        assert SECRET not in app.text()


def test_a_client_without_login_is_refused_in_bounded_time(guarded: str, tmp_path: Path) -> None:
    with applications(guarded, tmp_path) as make:
        error = explained(make("map", "in", "out", kafka=SHORT).start(), "BrokerError", BOUND_S)
    assert f"No Kafka at {guarded}" in error


@pytest.mark.parametrize(
    ("client", "named"),
    [
        ({"no.such.setting": "1"}, "no.such.setting"),
        ({"socket.timeout.ms": "soon"}, "socket.timeout.ms"),
    ],
)
def test_a_client_setting_that_is_none_is_named(
    client: dict[str, str], named: str, topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("map", topic("in"), topic("out"), kafka={"client": client})
    assert named in explained(app.start(), "TopologyError")


def test_a_session_longer_than_the_poll_interval_is_refused(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("map", topic("in"), topic("out"), kafka={"session_timeout_ms": 90_000})
    error = explained(app.start(), "TopologyError")
    assert "session_timeout_ms" in error
    assert "max_poll_interval_ms" in error


# Functions and types


def test_a_wrong_type_from_a_function_is_named_with_its_record(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("mistyped", topic("in", partitions=1), topic("out"))
    feed(app.servers, app.inputs[0], words(10))
    error = explained(app.start(), "DataError")
    assert f"to-2 {app.outputs[0]} failed on {app.inputs[0]}/0 offset 0" in error
    assert "int" in error


def test_a_serde_that_cannot_be_known_is_named_at_its_line(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    error = explained(application("untyped", topic("in"), topic("out")).start(), "TopologyError")
    source = Path(__file__).with_name("apps.py").read_text().splitlines()
    line = 1 + next(n for n, text in enumerate(source) if "map(lambda text" in text)
    assert f"apps.py:{line}" in error
    assert "value=" in error


# State


def test_a_changed_store_is_refused_naming_both_definitions(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("count", topic("in"), topic("out"))
    feed(app.servers, app.inputs[0], words(100))
    app.run_through()
    error = explained(app.start("count-in-json"), "TopologyError")
    assert "'counts'" in error
    assert "'key-value str int'" in error
    assert "'key-value str json'" in error
    app.run_through()
    app.check_count()


def test_state_without_committed_offsets_is_refused(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("count", topic("in"), topic("out"), kafka=QUICK)
    feed(app.servers, app.inputs[0], words(100))
    app.run_through()
    wait_empty(app)
    checking.admin(app.servers).delete_consumer_groups([app.id])[app.id].result()
    for _ in range(2):
        error = explained(app.start(), "BrokerError")
        assert "The store counts" in error
        assert "no offset is committed" in error
        app.forget_stores()  # nor with what a restore finds


def test_offsets_that_somebody_has_moved_are_refused(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    """As `kafka-consumer-groups.sh --reset-offsets` does, which leaves no metadata."""
    app = application("count", topic("in"), topic("out"), kafka=QUICK)
    feed(app.servers, app.inputs[0], words(100))
    app.run_through()
    wait_empty(app)
    moved = [TopicPartition(app.inputs[0], number, 0) for number in range(4)]
    request = [ConsumerGroupTopicPartitions(app.id, moved)]
    checking.admin(app.servers).alter_consumer_group_offsets(request)[app.id].result()
    error = explained(app.start(), "BrokerError")
    assert "The store counts" in error
    assert "metadata" in error


def test_metadata_of_another_program_is_refused(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("map", topic("in"), topic("out"))
    config = {"bootstrap.servers": app.servers, "group.id": app.id}
    consumer = Consumer(config)
    offset = TopicPartition(app.inputs[0], 2, 0, "hello")
    consumer.commit(offsets=[offset], asynchronous=False)
    consumer.close()
    error = explained(app.start(), "BrokerError")
    assert f"{app.inputs[0]}/2 carries metadata that Penstock did not write" in error
    assert "another id" in error


def test_a_position_that_retention_has_deleted_is_named(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("map", topic("in"), topic("out"))
    feed(app.servers, app.inputs[0], words(100))
    app.run_through()
    feed(app.servers, app.inputs[0], words(100, first=100))
    at = (app.inputs[0], 1)
    checking.delete_records(app.servers, {at: checking.ends(app.servers, app.inputs)[at]})
    error = explained(app.start(), "BrokerError")
    assert f"{app.inputs[0]}/1" in error
    assert "Retention" in error


def test_a_state_folder_that_cannot_be_made_is_named(
    topic: TopicFactory, application: ApplicationFactory, tmp_path: Path
) -> None:
    app = application("count", topic("in"), topic("out"))
    app.state_dir.write_text("a file")
    error = explained(app.start(), "StateError")
    assert str(app.state_dir) in error
    assert "state_dir" in error


def explained(app: Application, kind: str, timeout_s: float = 30.0) -> str:
    """Wait for a worker's failure and return its explanation: one paragraph, the last one."""
    lines = app.fails(timeout_s).rstrip().splitlines()
    start = f"penstock.errors.{kind}: "
    assert lines[-1].startswith(start), "\n".join(lines)
    return lines[-1].removeprefix(start)


def wait_empty(app: Application) -> None:
    """Wait until the session of the stopped worker has ended."""
    deadline = time.monotonic() + 20
    admin = checking.admin(app.servers)
    while True:
        group = admin.describe_consumer_groups([app.id])[app.id].result()
        if group.state == ConsumerGroupState.EMPTY:
            return
        assert time.monotonic() < deadline, group.state
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
