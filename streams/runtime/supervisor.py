"""The supervisor: one process that starts workers, each a process of its own, and keeps them up.

What it decides stands in `supervision`. Here are the processes:

Rule 1: a worker is a fresh process, never a fork: clients and databases have threads.
Rule 2: a worker has a process group of its own, so that Ctrl-C on a terminal reaches it once,
        through the supervisor.
Rule 3: no worker outlives its supervisor, however that ends: each has one end of a socket, and
        stops in order when the other end is closed. Through it come a worker's last words too.
Rule 4: the supervisor loads neither the application nor the Kafka client.
"""

import logging
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from penstock.runtime.exits import Exit
from penstock.runtime.parent import MOST_WORDS
from penstock.runtime.signals import Signals
from penstock.runtime.supervision import RESTARTS, Command, Phase, Say, Send, Start, Supervision

log = logging.getLogger("penstock")

Line = Callable[[int, int], Sequence[str]]


def supervise(line: Line, *, workers: int, restarts: int = RESTARTS) -> int:
    """Run workers until they are stopped or one is given up, and return the exit code.

    Args:
        line: makes the command line of a worker, from its number and the file descriptor of
            its end of the socket.
        workers: how many.
        restarts: how many of one worker in a row before it is given up.

    Raises:
        TopologyError: outside the main thread.
    """
    return _Supervisor(line, Supervision(workers, restarts=restarts)).run()


@dataclass
class _Process:
    """A worker's process, and our end of the socket to it."""

    popen: "subprocess.Popen[bytes]"
    link: socket.socket

    def last_words(self) -> str:
        """Return what it has said of its end, once it has ended."""
        self.link.setblocking(False)
        words = b""
        with suppress(OSError):
            while part := self.link.recv(MOST_WORDS):
                words += part
        return words.decode(errors="replace")


class _Supervisor:
    """The processes of one supervision."""

    def __init__(self, line: Line, supervision: Supervision) -> None:
        self._line = line
        self._supervision = supervision
        self._processes: dict[int, _Process] = {}

    def run(self) -> int:
        supervision = self._supervision
        signals = Signals(signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)
        try:
            with signals:
                self._perform(supervision.begin(time.monotonic()))
                while supervision.phase is not Phase.ENDED:
                    for number in signals.wait(self._timeout_s()) or []:
                        if number != signal.SIGCHLD:
                            self._perform(supervision.signalled(number, time.monotonic()))
                    self._reap()
                    self._perform(supervision.passed(time.monotonic()))
            signals.close()
        finally:
            self._kill_all()
        level = logging.INFO if supervision.exit_code == Exit.STOPPED else logging.ERROR
        log.log(level, "%s Exit code %d.", supervision.verdict, supervision.exit_code)
        return supervision.exit_code

    def _timeout_s(self) -> float | None:
        due = self._supervision.next_due()
        return None if due is None else max(0.0, due - time.monotonic())

    def _reap(self) -> None:
        for number, process in list(self._processes.items()):
            status = process.popen.poll()
            if status is not None:
                del self._processes[number]
                cause = process.last_words()
                process.link.close()
                self._perform(self._supervision.ended(number, status, cause, time.monotonic()))

    def _perform(self, commands: Sequence[Command]) -> None:
        for command in commands:
            if isinstance(command, Start):
                self._start(command.worker)
            elif isinstance(command, Send):
                self._send(command)
            else:
                _say(command)

    def _start(self, number: int) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            popen = subprocess.Popen(
                self._line(number, theirs.fileno()),
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                process_group=0,
            )
        self._processes[number] = _Process(popen, ours)
        log.info("Worker %d is process %d.", number, popen.pid)

    def _send(self, command: Send) -> None:
        process = self._processes.get(command.worker)
        if process is not None:
            process.popen.send_signal(command.number)

    def _kill_all(self) -> None:
        """Leave nothing behind where an error of ours ends the supervisor."""
        for process in self._processes.values():
            process.popen.kill()
            process.popen.wait()


def _say(command: Say) -> None:
    log.log(logging.WARNING if command.warning else logging.INFO, "%s", command.text)
