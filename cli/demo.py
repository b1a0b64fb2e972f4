"""`penstock demo`: a real Kafka, a real application, a SIGKILL, and an exact recount.

It starts an embedded Apache Kafka, sends page views at a rate, counts them per user in a
worker process, kills the worker in the middle of an open transaction, lets it come back, and
compares what a read_committed reader sees with an independent recount of the input. It ends
with exit code 1 if a single count differs.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from penstock.errors import BrokerError

SOURCE, RESULT = "page-views", "views-per-user"
PARTITIONS = 4
KILL_AFTER_SHARE = 0.4
KILL_TRIES = 200
FINISH_TIMEOUT_S = 30.0
RECOVERY_TIMEOUT_S = 30.0
TEMPLATE = '{"user": "u{zipf:1000}", "page": "/{choice:home,cart,search,health}", "at": {now_ms}}'


def demo(
    *,
    rate: Annotated[int, typer.Option(help="Page views per second.", min=1)] = 5_000,
    seconds: Annotated[int, typer.Option(help="How long to send them.", min=3)] = 12,
) -> None:
    """Count page views, kill the worker in an open transaction, and check every count.

    Example: penstock demo --rate 20000 --seconds 20
    """
    verdict = _Demo(rate, seconds, Console()).run()
    raise typer.Exit(0 if verdict else 1)


@dataclass
class _Live:
    """What the screen shows, filled by the thread that reads the results."""

    outputs: int = 0
    last_output: float = 0.0
    users: dict[str, int] = field(default_factory=dict[str, int])
    read: dict[int, int] = field(default_factory=dict[int, int])
    stopped: bool = False


class _Demo:
    """One run of the demo."""

    def __init__(self, rate: int, seconds: int, console: Console) -> None:
        self._rate = rate
        self._seconds = seconds
        self._console = console
        self._live = _Live()
        self._processes: list[subprocess.Popen[bytes]] = []

    def run(self) -> bool:
        from penstock.testing import KafkaServer

        say = self._console.print
        say("[bold]Penstock demo[/]: page views, counted per user, exactly once.")
        say(_source_of_the_application(), style="dim", highlight=False)
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="penstock-demo-") as folder, KafkaServer() as kafka:
            took = time.monotonic() - started
            say(f"Apache Kafka is up at {kafka.bootstrap_servers} ({took:.1f} s).")
            self._brokers = kafka.bootstrap_servers
            self._folder = Path(folder)
            self._create_topics()
            with self._reading():
                return self._scene()

    def _scene(self) -> bool:
        from penstock.cli.demo_check import recount

        producer = self._start_producer()
        worker = self._start_worker()
        try:
            self._watch(worker, self._seconds * KILL_AFTER_SHARE)
            self._kill_in_transaction(worker)
            killed = time.monotonic()
            before = self._ends("READ_COMMITTED")
            self._console.print(
                "[bold red]SIGKILL[/] to the worker, in the middle of an open transaction;"
                " starting it again."
            )
            worker = self._start_worker()
            recovery = self._wait_for_output(worker, before, killed)
            self._console.print(f"First new count after {recovery:.2f} s.")
            self._watch(worker, producer=producer)
            self._wait_until_drained(worker)
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
        from penstock.topics.admin import Admin
        from penstock.topics.internal import InternalTopic

        admin = Admin({"bootstrap.servers": self._brokers}, timeout_ms=10_000)
        config = {"cleanup.policy": "delete", "retention.ms": "-1"}
        admin.create([InternalTopic(name, PARTITIONS, config) for name in (SOURCE, RESULT)])

    def _start_producer(self) -> "subprocess.Popen[bytes]":
        command = [
            sys.executable, "-m", "penstock.cli", "produce", SOURCE, "--template", TEMPLATE,
            "--key", "user", "--rate", str(self._rate), "--duration", f"{self._seconds}s",
            "--brokers", self._brokers, "--json",
        ]  # fmt: skip
        return self._start("producer", command)

    def _start_worker(self) -> "subprocess.Popen[bytes]":
        return self._start("worker", [sys.executable, "-m", "penstock.cli.demo_app"])

    def _start(self, name: str, command: list[str]) -> "subprocess.Popen[bytes]":
        state = str(self._folder / "state")
        own = {"PENSTOCK_BROKERS": self._brokers, "PENSTOCK_DEMO_STATE": state}
        with self._log(name).open("ab") as log:
            process = subprocess.Popen(command, env={**os.environ, **own}, stdout=log, stderr=log)
        self._processes.append(process)
        return process

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _kill_in_transaction(self, worker: "subprocess.Popen[bytes]") -> None:
        """Kill the worker while the broker holds records of its open transaction."""
        broken = "PENSTOCK_DEMO_BREAK" in os.environ  # see demo_app: no transactions then
        for _ in range(KILL_TRIES):
            if broken or self._open_records():
                worker.send_signal(signal.SIGKILL)
                worker.wait()
                if broken or self._open_records():
                    return
                worker = self._start_worker()
                self._watch(worker, 1.0)
            time.sleep(0.003)
        raise BrokerError(
            "The demo found no open transaction to kill the worker in: too few events arrive."
            " Run it again with a higher --rate."
        )

    def _open_records(self) -> bool:
        """Whether the results hold records that no read_committed reader may see yet."""
        committed, all_records = self._ends("READ_COMMITTED"), self._ends("READ_UNCOMMITTED")
        return sum(committed.values()) < sum(all_records.values())

    def _ends(self, level: str) -> dict[int, int]:
        """Return where the results end for readers of an isolation level, by partition."""
        from confluent_kafka import IsolationLevel, TopicPartition
        from confluent_kafka.admin import AdminClient, OffsetSpec

        if not hasattr(self, "_admin"):
            config: dict[str, Any] = {"bootstrap.servers": self._brokers, "log_level": 0}
            self._admin: Any = AdminClient(config)
        wanted = {TopicPartition(RESULT, n): OffsetSpec.latest() for n in range(PARTITIONS)}
        futures = self._admin.list_offsets(wanted, isolation_level=IsolationLevel[level])
        return {at.partition: future.result().offset for at, future in futures.items()}

    def _watch(
        self,
        worker: "subprocess.Popen[bytes]",
        seconds: float | None = None,
        *,
        producer: "subprocess.Popen[bytes] | None" = None,
    ) -> None:
        """Show live numbers for some seconds, or until the producer has ended."""
        until = time.monotonic() + (seconds or self._seconds + FINISH_TIMEOUT_S)
        with self._console.status("Waiting for the first count ...") as status:
            while time.monotonic() < until and (producer is None or producer.poll() is None):
                self._check_alive(worker)
                status.update(self._numbers())
                time.sleep(0.2)
        self._console.print(self._numbers(), highlight=False)
        if producer is not None and producer.poll():
            raise BrokerError(f"The producer failed: {_tail(self._log('producer'))}")

    def _numbers(self) -> str:
        top = sorted(self._live.users.items(), key=lambda user: -user[1])[:4]
        shown = "  ".join(f"{user} {count}" for user, count in top)
        return f"{self._live.outputs:>7} counts committed   most views: {shown or '-'}"

    def _wait_for_output(
        self, worker: "subprocess.Popen[bytes]", before: dict[int, int], since: float
    ) -> float:
        """Wait for a count behind what was committed before the kill."""
        while not any(self._live.read.get(n, -1) >= end for n, end in before.items()):
            self._check_alive(worker)
            if time.monotonic() - since > RECOVERY_TIMEOUT_S:
                raise BrokerError(f"No count came after the restart: {_tail(self._log('worker'))}")
            time.sleep(0.002)
        return time.monotonic() - since

    def _wait_until_drained(self, worker: "subprocess.Popen[bytes]") -> None:
        """Wait until no count has come for two seconds."""
        until = time.monotonic() + FINISH_TIMEOUT_S
        while time.monotonic() < until and time.monotonic() - self._live.last_output < 2:
            self._check_alive(worker)
            time.sleep(0.1)

    def _check_alive(self, worker: "subprocess.Popen[bytes]") -> None:
        if worker.poll() is not None:
            raise BrokerError(
                f"The worker ended with exit code {worker.returncode}: {_tail(self._log('worker'))}"
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
                    self._live.read[message.partition()] = message.offset()
            if messages:
                self._live.last_output = time.monotonic()
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
