"""The supervisor: one process that starts workers, each a process of its own, and keeps them up.

What it decides stands in `supervision`. Here are the processes:

Rule 1: a worker is a fresh process, never a fork: clients and databases have threads.
Rule 2: a worker has a process group of its own, so that Ctrl-C on a terminal reaches it once,
        through the supervisor.
Rule 3: no worker outlives its supervisor, however that ends: each has one end of a socket, and
        stops in order when the other end is closed. Through it come a worker's last words too,
        and where its HTTP server is.
Rule 4: the supervisor loads neither the application nor the Kafka client. What serves HTTP is
        loaded only where something is served.
"""

import logging
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from penstock.query.web.binding import Address
from penstock.query.web.team import Team
from penstock.runtime.exits import Exit
from penstock.runtime.parent import Serves, understood
from penstock.runtime.signals import Signals
from penstock.runtime.supervision import RESTARTS, Command, Phase, Say, Send, Start, Supervision

log = logging.getLogger("penstock")

Line = Callable[[int, int], Sequence[str]]

LAST_WORDS_S = 1.0


def supervise(
    line: Line, *, workers: int, restarts: int = RESTARTS, address: Address | None = None
) -> int:
    """Run workers until they are stopped or one is given up, and return the exit code.

    Args:
        line: makes the command line of a worker, from its number and the file descriptor of
            its end of the socket.
        workers: how many.
        restarts: how many of one worker in a row before it is given up.
        address: where all of them are shown, None where they are not.

    Raises:
        TopologyError: outside the main thread, or if the address cannot be listened on.
    """
    team = Team(workers, address.token if address else None)
    supervisor = _Supervisor(line, Supervision(workers, restarts=restarts), team)
    if address is None:
        return supervisor.run()
    from penstock.query.web.front import serve_front

    server = serve_front(address, team)
    try:
        return supervisor.run()
    finally:
        server.close()


class _Process:
    """A worker's process, and our end of the socket to it.

    Args:
        popen: the process.
        link: our end.
        serves: hears where it can be asked over HTTP.
    """

    def __init__(
        self,
        popen: "subprocess.Popen[bytes]",
        link: socket.socket,
        serves: Callable[[Serves], None],
    ) -> None:
        self.popen = popen
        self._link = link
        self._serves = serves
        self._cause = ""
        self._thread = threading.Thread(target=self._listen, name="penstock-link", daemon=True)
        self._thread.start()

    def last_words(self) -> str:
        """Return what it has said of its end, once it has ended."""
        self._thread.join(LAST_WORDS_S)
        return self._cause

    def close(self) -> None:
        """Let go of the socket; a worker that still ran would stop."""
        with suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)  # else a read in the other thread goes on
        self._link.close()

    def _listen(self) -> None:
        with suppress(OSError), self._link.makefile("rb") as lines:
            for line in lines:
                words = understood(line)
                if isinstance(words, Serves):
                    self._serves(words)
                elif words is not None:
                    self._cause = words.cause


class _Supervisor:
    """The processes of one supervision."""

    def __init__(self, line: Line, supervision: Supervision, team: Team) -> None:
        self._line = line
        self._supervision = supervision
        self._team = team
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
                self._team.ended(number)
                cause = process.last_words()
                process.close()
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
        self._team.started(number, popen.pid)

        def serves(words: Serves) -> None:
            self._team.serves(number, words.port, words.token)

        self._processes[number] = _Process(popen, ours, serves)
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
