"""The ways a run ends from outside: in order and in bounded time, or at once.

Rule 1: the first request stops in order: the open batch is committed or aborted.
Rule 2: a stop that takes longer than its limit ends the process: the open batch is abandoned.
        Its transaction is aborted by the worker's next start, or by the broker's timeout.
Rule 3: a second signal ends the process at once.

Threads that live for this are all that may end the process; what waits for the log has a
second for it, because the log may be what hangs.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

from penstock.runtime.exits import Exit, code_of_signal
from penstock.runtime.signals import Signals

log = logging.getLogger("penstock")

LOG_TIMEOUT_S = 1.0


def exit_now(code: int, *messages: str, tell: Callable[[str], object] | None = None) -> None:
    """End the process without cleaning up, after these last words in the log.

    Args:
        code: its exit code.
        messages: the last one names the cause.
        tell: who else is told the cause.
    """

    def say() -> None:
        if tell:
            tell(messages[-1])
        for message in messages:
            log.critical("%s", message)
        for handler in logging.getLogger().handlers:
            handler.flush()
        sys.stdout.flush()

    words = threading.Thread(target=say, daemon=True)
    words.start()
    words.join(LOG_TIMEOUT_S)
    os._exit(code)


class Ending:
    """Stop a run on request.

    Args:
        stop: asks the run to end; called once, from another thread.
        timeout_ms: how long that may take.
        exit_now: ends the process.
    """

    def __init__(
        self,
        stop: Callable[[], None],
        timeout_ms: int,
        *,
        exit_now: Callable[..., None] = exit_now,
    ) -> None:
        self._stop = stop
        self._exit_now = exit_now
        self._timeout_ms = timeout_ms
        self._timer = threading.Timer(timeout_ms / 1000, self._abandon)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._asked = False
        self._signalled = False

    def on_signal(self, number: signal.Signals) -> None:
        """Stop in order; at the second signal, at once."""
        if self._signalled:
            self._exit_now(
                code_of_signal(number),
                f"{number.name}, the second signal: ending at once. Nothing of the open batch is"
                f" committed. Exit code {code_of_signal(number)}.",
            )
        self._signalled = True
        self.ask(f"{number.name}: stopping after the open batch; a second signal ends at once.")

    def ask(self, why: str) -> None:
        """Stop in order; asked again, do nothing."""
        with self._lock:
            if self._asked:
                return
            self._asked = True
        self._timer.start()
        self._stop()
        log.info("%s", why)

    def ended(self) -> None:
        """Note that the run has ended: there is nothing to abandon."""
        self._timer.cancel()

    def _abandon(self) -> None:
        self._exit_now(
            Exit.ABANDONED,
            f"The stop has not ended within {self._timeout_ms} ms (stop_timeout_ms): the open batch"
            " is abandoned, and its transaction will be aborted. Nothing of it is committed that"
            f" was not before; the next start finds out. Exit code {Exit.ABANDONED:d}.",
        )


@contextmanager
def stopped_by_signals(ending: Ending) -> Generator[None]:
    """Let SIGINT and SIGTERM stop the run while the context lasts.

    Raises:
        TopologyError: outside the main thread.
    """
    signals = Signals(signal.SIGINT, signal.SIGTERM)

    def listen() -> None:
        while (came := signals.wait()) is not None:
            for number in came:
                ending.on_signal(number)

    listener = threading.Thread(target=listen, name="penstock-signals", daemon=True)
    try:
        with signals:
            listener.start()
            yield
    finally:
        ending.ended()
        if listener.ident is not None:
            listener.join()
            signals.close()
