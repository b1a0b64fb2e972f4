"""Applications of `apps.py` at work as processes: started, killed, stopped and waited for."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from confluent_kafka import KafkaError, KafkaException

from tests.kafka import checking

WAIT_S = 30.0
STOP_S = 10.0
APPS = "tests.kafka.apps"
ROOT = Path(__file__).parents[2]

PASSING = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError._TIMED_OUT,
    KafkaError._TRANSPORT,
)

# Failovers that tests can wait for, DESIGN §13.
QUICK = {
    "session_timeout_ms": 3_000,
    "transaction_timeout_ms": 4_000,
    "request_timeout_ms": 2_000,
    "max_poll_interval_ms": 6_000,
}

# Those that run out while a test looks on.
SHORT = {
    "session_timeout_ms": 1_000,
    "request_timeout_ms": 600,
    "transaction_timeout_ms": 1_000,
    "max_poll_interval_ms": 1_500,
}


class Application:
    """One application: its id, its topics, its state, and at most one worker.

    Args:
        servers: the cluster.
        folder: where state and log go.
        name: which one of `apps.py`.
        inputs: topics, or one pattern given as `pattern`.
        outputs: topics.
        options: settings by group (`kafka`, `state`, `commit`, `worker`), `guarantee`, `start`.

    Attributes:
        status: with which one its worker has failed last.

    """

    started_in: Path | None = ROOT  # where `python -m` finds the applications

    def __init__(
        self,
        servers: str,
        folder: Path,
        name: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        **options: Any,
    ) -> None:
        self.servers = servers
        self.name = name
        self.inputs, self.outputs = list(inputs), list(outputs)
        self.options = options
        self.id = options.pop("id", None) or f"{name}-{uuid.uuid4().hex[:8]}"
        self.state_dir = folder / "state"
        self.log = folder / f"{self.id}-{uuid.uuid4().hex[:4]}.log"
        self.status = 0
        self._process: subprocess.Popen[bytes] | None = None

    # The process

    def start(self, name: str | None = None, **changed: Any) -> "Application":
        """Start the worker, as another one of `apps.py` or with other options if asked."""
        assert self._process is None, "it runs already"
        self._from = len(self._everything())
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(name or self.name, self.options | changed),
                cwd=self.started_in,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self

    @property
    def pid(self) -> int:
        return self._running().pid

    def kill(self) -> None:
        """Kill the worker; it counts only if SIGKILL is what ended it."""
        process = self._running()
        process.kill()
        assert process.wait(STOP_S) == -signal.SIGKILL, self.text()
        self._process = None

    def wait_killed(self, timeout_s: float = WAIT_S) -> None:
        """Wait until SIGKILL, from whomever, has ended the worker."""
        process, deadline = self._running(), time.monotonic() + timeout_s
        while process.poll() is None:
            if time.monotonic() > deadline:
                self.fail(f"not killed within {timeout_s:g} s")
            time.sleep(0.01)
        assert process.returncode == -signal.SIGKILL, self.text()
        self._process = None

    def stop(self) -> None:
        """Stop the worker by SIGTERM; it has to end in order and in time."""
        process = self._running()
        process.terminate()
        assert process.wait(STOP_S) == 0, self.text()
        self._process = None

    def fails(self, timeout_s: float = WAIT_S) -> str:
        """Wait until the worker has failed, and return what it said last."""
        self.status = self._running().wait(timeout_s)
        self._process = None
        assert self.status > 0, f"it ended with {self.status}: {self.text()}"
        return self.text()

    def fails_with(self, timeout_s: float = WAIT_S) -> str:
        """Wait until the worker has failed, and return its last line: what a supervisor tells."""
        self.fails(timeout_s)
        return self.last_line()

    def last_line(self) -> str:
        return self.text().rstrip().splitlines()[-1]

    def wait_ended(self, timeout_s: float) -> None:
        """Wait until the worker has ended without an error."""
        assert self._running().wait(timeout_s) == 0, self.text()
        self._process = None

    def started(self) -> bool:
        return self._process is not None

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def keep_going(self) -> None:
        """Start the worker again where a clear error has ended it, as a supervisor would."""
        if not self.started() or self.alive():
            return
        last = self.fails().rstrip().splitlines()[-1]
        assert re.match(r"penstock\.errors\.(?!Bug)|.* CRITICAL ", last), self.text()
        print(f"{self.id} has ended, and starts again: {last}")
        self.start()

    def ended_or(self, reached: Callable[[], bool], timeout_s: float = WAIT_S) -> bool:
        """Wait until something is reached, or the worker has ended; return whether it was."""
        deadline = time.monotonic() + timeout_s
        while self.alive():
            if reached():
                return True
            if time.monotonic() > deadline:
                self.fail(f"neither within {timeout_s:g} s")
            time.sleep(0.03)
        return False

    def forget(self) -> None:
        """Note that the worker has ended by itself."""
        assert not self.alive()
        self._process = None

    def close(self) -> None:
        """Leave no process behind."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait(STOP_S)
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        self._running().send_signal(number)

    def text(self) -> str:
        """Return what the worker has said since it was started."""
        return self._everything()[self._from :]

    # Waiting; each wait ends at once, with its log, where the worker has ended

    def wait_until(self, reached: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> None:
        deadline = time.monotonic() + timeout_s
        while not reached():
            assert self.alive(), f"{self.id} has ended before {what}:\n{self.text()}"
            if time.monotonic() > deadline:
                self.fail(f"not within {timeout_s:g} s: {what}")
            time.sleep(0.03)

    def fail(self, what: str) -> NoReturn:
        """Fail with the worker's log, and the stacks of where it hangs."""
        self.show_stacks()
        raise AssertionError(f"{what}\n{self.text()}")

    def show_stacks(self) -> None:
        """Let the worker log where it is."""
        if self.alive():
            self.signal(signal.SIGUSR1)
            time.sleep(0.5)

    def wait_for(self, text: str, timeout_s: float = WAIT_S) -> None:
        """Wait until the worker has said something."""
        self.wait_until(lambda: text in self.text(), f"it said {text!r}", timeout_s)

    def wait_drained(self, timeout_s: float = WAIT_S) -> None:
        """Wait until the committed offset of every input is its end."""
        self.wait_until(
            self.drained, f"{self.inputs} are drained, {self.lag()} are left", timeout_s
        )

    def wait_through(
        self, reached: Callable[[], bool], what: str, timeout_s: float = WAIT_S
    ) -> None:
        """Wait as `wait_until` does; a worker that a clear error has ended is started again."""
        deadline = time.monotonic() + timeout_s
        while not reached():
            self.keep_going()
            if time.monotonic() > deadline:
                self.fail(f"not within {timeout_s:g} s: {what}")
            time.sleep(0.03)

    def wait_for_progress(self) -> None:
        """Wait until more is committed than now, however often a clear error ends the worker."""
        before = self.done()
        self.wait_through(lambda: self.done() > before, "more is committed")

    def done(self) -> int:
        """Return how much is committed of all inputs together."""
        return sum(max(0, offset) for offset in self.committed().values())

    def tasks(self) -> set[str]:
        """Return the tasks that it runs, as far as it has said so."""
        found: set[str] = set()
        for line in self.text().splitlines():
            if task := re.search(r"Task (\S+) runs from", line):
                found.add(task[1])
            elif given := re.search(r"Given back: (.*)\.$", line):
                found.difference_update(given[1].split(", "))
        return found

    def said(self, text: str) -> int:
        """Return how often its workers have said something, all of them together."""
        return self._everything().count(text)

    def committed(self, *topics: str) -> dict[checking.Partition, int]:
        """Return what is committed of topics, of the inputs if none are named."""
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                return checking.committed(self.servers, self.id, topics or self.inputs)
            except KafkaException as error:  # the coordinator is not there yet, or not again
                if time.monotonic() > deadline or error.args[0].code() not in PASSING:
                    raise
                checking.admin.cache_clear()  # a client may never find a coordinator again
            time.sleep(0.1)

    def drained(self) -> bool:
        return not self.lag()

    def lag(self) -> dict[checking.Partition, int]:
        """Return what is not committed yet."""
        committed = self.committed()
        ends = checking.ends(self.servers, self.inputs)
        behind = {at: end - max(0, committed.get(at, -1)) for at, end in ends.items()}
        return {at: left for at, left in behind.items() if left}

    def run_through(self) -> "Application":
        """Start, process all that is there, and stop."""
        self.start()
        self.wait_for("runs from")  # before that a signal may come too early to be handled
        self.wait_drained()
        self.stop()
        return self

    def wait_gone_or_ended(self, topic: str) -> None:
        """Wait until a deleted topic is not known any more, or the worker has noticed."""
        deadline = time.monotonic() + WAIT_S
        while self.alive() and topic in checking.topics(self.servers):
            assert time.monotonic() < deadline, f"{topic} is still there"
            time.sleep(0.05)

    def wait_gone(self, topic: str) -> None:
        """Wait until a deleted topic is not known any more."""
        deadline = time.monotonic() + WAIT_S
        while topic in checking.admin(self.servers).list_topics(timeout=WAIT_S).topics:
            assert time.monotonic() < deadline, f"{topic} is still there"
            time.sleep(0.05)

    # What it leaves

    def store(self, name: str, partition: int) -> Path:
        return self.state_dir / self.id / name / str(partition)

    def changelog(self, store: str) -> str:
        return f"{self.id}-{store}-changelog"

    def forget_stores(self) -> None:
        """Delete the stores and keep the worker's slot: it is the same member afterwards."""
        for folder in (self.state_dir / self.id).iterdir():
            if folder.name != ".slots":
                shutil.rmtree(folder)

    def read_inputs(self) -> list[checking.Record]:
        return checking.read(self.servers, *self.inputs).records

    def read_output(self, number: int = 0) -> list[checking.Record]:
        return checking.read(self.servers, self.outputs[number]).records

    def read_changelog(self, store: str) -> checking.History:
        return checking.read(self.servers, self.changelog(store))

    def check_map(self, output: int = 0) -> None:
        checking.check_mapped(self.read_inputs(), self.read_output(output), bytes.upper)

    def check_count(self, output: int = 0, store: str = "counts") -> None:
        """Check a count's outputs, and the store of the stopped worker."""
        checking.check_updates(checking.counted(self.read_inputs()), self.read_output(output))
        self.check_store(store)

    def check_store(self, store: str, *, complete: bool = True) -> None:
        changelog = self.read_changelog(store)
        checking.check_store(self.state_dir, self.id, store, changelog, complete=complete)

    def check_committed(self) -> None:
        checking.check_committed(self.servers, self.id, self.inputs)

    def check_ends(self, *stores: str) -> None:
        """Check that all input is committed, and no transaction open."""
        self.check_committed()
        written = [*self.outputs, *map(self.changelog, stores)]
        checking.check_nothing_open(self.servers, written)

    def _running(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, "it is not started"
        return self._process

    def _everything(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _command(self, name: str, options: dict[str, Any]) -> list[str]:
        command = [sys.executable, "-m", APPS, name, "--brokers", self.servers, "--id", self.id]
        command += ["--state-dir", str(self.state_dir), "--out", *self.outputs]
        if "pattern" not in options:
            command += ["--in", *self.inputs]
        for option, value in options.items():
            command += [f"--{option}", value if isinstance(value, str) else json.dumps(value)]
        return command
