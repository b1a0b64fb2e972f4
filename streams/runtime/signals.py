"""Signals as numbers to wait for.

Python runs a handler in the main thread, between two of its own instructions: while a call of
the Kafka client lasts, ten seconds maybe, nothing is heard. What the interpreter does at once
is to write the signal's number to a file descriptor, so that a thread, or a loop, can read it.
"""

import os
import select
import signal
import threading
from types import FrameType
from typing import Self

from penstock.errors import TopologyError

_AT_ONCE = 64


class Signals:
    """Catch signals while the context lasts; handlers from before are put back after it.

    Args:
        numbers: the signals.

    Raises:
        TopologyError: on entering, outside the main thread.
    """

    def __init__(self, *numbers: signal.Signals) -> None:
        self._numbers = numbers

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            raise TopologyError(
                "app.run() has to be called in the main thread, because it is stopped by"
                " signals. Use app.start() in other threads."
            )
        self._reads, self._writes = os.pipe()
        os.set_blocking(self._reads, False)
        os.set_blocking(self._writes, False)
        self._wakeup_before = signal.set_wakeup_fd(self._writes, warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, _nothing) for number in self._numbers}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._writes)  # ends a wait in another thread

    def close(self) -> None:
        """Let go of the last file descriptor, once nobody waits any more."""
        os.close(self._reads)

    def wait(self, timeout_s: float | None = None) -> list[signal.Signals] | None:
        """Return the signals that have come, none after the timeout.

        None says that the context has ended.
        """
        if not select.select([self._reads], [], [], timeout_s)[0]:
            return []
        came = os.read(self._reads, _AT_ONCE)
        return [signal.Signals(n) for n in came if n in self._numbers] if came else None


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """Be a handler: without one a signal would end the process, or be ignored."""
