"""One worker process under observation: started, sampled, stopped by its pid. Linux only (/proc).

CPU seconds are user plus system time of the process with all its threads, sampled every 20 ms
with the wall clock, so that they can be read off at the time of a commit; memory is the kernel's
own high-water mark (VmHWM). Both engines are one process without children.
"""

import bisect
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from bench import RunFailedError
from bench.engines import ROOT

SAMPLE_SECONDS = 0.02
STOP_SECONDS = 20
TAIL_LINES = 25
TICKS = os.sysconf("SC_CLK_TCK")


class Sampler:
    """Samples the CPU time and the peak memory of a process until it is closed."""

    def __init__(self, pid: int) -> None:
        self._proc = Path("/proc") / str(pid)
        self._times: list[int] = []  # ns since the epoch
        self._cpu: list[float] = []  # seconds
        self.peak_bytes = 0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def cpu_at(self, time_ns: int) -> float:
        """CPU seconds used until then, between two samples by interpolation."""
        i = bisect.bisect_left(self._times, time_ns)
        if i == 0 or i == len(self._times):
            return self._cpu[min(i, len(self._cpu) - 1)]
        before, after = self._times[i - 1], self._times[i]
        share = (time_ns - before) / (after - before)
        return self._cpu[i - 1] + share * (self._cpu[i] - self._cpu[i - 1])

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(SAMPLE_SECONDS):
            try:
                fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
                status = (self._proc / "status").read_text()
            except OSError:
                return
            if (mark := status.find("VmHWM:")) < 0:  # a zombie
                return
            self._times.append(time.time_ns())
            self._cpu.append((int(fields[11]) + int(fields[12])) / TICKS)
            self.peak_bytes = int(status[mark:].split(maxsplit=2)[1]) * 1024


class Worker:
    """A worker process from its start to its end, as a context manager."""

    def __init__(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._log = log
        with log.open("wb") as out:
            self.started = time.monotonic()
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self.usage = Sampler(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.usage.close()
        if self._process.poll() is None:
            self.stop()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ask the process to end, and wait until it has."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            print(f"worker {self._process.pid} ignored SIGTERM for {STOP_SECONDS} s: killed")
            self.kill()

    def check(self, deadline: float, waiting_for: str, *, may_end: bool = False) -> None:
        """Raise if the process has ended or the deadline (monotonic seconds) has passed."""
        code = self._process.poll()
        if code is not None and not (may_end and code == 0):
            raise RunFailedError(f"the worker ended with code {code}\n{self.tail()}")
        if time.monotonic() > deadline:
            raise RunFailedError(f"out of time, waiting for {waiting_for}\n{self.tail()}")

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def tail(self) -> str:
        return "\n".join(f"    {line}" for line in self.log().splitlines()[-TAIL_LINES:])
