"""Applications of `apps.py` under `penstock run`, with or without a supervisor."""

import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from tests.kafka.workers import WAIT_S, Application

ROOT = Path(__file__).parents[2]
FILE = """
import sys
sys.path.insert(0, {root!r})
from tests.kafka.apps import build
app = build({arguments!r})
"""


class Run(Application):
    """One application under `penstock run`.

    Args:
        workers: how many; 0 is none of a supervisor's, but the process itself.
        flags: further options of the command.
        options: as for `Application`.

    """

    started_in = None

    def __init__(
        self, *application: Any, workers: int = 2, flags: tuple[str, ...] = (), **options: Any
    ) -> None:
        super().__init__(*application, **options)
        self.workers = workers
        self.flags = flags

    def pids(self) -> dict[int, int]:
        """Return the process of each worker, as the supervisor has last told it."""
        told = re.findall(r"Worker (\d+) is process (\d+)\.", self.text())
        return {int(number): int(pid) for number, pid in told}

    def wait_share(self) -> None:
        """Wait until each worker runs a task."""
        for number in range(self.workers):
            self.wait_until(
                lambda number=number: (
                    re.search(rf"worker-{number}  Task .* runs from", self.text()) is not None
                ),
                f"worker {number} has a task",
            )

    def ends(self, code: int, timeout_s: float = WAIT_S) -> str:
        """Wait until it ends by itself with a code, and return its last line."""
        found = self._running().wait(timeout_s)
        assert found == code, self.text()
        self._process = None
        return self.text().rstrip().splitlines()[-1]

    def kill_supervisor(self) -> None:
        """Kill the supervisor alone, and wait until its workers have gone."""
        pids = self.pids().values()
        self.kill()
        deadline = time.monotonic() + WAIT_S
        while any(map(runs, pids)):
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.05)

    def close(self) -> None:
        """Leave no process behind: workers end with their supervisor, but may be stuck."""
        pids = self.pids().values() if self._process else ()
        super().close()
        for pid in pids:
            if runs(pid):
                os.kill(pid, signal.SIGKILL)

    def _command(self, name: str, options: dict[str, Any]) -> list[str]:
        arguments = super()._command(name, options)[3:]  # behind python -m MODULE
        file = self.log.with_name(f"{self.id.replace('-', '_')}.py")
        file.write_text(FILE.format(root=str(ROOT), arguments=arguments))
        workers = ["--workers", str(self.workers)] if self.workers else []
        return [sys.executable, "-m", "penstock.cli", "run", str(file), *workers, *self.flags]


def runs(pid: int) -> bool:
    """Whether a process is there and at work; a zombie is not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
