"""Supervision: which worker is started again, when, and when to give up. Events in, commands out.

The processes are `supervisor`'s; here is no process and no clock, `now` is monotonic seconds.

    WORKING   what ends without being asked is started again
    STOPPING  nothing is started; what does not end in time is killed
    ENDED     no worker is left, `exit_code` stands

Rule 1: a worker is started again after a pause that doubles each time, up to MOST_PAUSE_S. One
        that has run for HEALTHY_S begins anew, with the first pause and no restart counted.
Rule 2: after `restarts` restarts in a row the worker is given up, and the others are stopped in
        order: a supervisor that runs on with less than it was asked for hides the failure.
Rule 3: what no start mends (wrong code, a wrong record) is given up at once.
Rule 4: the first signal is passed on: workers end in order. They bound that themselves; what is
        still there after KILL_AFTER_S is killed, so that all have ended within 10 s.
Rule 5: a second signal is passed on too: workers end at once, or are killed AT_ONCE_S later.
Rule 6: the exit code is 0 if all ended in order, else that of the worker that was given up or
        was the first to end otherwise; 128 + n after a second signal n.
"""

import signal
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from penstock.runtime.exits import (
    Exit,
    code_of_signal,
    code_of_status,
    describe,
    restart_may_mend,
)

RESTARTS = 10
FIRST_PAUSE_S = 0.2
FACTOR = 2.0
MOST_PAUSE_S = 30.0
HEALTHY_S = 60.0
KILL_AFTER_S = 9.5
AT_ONCE_S = 2.0


@dataclass(frozen=True)
class Start:
    """Start a worker."""

    worker: int


@dataclass(frozen=True)
class Send:
    """Send a signal to a worker."""

    worker: int
    number: signal.Signals


@dataclass(frozen=True)
class Say:
    """Put a line into the log."""

    text: str
    warning: bool = True


Command: TypeAlias = Start | Send | Say


class Phase(Enum):
    """What happens to workers that end."""

    WORKING = "working"
    STOPPING = "stopping"
    ENDED = "ended"


@dataclass
class _Worker:
    """One worker: whether it runs and since when, or when it is due."""

    running: bool = False
    since: float = 0.0
    due: float | None = None
    restarts: int = 0


class Supervision:
    """Decide over the workers of one application.

    Args:
        workers: how many.
        restarts: how many of one worker in a row before it is given up.

    Attributes:
        phase: what happens to workers that end.
        exit_code: of all of it, once it has ended.
        verdict: the last line of the log.
    """

    def __init__(self, workers: int, *, restarts: int = RESTARTS) -> None:
        self.phase = Phase.WORKING
        self.exit_code: int = Exit.STOPPED
        self.verdict = "All workers have stopped in order."
        self._workers = [_Worker() for _ in range(workers)]
        self._restarts = restarts
        self._deadline: float | None = None
        self._sent: signal.Signals | None = None
        self._signals = 0

    def begin(self, now: float) -> list[Command]:
        """Start all workers."""
        return [self._start(number, now) for number in range(len(self._workers))]

    def ended(self, number: int, status: int, cause: str, now: float) -> list[Command]:
        """Answer the end of a worker: its status (negative: a signal) and its last words."""
        worker = self._workers[number]
        worker.running = False
        if self.phase is Phase.STOPPING:
            self._note_end(number, status, cause)
            return self._end_with_last()
        if now - worker.since >= HEALTHY_S:
            worker.restarts = 0
        why = f"{describe(status)}{f': {cause}' if cause else ''}"
        if not restart_may_mend(status):
            return self._give_up(number, status, f"and no restart mends that: {why}", now)
        if worker.restarts >= self._restarts:
            times = (
                f"{worker.restarts + 1} times in a row, at last with" if worker.restarts else "with"
            )
            return self._give_up(number, status, f"{times} {why}", now)
        # The worker itself has said why; here it would be the same paragraph at each restart.
        return [self._plan(number, describe(status), now)]

    def signalled(self, number: signal.Signals, now: float) -> list[Command]:
        """Answer a signal to the supervisor."""
        self._signals += 1
        if self._signals > 1:
            self.exit_code = code_of_signal(number)
            self.verdict = f"{number.name}, the second signal: the workers were ended at once."
            return self._stop(number, AT_ONCE_S, now)
        if self.phase is Phase.STOPPING:
            return []
        text = f"{number.name}: stopping the workers in order; a second signal ends at once."
        return [Say(text, warning=False), *self._stop(number, KILL_AFTER_S, now)]

    def passed(self, now: float) -> list[Command]:
        """Do what is due."""
        due = [
            number
            for number, worker in enumerate(self._workers)
            if worker.due is not None and worker.due <= now
        ]
        commands: list[Command] = [self._start(number, now) for number in due]
        if self._deadline is not None and self._deadline <= now:
            self._deadline = None
            commands += self._send(signal.SIGKILL)
        return commands

    def next_due(self) -> float | None:
        """Return when `passed` has something to do."""
        times = [worker.due for worker in self._workers if worker.due is not None]
        return min([*times, *([] if self._deadline is None else [self._deadline])], default=None)

    def _start(self, number: int, now: float) -> Start:
        worker = self._workers[number]
        worker.running, worker.since, worker.due = True, now, None
        return Start(number)

    def _plan(self, number: int, why: str, now: float) -> Say:
        worker = self._workers[number]
        pause = min(FIRST_PAUSE_S * FACTOR**worker.restarts, MOST_PAUSE_S)
        worker.due, worker.restarts = now + pause, worker.restarts + 1
        return Say(
            f"Worker {number} has ended ({why}). It is started again in {pause:g} s: restart"
            f" {worker.restarts} of {self._restarts} in a row."
        )

    def _give_up(self, number: int, status: int, why: str, now: float) -> list[Command]:
        self.exit_code = code_of_status(status)
        self.verdict = f"Worker {number} has failed {why}"
        text = f"Worker {number} is given up, and the others are stopped ({describe(status)})."
        return [Say(text), *self._stop(signal.SIGTERM, KILL_AFTER_S, now)]

    def _stop(self, number: signal.Signals, within_s: float, now: float) -> list[Command]:
        self.phase = Phase.STOPPING
        self._deadline = now + within_s
        for worker in self._workers:
            worker.due = None
        return [*self._send(number), *self._end_with_last()]

    def _send(self, number: signal.Signals) -> list[Command]:
        self._sent = number
        return [Send(n, number) for n, worker in enumerate(self._workers) if worker.running]

    def _note_end(self, number: int, status: int, cause: str) -> None:
        # One that dies of the signal that asks for a stop had not begun to work.
        asked = self._sent is not None and status == -self._sent
        killed = asked and self._sent == signal.SIGKILL
        in_order = status == Exit.STOPPED or (asked and not killed)
        if in_order or self.exit_code != Exit.STOPPED:
            return
        if killed:
            self.exit_code = Exit.ABANDONED
            self.verdict = f"Worker {number} did not stop within {KILL_AFTER_S:g} s: killed."
            return
        self.exit_code = code_of_status(status)
        why = f": {cause}" if cause else ""
        self.verdict = f"Worker {number} did not stop in order, {describe(status)}{why}"

    def _end_with_last(self) -> list[Command]:
        if not any(worker.running for worker in self._workers):
            self.phase, self._deadline = Phase.ENDED, None
        return []
