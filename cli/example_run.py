"""Run an example to its end: topics, events, workers, and what stands in its outputs then.

Rule 1. A cluster that is named stays as it was: a topic that exists is refused, and those that the
        example made are deleted at the end.
Rule 2. It is through when the group has committed the ends of all inputs, repartition topics
        included: the ends are looked up last, because one input feeds the other. Where windows or
        timers are behind a repartition topic, it goes on committing after that, once time has
        come there; so it has to have committed nothing for a while.
Rule 3. Local state is in a temporary folder, and goes with the run.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import typer
from confluent_kafka import Producer

from penstock.cli.cluster import (
    CONNECT_TIMEOUT_S,
    Partition,
    client_config,
    committed,
    connect,
    group_client,
)
from penstock.cli.letters import letter_of
from penstock.cli.reading import read
from penstock.cli.terminal import printable, shown, utc, waiting
from penstock.errors import BrokerError, TopologyError
from penstock.runtime.loading import load
from penstock.runtime.message import Message
from penstock.serde.types import RAW, DataType
from penstock.testing.kafka_server import KafkaServer
from penstock.topics.internal import InternalTopic, progress_topic, workers_topic
from penstock.topology.event_time import late_topics
from penstock.topology.graph import Topology

PARTITIONS = 4
STOP_TIMEOUT_S = 12.0  # a worker's own limit is 9
FINISH_TIMEOUT_S = 60.0
QUIET_S = 6.0  # time behind repartition topics is looked up once a second, and takes two or three
KEPT = {"retention.ms": "-1"}  # results are as old as their events, which may be years
MOST_SHOWN = 12
Event: TypeAlias = tuple[bytes | None, bytes]  # key and value
Row: TypeAlias = tuple[str, str]


def run_tests(program: Path) -> None:
    """Run the tests of a file.

    Raises:
        TopologyError: if pytest is not installed.
    """
    if importlib.util.find_spec("pytest") is None:
        raise TopologyError(
            f"{program.name} is a file of tests, and pytest is not installed: pip install pytest"
        )
    with tempfile.TemporaryDirectory(prefix="penstock-example-") as folder:
        # Neither the settings nor the caches of the folder in which somebody stands.
        options = ["--verbose", "-p", "no:cacheprovider", "--rootdir", folder, "-c", os.devnull]
        command = [sys.executable, "-m", "pytest", *options, str(program.resolve())]
        code = subprocess.run(command, cwd=folder, check=False).returncode
    if code:
        raise typer.Exit(1)


def run(program: Path, *, workers: int = 1, brokers: str | None = None) -> None:
    """Run an application on its events until all of them are processed, and show its outputs.

    Args:
        program: its file; the events are beside it.
        workers: how many.
        brokers: a cluster; left out, a broker is started.

    Raises:
        BrokerError: if the cluster does not answer, has one of the topics already, or the
            events are not all processed within a minute.
        TopologyError: if the file has no application, or no events beside it.
    """
    events = events_of(program)
    topology = load(str(program)).topology()
    with (
        tempfile.TemporaryDirectory(prefix="penstock-example-") as folder,
        _cluster(brokers) as servers,
        _topics(topology, servers, delete=brokers is not None),
    ):
        with _working(program, servers, Path(folder), workers) as worker:
            with waiting(f"Starting {_workers(workers)} of {topology.application} ..."):
                shares = _await_shares(topology, servers, worker, workers)
            for number, share in enumerate(shares, 1) if workers > 1 else ():
                typer.echo(f"Worker {number} has {_listed(share)}.")
            source = _inputs(topology)[0]
            _send(servers, source, events)
            _show(f"{source} has {len(events)} records:", [_event(event) for event in events])
            with waiting(f"The application {topology.application} works ..."):
                _await_end(topology, servers, worker)
        if shown := worker.shown():
            typer.echo(f"\nThe console shows:\n{shown.rstrip()}")
        for output in _outputs(topology):
            output.show(servers)


def events_of(program: Path) -> list[Event]:
    """Return the records that an example is to read: key and value, or a value alone.

    Raises:
        TopologyError: if there are none beside it.
    """
    file = program.with_suffix(".tsv")
    if not file.exists():
        raise TopologyError(
            f"{program} has no events beside it. Put them into {file}: a record per line, key and"
            " value with a tab between, or a value alone."
        )
    rows = [line.split(b"\t", 1) for line in file.read_bytes().splitlines()]
    return [(row[0] if len(row) == 2 else None, row[-1]) for row in rows]


@contextmanager
def _cluster(brokers: str | None) -> Generator[str]:
    """Give the cluster that is named, or one of its own."""
    if brokers is not None:
        yield brokers
        return
    with ExitStack() as stack:
        with waiting("Starting Apache Kafka ..."):
            kafka = stack.enter_context(KafkaServer())
        typer.echo(f"Apache Kafka is up at {kafka.bootstrap_servers}.")
        yield kafka.bootstrap_servers


@contextmanager
def _topics(topology: Topology, servers: str, *, delete: bool) -> Generator[None]:
    """Make the topics that an application needs, and delete them and its own ones at the end."""
    admin = connect(servers)
    application = topology.application
    own = [
        *topology.repartitions,
        *(store.changelog(application) for store in topology.stores),
        progress_topic(application, None, 0).name,
        workers_topic(application).name,
    ]
    wanted = [*_inputs(topology), *(output.topic for output in _outputs(topology))]
    there = sorted(set(wanted + own) & set(admin.topics()))
    if there:
        raise BrokerError(
            f"{servers} has {', '.join(there)} already; an example makes its topics itself, and"
            " deletes them at the end. Delete them if nobody needs them, or leave --brokers out."
        )
    admin.create([InternalTopic(name, PARTITIONS, KEPT) for name in wanted])
    try:
        yield
    finally:
        if delete:
            admin.delete(wanted + own)


def _inputs(topology: Topology) -> list[str]:
    """Return the topics that somebody else fills; the first one gets the events."""
    return [topic for topic in topology.readers if topic not in topology.repartitions]


def _send(servers: str, topic: str, events: Sequence[Event]) -> None:
    producer = Producer(client_config(servers) | {"partitioner": "murmur2_random"})
    for key, value in events:
        producer.produce(topic, value, key)
    left = producer.flush(CONNECT_TIMEOUT_S)
    if left:
        raise BrokerError(
            f"{servers} has not taken {left} of {len(events)} records for {topic} in"
            f" {CONNECT_TIMEOUT_S:g} s. Check the cluster's health.",
            topic=topic,
        )


class _Worker:
    """A worker of the example, or a supervisor of several, with log and console in files."""

    def __init__(self, program: Path, servers: str, folder: Path, workers: int) -> None:
        several = ["--workers", str(workers)] if workers > 1 else []
        command = [sys.executable, "-m", "penstock.cli", "run", str(program), "--leave", *several]
        self._log, self._console = folder / "worker.log", folder / "console.txt"
        with self._log.open("wb") as log, self._console.open("wb") as console:
            self._process = subprocess.Popen(
                [*command, "--brokers", servers],
                env={**os.environ, "XDG_STATE_HOME": str(folder), "PYTHONIOENCODING": "utf-8"},
                stdout=console,
                stderr=log,
            )

    def check(self) -> None:
        """Raise the error that has ended it."""
        if self._process.poll() is not None:
            code = self._process.returncode
            raise BrokerError(f"The worker ended with exit code {code}: {self.last_line()}")

    def last_line(self) -> str:
        """Return what it said last."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "its log is empty."

    def shown(self) -> str:
        """Return what the application has printed."""
        return self._console.read_text(errors="replace")

    def stop(self) -> None:
        """Let it commit and end."""
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def _working(program: Path, servers: str, folder: Path, workers: int) -> Generator[_Worker]:
    worker = _Worker(program, servers, folder, workers)
    try:
        yield worker
    finally:
        worker.stop()


def _await_shares(
    topology: Topology, servers: str, worker: _Worker, workers: int
) -> list[frozenset[Partition]]:
    """Wait until each worker has partitions, and return those of each."""
    admin, until = connect(servers), time.monotonic() + FINISH_TIMEOUT_S
    while time.monotonic() < until:
        worker.check()
        owners = admin.owners(topology.application).result()
        shares = [share for share in owners.members.values() if share] if owners else []
        if owners and owners.stable and len(shares) == workers:
            return sorted(shares, key=min)
        time.sleep(0.1)
    raise _too_late(f"has not given partitions to {_workers(workers)}", topology, worker)


def _await_end(topology: Topology, servers: str, worker: _Worker) -> None:
    admin, group = connect(servers), group_client(servers, topology.application, stable=True)
    partitions = [(topic, n) for topic in topology.readers for n in range(PARTITIONS)]
    quiet_s = QUIET_S if _waits_for_time(topology) else 0.0
    now = since = time.monotonic()
    until, before = now + FINISH_TIMEOUT_S, dict[Partition, tuple[int, str | None]]()
    try:
        while (now := time.monotonic()) < until:
            worker.check()
            found = committed(group, partitions)
            done = {at: (of.offset, of.metadata) for at, of in found.items()}
            since, before = (since if done == before else now), done
            ends = admin.stable_ends(partitions)
            through = all(at in done and done[at][0] >= end for at, end in ends.items() if end)
            if through and now - since >= quiet_s:
                return
            time.sleep(0.1)
    finally:
        group.close()
    raise _too_late("has not processed its events", topology, worker)


def _waits_for_time(topology: Topology) -> bool:
    """Whether something goes by event time behind a repartition topic."""
    parts = topology.sub_topologies
    return any(topology.feeders(part) and topology.needs_time(part) for part in parts)


def _too_late(what: str, topology: Topology, worker: _Worker) -> BrokerError:
    return BrokerError(
        f"{topology.application} {what} within {FINISH_TIMEOUT_S:g} s. The last line of its log:"
        f" {worker.last_line()}"
    )


def _workers(number: int) -> str:
    return "a worker" if number == 1 else f"{number} workers"


def _listed(share: Iterable[Partition]) -> str:
    found: dict[str, list[int]] = {}
    for topic, number in sorted(share):
        found.setdefault(topic, []).append(number)
    return ", ".join(f"{topic}/{','.join(map(str, n))}" for topic, n in found.items())


@dataclass(frozen=True)
class _Output:
    """A topic that an application writes.

    Attributes:
        table: whether a record takes the place of the earlier ones with its key.
        dead: whether it holds dead letters.
    """

    topic: str
    key: DataType = RAW
    value: DataType = RAW
    table: bool = False
    dead: bool = False

    def show(self, servers: str) -> None:
        """Print what stands in it."""
        found = _records(servers, self.topic)
        title = f"{self.topic} has {len(found)} records"
        if self.table:
            latest = {message.key(): message for message in found}
            title += f"; the last ones of its {len(latest)} keys are"
            found = list(latest.values())
        _show(f"{title}:", [self._row(message) for message in found])

    def _row(self, message: Message) -> Row:
        said = _text(self.value, message.value())
        if self.dead:
            told = letter_of(message).told
            said += f"   {told['class']} in {told['operator']}"
        return _text(self.key, message.key()), said


def _outputs(topology: Topology) -> list[_Output]:
    """Return the topics that are written under a fixed name, late records and dead letters last."""
    written = [
        _Output(node.sink.topic, node.sink.key, node.sink.value, table=node.parents[0].is_table)
        for node in topology
        if node.sink and not node.sink.internal and isinstance(node.sink.topic, str)
    ]
    written += [_Output(topic) for topic in sorted(late_topics(topology))]
    return written + [_Output(topic, dead=True) for topic in sorted(topology.dead_letter_topics)]


def _records(servers: str, topic: str) -> list[Message]:
    admin, partitions = connect(servers), [(topic, number) for number in range(PARTITIONS)]
    starts, ends = admin.starts(partitions), admin.stable_ends(partitions)
    return [message for some in read(servers, starts, ends) for message in some]


def _text(of: DataType, data: bytes | None) -> str:
    """Show numbers, text and windows as what they are, and everything else as its bytes."""
    value: Any = of.serde.decode(data) if of.serde and data is not None else None
    if value is not None and hasattr(of.serde, "inner"):  # a windowed key
        value = f"{value.key} from {utc(value.start)} to {utc(value.end)}"
    return printable(str(value)) if isinstance(value, str | int | float) else shown(data)


def _event(event: Event) -> Row:
    return ("" if event[0] is None else shown(event[0])), shown(event[1])


def _show(title: str, rows: Sequence[Row]) -> None:
    typer.echo(f"\n{title}")
    width = max((len(key) for key, _ in rows), default=0)
    for key, value in rows[:MOST_SHOWN]:
        typer.echo(f"  {key:{width}}  {value}" if width else f"  {value}")
    if len(rows) > MOST_SHOWN:
        typer.echo(f"  and {len(rows) - MOST_SHOWN} more")
