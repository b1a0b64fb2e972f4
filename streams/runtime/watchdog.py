"""The watchdog: a thread that ends the process when the worker's loop has stalled.

The group notices a worker that is stuck late (under KIP-848 after 53 s), and never ends it. The
loop says that it lives, at each step; the watchdog looks at fixed intervals whether it has.

Rule 1: the watchdog counts its own looks, not the time. While the process is stopped
        (SIGSTOP, a suspended machine) there are none, so that time does not count.
Rule 2: it ends the process by itself: the loop is stuck in code that nobody can interrupt.
        Nothing is lost: the open transaction is aborted, and its records are read again.
Rule 3: the stacks of all threads stand in the log before, and the last line names the cause.
Rule 4: a function that never lets go of Python's lock (a regular expression that explodes) stalls
        this thread too. For that there is a timer of the kernel, which each look winds up: it
        runs while the process computes, shows the stacks through faulthandler, and kills.
"""

import faulthandler
import linecache
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Self

from penstock.runtime.ending import exit_now
from penstock.runtime.exits import Exit

LOOKS = 20  # in the time that the loop may take: it is found out at most a twentieth too late
_PACKAGE = str(Path(__file__).parents[1])


class Stall:
    """Count looks at which nothing had happened since the look before.

    Args:
        looks: how many of them in a row are a stall.
    """

    def __init__(self, looks: int) -> None:
        self._looks = looks
        self._steps = 0
        self._seen = -1
        self._missed = 0

    def step(self) -> None:
        """Note that something happens."""
        self._steps += 1

    def look(self) -> bool:
        """Look once, and return whether it has stalled."""
        if self._seen != self._steps:
            self._seen, self._missed = self._steps, 0
        else:
            self._missed += 1
        return self._missed >= self._looks


class Watchdog:
    """Watch the loop of the thread that enters the context, while it lasts.

    Args:
        limit_ms: how long a step may take.
        exit_now: ends the process.
    """

    def __init__(self, limit_ms: int, *, exit_now: Callable[..., None] = exit_now) -> None:
        self._limit_ms = limit_ms
        self._exit_now = exit_now
        self._stall = Stall(LOOKS)
        self.alive = self._stall.step
        self._over = threading.Event()
        self._timer = _ComputingTimer(limit_ms / 1000)
        self._thread = threading.Thread(target=self._watch, name="penstock-watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._watched = threading.get_ident()
        self._timer.start()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        self._timer.stop()

    def _watch(self) -> None:
        while not self._over.wait(self._limit_ms / 1000 / LOOKS):
            self._timer.wind_up()
            if self._stall.look():
                frames = dict(sys._current_frames())  # pyright: ignore[reportPrivateUsage]
                self._exit_now(Exit.WATCHDOG, _stacks(frames), self._cause(frames))
                return

    def _cause(self, frames: dict[int, FrameType]) -> str:
        return (
            f"The worker's loop has made no step for {self._limit_ms} ms (max_poll_interval_ms):"
            f" it is stuck {_place(frames.get(self._watched))}. Nothing of the open batch is"
            " committed, and its records are read again. Let the function end sooner, or raise"
            f" KafkaSettings.max_poll_interval_ms. Exit code {Exit.WATCHDOG:d}."
        )


class _ComputingTimer:
    """Kill the process when it has computed for so long without being wound up.

    By SIGVTALRM, whose handler is faulthandler's and needs no lock. Where somebody else uses that
    signal, or stderr is no file, there is no such timer.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._running = False

    def start(self) -> None:
        """Take the signal and begin."""
        if signal.getsignal(signal.SIGVTALRM) is not signal.SIG_DFL:
            return
        try:
            faulthandler.register(signal.SIGVTALRM, file=sys.stderr, chain=True)
        except (OSError, ValueError, AttributeError, RuntimeError):
            return
        self._running = True
        self.wind_up()

    def wind_up(self) -> None:
        """Begin anew."""
        if self._running:
            signal.setitimer(signal.ITIMER_VIRTUAL, self._limit_s)

    def stop(self) -> None:
        """Give the signal back."""
        if self._running:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            faulthandler.unregister(signal.SIGVTALRM)
            self._running = False


def _stacks(frames: dict[int, FrameType]) -> str:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    shown = (
        f"Thread {names.get(ident, ident)}:\n{''.join(traceback.format_stack(frame)).rstrip()}"
        for ident, frame in frames.items()
        if ident != threading.get_ident()
    )
    return "The stacks of all threads:\n" + "\n".join(shown)


def _place(frame: FrameType | None) -> str:
    """Name the user's function that Penstock has called, or where Penstock itself is."""
    if frame is None:
        return "in a thread that is gone"
    while not _ours(frame) and frame.f_back is not None and not _ours(frame.f_back):
        frame = frame.f_back
    file, line = frame.f_code.co_filename, frame.f_lineno
    source = linecache.getline(file, line).strip()
    return f"in {frame.f_code.co_qualname} ({file}, line {line}: {source})"


def _ours(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_PACKAGE)
