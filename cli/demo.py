"""`penstock demo`: a real Kafka, a real application, a SIGKILL, and an exact recount.

It starts an embedded Apache Kafka, sends page views at a rate, counts them per user in two
worker processes, kills one in the middle of an open transaction, lets it come back, and
compares what a read_committed reader sees with an independent recount of the input. It ends
with exit code 1 if a single count differs.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer
from rich.console import Console

from penstock.errors import BrokerError

if TYPE_CHECKING:
    from penstock.topics.admin import Admin

APPLICATION = SOURCE = "page-views"
REPARTITION, RESULT = "page-views-by-user-repartition", "views-per-user"
PARTITIONS = 4
INPUTS = [(topic, number) for topic in (SOURCE, REPARTITION) for number in range(PARTITIONS)]
OUTPUTS = [(topic, number) for topic in (REPARTITION, RESULT) for number in range(PARTITIONS)]
KILL_AFTER_SHARE = 0.4
KILL_TRIES = 1_000
WORKERS = 2
UNCOMMITTED_S = 0.5
LOOK_AGAIN_S = 0.15  # by then the other worker has committed what was open at the kill
FINISH_TIMEOUT_S = 30.0
RECOVERY_TIMEOUT_S = 30.0
TEMPLATE = '{"user": "u{zipf:1000}", "page": "/{choice:home,cart,search,health}", "at": {now_ms}}'


def demo(
    *,
    rate: Annotated[int, typer.Option(help="Page views per second.", min=1)] = 5_000,
    seconds: Annotated[int, typer.Option(help="How long to send them.", min=3)] = 12,
) -> None:
    """Count page views in two workers, kill one in an open transaction, check every count.

    Example: penstock demo --rate 20000 --seconds 20
    """
    verdict = _Demo(rate, seconds, Console()).run()
    raise typer.Exit(0 if verdict else 1)


Ends: TypeAlias = dict[tuple[str, int], int]  # by topic and partition


@dataclass
class _Live:
    """What the screen shows, filled by the thread that reads the results."""

    outputs: int = 0
    users: dict[str, int] = field(default_factory=dict[str, int])
    stopped: bool = False


class _Demo:
    """One run of the demo."""

    def __init__(self, rate: int, seconds: int, console: Console) -> None:
        self._rate = rate
        self._seconds = seconds
        self._console = console
        self._live = _Live()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._workers: list[subprocess.Popen[bytes]] = []
        self._admin: Admin

    def run(self) -> bool:
        from penstock.cli.cluster import connect
        from penstock.testing import KafkaServer

        say = self._console.print
        say("[bold]Penstock demo[/]: page views, counted per user by two workers, exactly once.")
        say(_source_of_the_application(), style="dim", highlight=False)
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="penstock-demo-") as folder, KafkaServer() as kafka:
            took = time.monotonic() - started
            say(f"Apache Kafka is up at {kafka.bootstrap_servers} ({took:.1f} s).")
            self._brokers = kafka.bootstrap_servers
            self._admin = connect(self._brokers)
            self._folder = Path(folder)
            self._create_topics()
            with self._reading():
                return self._scene()

    def _scene(self) -> bool:
        from penstock.cli.demo_check import recount

        page = _free_port()
        self._workers = [self._start_worker(0), self._start_worker(page)]
        self._console.print(f"Look at it while it runs: http://127.0.0.1:{page}/", highlight=False)
        try:
            with self._console.status("Waiting until both workers have their share ..."):
                self._wait_until_shared()
            producer = self._start_producer()
            self._watch(self._seconds * KILL_AFTER_SHARE)
            open_at, killed = self._kill_in_transaction()
            self._console.print(
                "[bold red]SIGKILL[/] to one worker, in the middle of an open transaction;"
                " starting it again."
            )
            self._workers[0] = self._start_worker(0)
            recovery = self._wait_for_recovery(open_at, killed)
            self._console.print(f"Its partitions go on after {recovery:.2f} s.")
            self._watch(producer=producer)
            self._wait_until_drained()
        finally:
            for process in self._processes:
                _stop(process)
        verdict = recount(self._brokers, SOURCE, RESULT)
        colour = "green" if verdict.exact else "red"
        self._console.print(
            f"[bold {colour}]{verdict.events} events, {verdict.lost} lost,"
            f" {verdict.doubled} doubled, recovery {recovery:.2f} s[/]",
            highlight=False,
        )
        return verdict.exact

    def _create_topics(self) -> None:
        from penstock.topics.internal import InternalTopic

        config = {"cleanup.policy": "delete", "retention.ms": "-1"}
        self._admin.create([InternalTopic(name, PARTITIONS, config) for name in (SOURCE, RESULT)])

    def _start_producer(self) -> "subprocess.Popen[bytes]":
        command = [
            sys.executable, "-m", "penstock.cli", "produce", SOURCE, "--template", TEMPLATE,
            "--key", "page", "--rate", str(self._rate), "--duration", f"{self._seconds}s",
            "--brokers", self._brokers, "--json",
        ]  # fmt: skip
        return self._start("producer", command)

    def _start_worker(self, port: int) -> "subprocess.Popen[bytes]":
        """Start a worker that shows itself at a port, 0 for any."""
        own = {
            "PENSTOCK_BROKERS": self._brokers,
            "PENSTOCK_DEMO_STATE": str(self._folder / "state"),
            "PENSTOCK_HTTP": f"127.0.0.1:{port}",
        }
        return self._start("worker", [sys.executable, "-m", "penstock.cli.demo_app"], own)

    def _start(
        self, name: str, command: list[str], own: dict[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        environment = {**os.environ, **(own or {})}
        with self._log(name).open("ab") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        self._processes.append(process)
        return process

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _wait_until_shared(self) -> None:
        """Wait until every worker has been given partitions."""
        until = time.monotonic() + RECOVERY_TIMEOUT_S
        while time.monotonic() < until:
            pending = self._admin.owners(APPLICATION)
            self._check_alive()
            time.sleep(0.1)
            owners = pending.result() if pending.done() else None
            if owners and sum(map(bool, owners.members.values())) == WORKERS:
                return
        raise BrokerError(f"The workers do not share the work: {_tail(self._log('worker'))}")

    def _kill_in_transaction(self) -> tuple[Ends, float]:
        """Kill a worker while the broker holds records of its open transaction.

        Return where the partitions that it was writing ended, and when it was killed.
        """
        if "PENSTOCK_DEMO_BREAK" in os.environ:  # see demo_app: no transactions then
            self._wait_for_uncommitted_results()
            self._kill_worker()
            return self._admin.ends(OUTPUTS), time.monotonic()
        for _ in range(KILL_TRIES):
            before = self._admin.stable_ends(OUTPUTS)
            if self._admin.ends(OUTPUTS) != before:
                self._kill_worker()
                killed = time.monotonic()
                time.sleep(LOOK_AGAIN_S)
                committed, every = self._admin.stable_ends(OUTPUTS), self._admin.ends(OUTPUTS)
                stuck = {at: end for at, end in every.items() if before[at] == committed[at] < end}
                if stuck:
                    return stuck, killed
                self._workers[0] = self._start_worker(0)
                self._wait_until_shared()
            time.sleep(0.003)
        raise BrokerError(
            "The demo found no open transaction to kill the worker in: too few events arrive."
            " Run it again with a higher --rate."
        )

    def _wait_for_uncommitted_results(self) -> None:
        """Wait until every output has grown since the inputs were last committed."""
        from penstock.cli.cluster import committed, group_client

        group = group_client(self._brokers, APPLICATION)
        try:
            while True:
                self._check_alive()
                before, ends = committed(group, INPUTS), self._admin.ends(OUTPUTS)
                time.sleep(UNCOMMITTED_S)
                grown = self._admin.ends(OUTPUTS)
                if committed(group, INPUTS) == before and all(
                    grown[at] > end for at, end in ends.items()
                ):
                    return
        finally:
            group.close()

    def _kill_worker(self) -> None:
        self._workers[0].send_signal(signal.SIGKILL)
        self._workers[0].wait()

    def _watch(
        self,
        seconds: float | None = None,
        *,
        producer: "subprocess.Popen[bytes] | None" = None,
    ) -> None:
        """Show live numbers for some seconds, or until the producer has ended."""
        until = time.monotonic() + (seconds or self._seconds + FINISH_TIMEOUT_S)
        with self._console.status("Waiting for the first count ...") as status:
            while time.monotonic() < until and (producer is None or producer.poll() is None):
                self._check_alive()
                status.update(self._numbers())
                time.sleep(0.2)
        self._console.print(self._numbers(), highlight=False)
        if producer is not None and producer.poll():
            raise BrokerError(f"The producer failed: {_tail(self._log('producer'))}")

    def _numbers(self) -> str:
        top = sorted(self._live.users.items(), key=lambda user: -user[1])[:4]
        shown = "  ".join(f"{user} {count}" for user, count in top)
        return f"{self._live.outputs:>7} counts committed   most views: {shown or '-'}"

    def _wait_for_recovery(self, open_at: Ends, since: float) -> float:
        """Wait until more is committed to the partitions that the killed worker was writing."""
        while any(self._admin.stable_ends(OUTPUTS)[at] <= end + 1 for at, end in open_at.items()):
            self._check_alive()
            if time.monotonic() - since > RECOVERY_TIMEOUT_S:
                raise BrokerError(f"Nothing came after the restart: {_tail(self._log('worker'))}")
            time.sleep(0.005)
        return time.monotonic() - since

    def _wait_until_drained(self) -> None:
        """Wait until the group has committed all of its inputs."""
        from penstock.cli.cluster import committed, group_client

        group = group_client(self._brokers, APPLICATION)
        until = time.monotonic() + FINISH_TIMEOUT_S
        try:
            while time.monotonic() < until:
                self._check_alive()
                done = {at: found.offset for at, found in committed(group, INPUTS).items()}
                if done == self._admin.stable_ends(INPUTS):  # after: one input feeds the other
                    return
                time.sleep(0.1)
        finally:
            group.close()
        raise BrokerError(f"Not everything was processed: {_tail(self._log('worker'))}")

    def _check_alive(self) -> None:
        for worker in self._workers:
            if worker.poll() is not None:
                raise BrokerError(
                    f"A worker ended with exit code {worker.returncode}:"
                    f" {_tail(self._log('worker'))}"
                )

    @contextmanager
    def _reading(self) -> Generator[None]:
        """Follow the results in a thread, as any read_committed reader would."""
        thread = threading.Thread(target=self._read, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._live.stopped = True
            thread.join(5)

    def _read(self) -> None:
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer(
            {
                "bootstrap.servers": self._brokers,
                "group.id": "penstock-demo-screen",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.metrics.push": False,
            }
        )
        consumer.assign([TopicPartition(RESULT, n, 0) for n in range(PARTITIONS)])
        while not self._live.stopped:
            first = consumer.poll(0.1)
            messages: list[Any] = [] if first is None else [first, *consumer.consume(5_000, 0)]
            for message in messages:
                if message.error() is None:
                    user = message.key().decode()
                    self._live.users[user] = int.from_bytes(message.value(), "big")
                    self._live.outputs += 1
        consumer.close()


def _stop(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _tail(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    return lines[-1] if lines else "its log is empty"


def _source_of_the_application() -> str:
    text = Path(__file__).with_name("demo_app.py").read_text()
    return text[text.index("(\n    app.stream") : text.index("\nif __name__")].rstrip()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
