"""Workers that break a rule of what they may take: time, memory, files and threads."""

import threading
from collections.abc import Callable
from typing import Any

from penstock.engine.transaction import Command, Event
from penstock.runtime import restorer, run
from penstock.runtime.cost import Cost
from penstock.runtime.worker import Worker
from penstock.state.overlay import Overlay

LEAKED_BYTES = 1_000_000
EVERY = 5  # commits, for files and threads


def do_all_at_once() -> None:
    """What is begun at a time goes by nothing."""
    Cost.within = lambda *_: 1_000_000  # type: ignore[method-assign]


def keep_all() -> None:
    """Values are counted, and not weighed."""
    Overlay._cut = lambda _: None  # type: ignore[method-assign]
    Overlay._waits_with_much = lambda _: False  # type: ignore[method-assign]
    restorer.MOST_WAITING_BYTES = 10**12


def keep_the_file_limit() -> None:
    """The limit of open files stays as it is."""
    run.raise_file_limit = lambda: 0  # type: ignore[attr-defined]


def leak() -> None:
    """With each commit something stays: memory, and now and then a file and a thread."""
    commit, kept, forever = Worker._COMMANDS[Command.COMMIT], list[Any](), threading.Event()

    def leaky(worker: Worker) -> Event | None:
        kept.append(bytearray(LEAKED_BYTES))
        if len(kept) % EVERY == 0:
            kept[-1] = (kept[-1], open("/dev/null"))  # noqa: PTH123, SIM115 - it stays open
            threading.Thread(target=forever.wait, daemon=True).start()
        return commit(worker)

    Worker._COMMANDS[Command.COMMIT] = leaky


RULES: dict[str, Callable[[], None]] = {
    "all-at-once": do_all_at_once,
    "keep-all": keep_all,
    "keep-the-file-limit": keep_the_file_limit,
    "leak": leak,
}
