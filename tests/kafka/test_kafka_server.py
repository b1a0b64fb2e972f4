"""KafkaServer keeps what it promises: a real broker that starts, survives, and leaves nothing."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, KafkaError, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from penstock.errors import BrokerError
from penstock.testing import kafka_jars
from penstock.testing.kafka_server import KafkaServer

pytestmark = pytest.mark.kafka

TopicFactory = Callable[..., str]


def test_only_committed_transactions_are_read(kafka: KafkaServer, topic: TopicFactory) -> None:
    name = topic("round-trip", partitions=1)
    producer = transactional_producer(kafka)
    for value, end in (
        (b"committed", producer.commit_transaction),
        (b"aborted", producer.abort_transaction),
        (b"committed too", producer.commit_transaction),
    ):
        producer.begin_transaction()
        producer.produce(name, value)
        assert producer.flush(10) == 0
        end()
    assert read(kafka, name, 2) == [b"committed", b"committed too"]


def test_topics_take_their_settings(kafka: KafkaServer, topic: TopicFactory) -> None:
    name = topic("settings", partitions=3, cleanup_policy="compact")
    metadata = AdminClient({"bootstrap.servers": kafka.bootstrap_servers}).list_topics(name)
    assert len(metadata.topics[name].partitions) == 3


def test_a_killed_node_keeps_what_was_committed() -> None:
    with KafkaServer() as kafka:
        create(kafka, "kept")
        write(kafka, "kept", b"before the kill")
        address, pid = kafka.bootstrap_servers, kafka.pid()
        kafka.kill()
        assert not is_running(pid)
        kafka.restart()
        assert kafka.bootstrap_servers == address
        assert kafka.pid() != pid
        assert read(kafka, "kept", 1) == [b"before the kill"]
        write(kafka, "kept", b"after it")
        assert read(kafka, "kept", 2) == [b"before the kill", b"after it"]


def test_servers_run_side_by_side(kafka: KafkaServer) -> None:
    with KafkaServer() as other:
        assert other.bootstrap_servers != kafka.bootstrap_servers
        create(other, "only-here")
        assert "only-here" in AdminClient(clients(other)).list_topics(timeout=10).topics
        assert "only-here" not in AdminClient(clients(kafka)).list_topics(timeout=10).topics


def test_a_data_folder_is_used_again_and_by_one_at_a_time(tmp_path: Path) -> None:
    with KafkaServer(data=tmp_path / "data of mine") as kafka:
        create(kafka, "kept")
        write(kafka, "kept", b"first run")
        with pytest.raises(BrokerError, match="in use by another"):
            KafkaServer(data=tmp_path / "data of mine").start()
    with KafkaServer(data=tmp_path / "data of mine") as kafka:
        assert read(kafka, "kept", 1) == [b"first run"]
    with pytest.raises(BrokerError, match="holds the data of 1 Kafka nodes"):
        KafkaServer(data=tmp_path / "data of mine", nodes=3).start()


def test_a_temporary_data_folder_goes_with_the_server() -> None:
    kafka = KafkaServer()
    kafka.start()
    data, pid = kafka.data, kafka.pid()
    assert data.is_dir()
    kafka.close()
    kafka.close()
    assert not data.exists()
    assert not is_running(pid)


def test_three_nodes_go_on_without_one() -> None:
    with KafkaServer(nodes=3) as kafka:
        create(kafka, "replicated")
        write(kafka, "replicated", b"by three")
        kafka.kill(3)
        write(kafka, "replicated", b"by two")
        kafka.restart(3)
        assert read(kafka, "replicated", 2) == [b"by three", b"by two"]


def test_a_server_outlives_the_thread_that_started_it() -> None:
    kafka = KafkaServer()
    starter = threading.Thread(target=kafka.start)
    starter.start()
    starter.join()
    time.sleep(0.3)
    assert is_running(kafka.pid())
    kafka.close()


def test_nothing_is_left_when_the_parent_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, time; from penstock.testing.kafka_server import KafkaServer\n"
        "kafka = KafkaServer(data=sys.argv[1]); kafka.start()\n"
        "print(kafka.pid(), flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", program, tmp_path / "data"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.kill()
    assert eventually(lambda: not is_running(pid))
    assert eventually(lambda: not processes_that_name(str(tmp_path)))  # nor the watcher


def test_a_start_that_fails_shows_the_log(tmp_path: Path) -> None:
    kafka = KafkaServer(data=tmp_path, settings={"log.cleaner.threads": "many"})
    with pytest.raises(BrokerError, match=r"(?s)kafka\.log, ends with.*log\.cleaner\.threads"):
        kafka.start()


def test_a_taken_port_is_named() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(BrokerError, match=f"Port {port} of 127.0.0.1 is taken"):
            KafkaServer(port=port).start()


def test_a_broken_class_data_archive_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_KAFKA_LIBS", str(kafka_jars.find_jars()[0].parent))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with KafkaServer():
        pass
    [archive] = (tmp_path / "penstock" / "class-data").glob("*.jsa")
    size = archive.stat().st_size
    archive.chmod(0o600)
    archive.write_bytes(archive.read_bytes()[: size // 2] + b"\xff" * (size // 2))
    with KafkaServer() as kafka:
        create(kafka, "works")
    archive.write_bytes(b"not an archive")
    with KafkaServer() as kafka:
        create(kafka, "works")


def test_without_jars_and_network_the_error_names_the_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy", "PENSTOCK_KAFKA_LIBS"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody listens
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(BrokerError, match=r"(?s)Cannot fetch .*--brokers.*PENSTOCK_KAFKA_LIBS"):
        KafkaServer().start()
    assert not list(tmp_path.rglob("*.jar"))


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_the_command_stops_cleanly(stop: signal.Signals, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("penstock")
    port = str(free_port())
    command = [program, "broker", "--port", port, "--data", tmp_path / "data"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as broker:
        assert broker.stdout
        assert broker.stdout.readline().decode().strip().endswith(f"127.0.0.1:{port}")
        broker.send_signal(stop)
        _, errors = broker.communicate(timeout=60)
    assert (broker.returncode, errors) == (0, b"")
    assert eventually(lambda: not processes_that_name(str(tmp_path)))  # its watcher was let go


def clients(kafka: KafkaServer) -> dict[str, object]:
    return {"bootstrap.servers": kafka.bootstrap_servers}


def create(kafka: KafkaServer, name: str) -> None:
    admin = AdminClient(clients(kafka))
    admin.create_topics([NewTopic(name, num_partitions=1)])[name].result(timeout=30)


def transactional_producer(kafka: KafkaServer) -> Producer:
    producer = Producer({**clients(kafka), "transactional.id": os.urandom(8).hex()})
    producer.init_transactions(30)
    return producer


def write(kafka: KafkaServer, topic: str, value: bytes) -> None:
    """Write one record in a transaction of its own."""
    producer = transactional_producer(kafka)
    producer.begin_transaction()
    producer.produce(topic, value)
    producer.commit_transaction(30)


def read(kafka: KafkaServer, topic: str, count: int) -> list[bytes | None]:
    """Read all that is committed in a topic of one partition, at least `count` records.

    The broker answers a commit before it writes the markers: the end may come too early.
    """
    consumer = Consumer(
        {
            **clients(kafka),
            "group.id": os.urandom(8).hex(),
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }
    )
    consumer.subscribe([topic])
    values = []
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        message = consumer.poll(0.5)
        error = message.error() if message else None
        if error and error.code() == KafkaError._PARTITION_EOF and len(values) >= count:
            consumer.close()
            return values
        if message and not error:
            values.append(message.value())
    raise AssertionError(f"no end of {topic} after {values}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def processes_that_name(text: str) -> list[int]:
    found = psutil.process_iter(["cmdline"])
    return [each.pid for each in found if text in " ".join(each.info["cmdline"] or [])]


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
