"""KafkaServer: a real Apache Kafka for tests and the demo, on loopback, without a container.

One or three nodes in KRaft mode, each broker and controller at once, each a JVM of its own.

Rule 1: `start()` returns when every node answers; if one does not, the error shows its log.
Rule 2: a node dies with its parent, however the parent dies. Its JVM is started through a
    shell that leaves a watcher behind, which reads a pipe of which we hold the other end:
    end of file means that we are gone. (PR_SET_PDEATHSIG is Linux's own and fires when the
    starting *thread* ends.) The shell becomes the JVM by exec, so the pid is the JVM's and
    nothing is slower. A process forked without exec inherits the pipe and prolongs the life.
Rule 3: only processes that we started are signalled, by their pid.
Rule 4: what the broker prints goes to a file in the data folder, never to the terminal.

Java, the jars and what makes the start quick are not here but in `kafka_jars`.
"""

import fcntl
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from penstock.errors import BrokerError
from penstock.testing.kafka_jars import CLASS_DATA_TIMEOUT_S, KAFKA_VERSION, Runtime

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
DISCARD_TIMEOUT_S = 1.0  # for nodes whose data goes: of three, the last ones hang for 5 s
GROUPS_TIMEOUT_S = 5.0
LOG_TAIL_LINES = 25
STOPPED_BY_SIGTERM = 143  # the JVM's exit status after an orderly shutdown

# Below the range that the kernel takes ports of outgoing connections from: there a client
# that retries while the broker is down can get the broker's own port, and keeps it.
PORTS = range(20_000, 32_000)

# Quick groups, transactions and compaction: tests wait for them. A killed broker cannot
# register again before its session ends: 9 s by default, and restart() waits for it.
SETTINGS: Mapping[str, str] = {
    "auto.create.topics.enable": "false",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "4",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "3000",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.heartbeat.interval.ms": "500",
    "group.consumer.min.heartbeat.interval.ms": "500",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.session.timeout.ms": "1000",
    "log.cleaner.backoff.ms": "500",
    "log.cleaner.dedupe.buffer.size": "8388608",
}

# What the controller alone goes by that fences a killed broker: a session of no length.
FENCING: Mapping[str, str] = {
    "process.roles": "controller",
    "broker.heartbeat.interval.ms": "100",
    "broker.session.timeout.ms": "200",
}
FENCED = "Fencing broker"
ACTIVE = "Performing controller activation"
FENCING_TIMEOUT_S = 2.0  # after the controller is active

LOGGING = """\
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
appender.file.type = Console
appender.file.name = file
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d %-5p %m (%c)%n
"""

FENCING_LOGGING = f"""\
{LOGGING}
logger.fencing.name = org.apache.kafka.controller.ReplicationControlManager
logger.fencing.level = info
"""

# The watcher: a line on the pipe lets it go, end of file makes it kill. The shell's $$ is
# the JVM's pid, because exec keeps it.
WITH_WATCHER = """\
exec 3<&0 </dev/null
(read -r _ <&3 || kill -KILL $$) >/dev/null 2>&1 &
exec "$@" 3<&-
"""


class KafkaServer:
    """Run a real Apache Kafka on loopback while the context lasts.

    Args:
        nodes: how many, 1 or 3.
        data: a folder of yours for the data; a later server on it goes on from there. Left
            out, it is a temporary one, which is removed at close.
        port: of the first node; the others, and all of them without it, have free ones.
        settings: Kafka's broker settings; they win over ours.

    >>> with KafkaServer() as kafka:  # doctest: +SKIP
    ...     app = ps.App("page-views", brokers=kafka.bootstrap_servers)

    Raises:
        BrokerError: from `start()`, if Java or the jars are missing, a port or the data folder
            is taken, or a node does not answer in time; `restart()` raises the last.
    """

    def __init__(
        self,
        *,
        nodes: int = 1,
        data: str | Path | None = None,
        port: int | None = None,
        settings: Mapping[str, str] = {},
    ) -> None:
        if nodes not in (1, 3):
            raise BrokerError(f"KafkaServer runs 1 or 3 nodes, not {nodes}: choose one of them.")
        self._count = nodes
        self._given_data = data
        self._port = port
        self._settings = dict(settings)
        self._nodes: list[_Node] = []
        self._data: _DataFolder | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start every node and wait until all of them answer."""
        if self._nodes:
            return
        runtime = Runtime.find()
        ports = _free_ports(2 * self._count, first=self._port)
        self._data = _DataFolder.open(self._given_data, self._count)
        try:
            self._nodes = self._lay_out(runtime, ports)
            _format(self._nodes, self._data.cluster_id())
            for node in self._nodes:
                self._launch(node)
            for node in self._nodes:
                node.wait_ready({node.number for node in self._nodes})
            _await_groups(self._nodes[0].client())
        except BaseException as error:
            self._end(keep_data=isinstance(error, BrokerError))  # its message points to the log
            raise

    def close(self) -> None:
        """Stop every node and remove the data, unless it is in a folder of yours."""
        self._end(keep_data=False)

    @property
    def bootstrap_servers(self) -> str:
        """The nodes' addresses, as Kafka's clients take them."""
        return ",".join(node.address for node in self._running())

    @property
    def data(self) -> Path:
        """The folder that holds each node's data, configuration and log."""
        self._running()
        assert self._data is not None
        return self._data.path

    def pid(self, node: int = 1) -> int:
        """The process id of a node's JVM, as last started."""
        return self._node(node).pid

    def wait(self) -> None:
        """Wait for ever: only the end of a node ends it.

        Raises:
            BrokerError: when a node has ended.
        """
        while True:
            for node in self._running():
                node.check_alive()
            time.sleep(0.5)

    def kill(self, node: int = 1) -> None:
        """Kill a node (SIGKILL) and wait until it is gone. Its data and ports stay."""
        self._node(node).kill()

    def stop(self, node: int = 1) -> None:
        """Stop a node cleanly and wait until it is gone. Its data and ports stay."""
        _stop([self._node(node)], STOP_TIMEOUT_S)

    def restart(self, node: int = 1) -> None:
        """Start a node again, on the same data and ports, and wait until it answers.

        One that is still running is stopped first.
        """
        self.stop(node)
        self._launch(self._node(node))
        self._node(node).wait_ready({node})
        _await_groups(self._node(node).client())

    def _launch(self, node: "_Node") -> None:
        if self._count == 1 and node.was_killed:
            node.fence()
        node.launch()

    def _running(self) -> "list[_Node]":
        if not self._nodes:
            raise BrokerError("This KafkaServer is not started: call start(), or use `with`.")
        return self._nodes

    def _node(self, number: int) -> "_Node":
        if not 1 <= number <= len(self._running()):
            raise BrokerError(f"There is no node {number}. Name one from 1 to {len(self._nodes)}.")
        return self._nodes[number - 1]

    def _lay_out(self, runtime: Runtime, ports: list[int]) -> "list[_Node]":
        """Give each node its folder and its two ports, and write its configuration."""
        assert self._data is not None
        folders = self._data.node_folders()
        places = zip(folders, ports[: self._count], ports[self._count :], strict=True)
        nodes = [_Node(runtime, number, *place) for number, place in enumerate(places, start=1)]
        for node in nodes:
            node.write_configuration(nodes, self._settings)
        return nodes

    def _end(self, *, keep_data: bool) -> None:
        _stop(self._nodes, STOP_TIMEOUT_S if self._given_data else DISCARD_TIMEOUT_S)
        self._nodes = []
        if self._data:
            self._data.close(keep=keep_data)
        self._data = None


@dataclass
class _Node:
    """One JVM: its folder, its two ports, its process."""

    runtime: Runtime
    number: int
    folder: Path
    port: int
    controller_port: int
    process: "subprocess.Popen[bytes] | None" = None
    draft: Path | None = None  # where its JVM will write a class-data archive

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / "kafka.log"

    @property
    def pid(self) -> int:
        if self.process is None:
            raise BrokerError(
                f"Node {self.number} has not been started: call start() of the server first."
            )
        return self.process.pid

    @property
    def is_formatted(self) -> bool:
        return (self.folder / "data" / "meta.properties").exists()

    @property
    def was_killed(self) -> bool:
        """Whether the broker has run, and has not ended cleanly since."""
        data = self.folder / "data"
        has_run = (data / "__cluster_metadata-0").exists()
        return has_run and not (data / ".kafka_cleanshutdown").exists()

    def write_configuration(self, nodes: "list[_Node]", settings: Mapping[str, str]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        common = {**SETTINGS, **_replication(len(nodes)), **self._identity(nodes)}
        server = {**common, **self._listeners(), **settings}
        fencing = {**common, **settings, "listeners": self._controller_listener, **FENCING}
        for name, values in (("server", server), ("fencing", fencing)):
            lines = (f"{key}={_escaped(value)}\n" for key, value in values.items())
            (self.folder / f"{name}.properties").write_text("".join(lines))
        (self.folder / "server.log4j2.properties").write_text(LOGGING)
        (self.folder / "fencing.log4j2.properties").write_text(FENCING_LOGGING)

    def java(self, main: str, *arguments: str, role: str, flags: Iterable[str]) -> list[str]:
        files = (
            f"-Dlog4j2.configurationFile={(self.folder / f'{role}.log4j2.properties').as_uri()}",
            f"-XX:ErrorFile={self.folder / 'jvm-crash.log'}",
        )
        return self.runtime.command(main, *arguments, flags=(*files, *flags))

    def launch(self) -> None:
        class_data = self.runtime.class_data
        if not (flags := class_data.use_flags()) and self.number == 1:
            self.draft = class_data.new_draft()
            flags = class_data.make_flags(self.draft)
        self.process = self._spawn("server", self.log, flags)

    def fence(self) -> None:
        """Let the controller alone fence the broker that was killed, before it starts again.

        A broker that starts while its old session lasts takes itself for the leader that it was.
        If no other broker is there, then once the session ends there is no leader: Kafka 4.3.1
        takes the partitions of a prepared transaction for deleted and completes it without
        markers, so that readers of committed data stop there for ever (seen in 3 of 5 kills
        right after a commit). It is quicker as well: the session is 3 s.
        """
        log = self.folder / "fencing.log"
        log.unlink(missing_ok=True)
        self.process = self._spawn("fencing", log, self.runtime.class_data.use_flags())
        try:
            _wait_for_fencing(log)
        finally:
            self.terminate()
            self.reap(STOP_TIMEOUT_S)

    def _spawn(self, role: str, log: Path, flags: list[str]) -> "subprocess.Popen[bytes]":
        properties = str(self.folder / f"{role}.properties")
        command = self.java("kafka.Kafka", properties, role=role, flags=flags)
        with log.open("ab") as output:
            return subprocess.Popen(
                ["/bin/sh", "-c", WITH_WATCHER, "sh", *command],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,  # a Ctrl-C is for the parent, which stops us in order
            )

    def wait_ready(self, expected: set[int]) -> None:
        """Wait until this node answers, and says that the expected ones are there."""
        deadline = time.monotonic() + START_TIMEOUT_S
        client = self.client()
        while not expected <= _known_nodes(client):
            self.check_alive()
            if time.monotonic() > deadline:
                raise self.failed(f"did not answer within {START_TIMEOUT_S:.0f} s")
            time.sleep(0.01)

    def client(self) -> AdminClient:
        return AdminClient(
            {
                "bootstrap.servers": self.address,
                "reconnect.backoff.ms": 20,
                "reconnect.backoff.max.ms": 50,
                "log_level": 0,  # it is refused until the broker listens
            }
        )

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.reap(0)

    def terminate(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.send_signal(signal.SIGCONT)  # somebody may have stopped it

    def reap(self, timeout_s: float) -> None:
        """Wait for the process to end, kill it after the timeout, and let its watcher go."""
        if self.process is None:
            return
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        _dismiss_watcher(self.process.stdin)
        if self.draft:
            whole = self.process.returncode == STOPPED_BY_SIGTERM
            self.runtime.class_data.settle(self.draft, whole=whole)
            self.draft = None

    def failed(self, how: str) -> BrokerError:
        """Make the error for a node that does not run, with the end of its log."""
        tail = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return BrokerError(
            f"Node {self.number} of the embedded Kafka {KAFKA_VERSION} {how}. Its log,"
            f" {self.log}, ends with:\n" + "\n".join(f"    {line}" for line in tail)
        )

    def check_alive(self) -> None:
        """Raise if the JVM has ended."""
        if self.process and self.process.poll() is not None:
            self.reap(0)
            raise self.failed(f"ended with status {self.process.returncode}")

    @property
    def _controller_listener(self) -> str:
        return f"CONTROLLER://127.0.0.1:{self.controller_port}"

    def _identity(self, nodes: "list[_Node]") -> dict[str, str]:
        voters = (f"{node.number}@127.0.0.1:{node.controller_port}" for node in nodes)
        return {
            "node.id": str(self.number),
            "controller.quorum.voters": ",".join(voters),
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str(self.folder / "data"),
        }

    def _listeners(self) -> dict[str, str]:
        return {
            "process.roles": "broker,controller",
            "listeners": f"BROKER://{self.address},{self._controller_listener}",
            "advertised.listeners": f"BROKER://{self.address}",
            "inter.broker.listener.name": "BROKER",
        }


@dataclass
class _DataFolder:
    """The folder of a server: one folder per node, and a lock that one server holds."""

    path: Path
    nodes: int
    is_temporary: bool
    lock: IO[str]

    @classmethod
    def open(cls, given: str | Path | None, nodes: int) -> Self:
        path = Path(given or tempfile.mkdtemp(prefix="penstock-kafka-")).expanduser().resolve()
        path.mkdir(parents=True, exist_ok=True)
        if (present := len(list(path.glob("node-*")))) not in (0, nodes):
            raise BrokerError(
                f"{path} holds the data of {present} Kafka nodes, not of {nodes}: start it with"
                f" {present}, or choose another folder."
            )
        lock = (path / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise BrokerError(
                f"{path} is in use by another embedded Kafka: stop that one, or choose another"
                " folder."
            ) from None
        return cls(path, nodes, given is None, lock)

    def node_folders(self) -> list[Path]:
        return [self.path / f"node-{number}" for number in range(1, self.nodes + 1)]

    def cluster_id(self) -> str:
        """Read the cluster's id, or make it: 16 bytes, of which ours come first."""
        file = self.path / "cluster-id"
        if not file.exists():
            file.write_text(urlsafe_b64encode(b"penstock" + secrets.token_bytes(8)).decode()[:22])
        return file.read_text()

    def close(self, *, keep: bool) -> None:
        self.lock.close()
        if self.is_temporary and not keep:
            shutil.rmtree(self.path, ignore_errors=True)


def _format(nodes: list[_Node], cluster_id: str) -> None:
    """Prepare the data folders of those nodes that are new, all at once."""
    new = [node for node in nodes if not node.is_formatted]
    running = [_start_format(node, cluster_id) for node in new]
    try:
        for node, process in zip(new, running, strict=True):
            if process.wait(START_TIMEOUT_S):
                raise node.failed(f"could not be formatted (status {process.returncode})")
    except subprocess.TimeoutExpired:
        raise new[0].failed(f"could not be formatted within {START_TIMEOUT_S:.0f} s") from None
    finally:
        for process in running:
            process.kill()
            process.wait()


def _start_format(node: _Node, cluster_id: str) -> "subprocess.Popen[bytes]":
    properties = str(node.folder / "server.properties")
    arguments = ("format", "--cluster-id", cluster_id, "--config", properties)
    flags = node.runtime.class_data.use_flags()
    command = node.java("kafka.tools.StorageTool", *arguments, role="server", flags=flags)
    with node.log.open("ab") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _stop(nodes: list[_Node], timeout_s: float) -> None:
    """Stop nodes cleanly, all at once; kill those that are there after the timeout."""
    deadline = time.monotonic() + timeout_s
    for node in nodes:
        node.terminate()
    for node in nodes:
        extra = CLASS_DATA_TIMEOUT_S if node.draft else 0
        node.reap(max(0.0, deadline - time.monotonic()) + extra)


def _wait_for_fencing(log: Path) -> None:
    """Wait for the line that says so; without one there was nothing to fence."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while FENCED not in (text := log.read_text(errors="replace")):
        if ACTIVE in text:
            deadline = min(deadline, time.monotonic() + FENCING_TIMEOUT_S)
        if time.monotonic() > deadline:
            return
        time.sleep(0.02)


def _dismiss_watcher(pipe: IO[bytes] | None) -> None:
    """Tell a node's watcher that its JVM is gone, before the pid can be another's."""
    if pipe and not pipe.closed:
        with suppress(BrokenPipeError):  # the watcher was killed
            pipe.write(b"\n")
        pipe.close()


def _known_nodes(client: AdminClient) -> set[int]:
    try:
        return set(client.list_topics(timeout=0.5).brokers)
    except KafkaException:
        return set()


def _await_groups(client: Any) -> None:
    """Ask for a group until it is answered, which makes the broker create __consumer_offsets.

    It takes 0.1 s here; a first consumer that meets this takes 3.7 s to start, not 0.7. It is
    a courtesy only: a cluster that has no coordinator within the time is started all the same.
    """
    deadline = time.monotonic() + GROUPS_TIMEOUT_S
    while time.monotonic() < deadline:
        with suppress(KafkaException):
            client.describe_consumer_groups(["penstock"], request_timeout=1)["penstock"].result()
            return
        time.sleep(0.02)


def _replication(nodes: int) -> dict[str, str]:
    factor, in_sync = str(nodes), "2" if nodes > 1 else "1"
    return {
        "default.replication.factor": factor,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": factor,
        "transaction.state.log.replication.factor": factor,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": factor,
        "share.coordinator.state.topic.min.isr": in_sync,
    }


def _free_ports(count: int, *, first: int | None) -> list[int]:
    """Choose distinct free ports of loopback, the first one as asked for.

    They are chosen at random, so that servers that start at the same time differ.
    """
    if first is not None and not _is_free(first):
        raise BrokerError(
            f"Port {first} of 127.0.0.1 is taken, perhaps by another Kafka: stop it, use it"
            f" (--brokers 127.0.0.1:{first}), or choose another port."
        )
    ports = [] if first is None else [first]
    while len(ports) < count:
        port = secrets.choice(PORTS)
        if port not in ports and _is_free(port):
            ports.append(port)
    return ports


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the JVM does
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _escaped(value: str) -> str:
    """Write a value as Java's properties files want it: ASCII, no bare backslash."""
    return "".join(
        letter if letter.isascii() and letter != "\\" else f"\\u{ord(letter):04x}"
        for letter in value
    )
