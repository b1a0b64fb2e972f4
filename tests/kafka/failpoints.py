"""Steps at which a worker can be made to kill itself, the n-th time that it comes by.

A worker of `apps.py` is armed by its option `--failpoint '["after the flush", 3, "/tmp/marker"]'`.
Just before it sends itself SIGKILL it writes the step's name to the marker. The product knows
nothing of it: a step is a call of its own that is wrapped.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from penstock.engine import task
from penstock.engine.transaction import Command
from penstock.runtime import restorer, tasks
from penstock.runtime.producer import TransactionalProducer
from penstock.runtime.restorer import Restorer, Restoring
from penstock.runtime.tasks import TaskStarter
from penstock.runtime.worker import Worker
from penstock.state.overlay import Overlay
from penstock.state.rocksdb import RocksStore

Reach = Callable[[], None]
Arm = Callable[[Reach], None]
FEW = 4  # windows closed, or keys restored at once, where it is between them that it matters


def in_front_of(owner: Any, name: str) -> Arm:
    """Reach the step before a method is called."""

    def arm(reach: Reach) -> None:
        _wrap(owner, name, before=reach)

    return arm


def behind(owner: Any, name: str) -> Arm:
    """Reach the step when a method has returned."""

    def arm(reach: Reach) -> None:
        _wrap(owner, name, after=reach)

    return arm


def before_the_flush(reach: Reach) -> None:
    flush = Worker._COMMANDS[Command.FLUSH]

    def reached(worker: Worker) -> Any:
        reach()
        return flush(worker)

    Worker._COMMANDS[Command.FLUSH] = reached


def write_at_once(arm: Arm) -> Arm:
    """Let each commit reach the disk, where several would wait for each other."""

    def armed(reach: Reach) -> None:
        tasks.WRITE_BEHIND_KEYS = 0
        arm(reach)

    return armed


def between_slices(reach: Reach) -> None:
    """Reach the step when a batch is applied that has left windows to the next one to close."""
    task.CLOSED_AT_ONCE = FEW
    apply = Worker._COMMANDS[Command.APPLY]

    def applied(worker: Worker) -> Any:
        event = apply(worker)
        now_ms = worker._now_ms()
        if any(of.task and of.task.time.is_due(now_ms) for of in worker._tasks.values()):
            reach()
        return event

    Worker._COMMANDS[Command.APPLY] = applied


def between_writes(reach: Reach) -> None:
    """Reach the step when a part of a store is restored, and on the disk."""
    restorer.RECORDS_PER_READ = restorer.KEYS_PER_WRITE = FEW
    write = Restorer._write

    def written(self: Restorer, restoring: Restoring) -> None:
        write(self, restoring)
        restoring.store.flush()
        if not restoring.state.done:
            reach()

    Restorer._write = written  # type: ignore[method-assign]


def load(arm: Arm) -> Arm:
    """Open each store that is restored for writing only, as one with many records."""

    def armed(reach: Reach) -> None:
        restorer.LOAD_RECORDS = -1
        arm(reach)

    return armed


def while_timers_fire(reach: Reach) -> None:
    _wrap(vars(sys.modules["__main__"])["Visits"], "on_timer", after=reach)


COMMITTING: dict[str, Arm] = {
    "before the flush": before_the_flush,
    "after produce": in_front_of(TransactionalProducer, "flush"),
    "after the flush": behind(TransactionalProducer, "flush"),
    "before the offsets": in_front_of(TransactionalProducer, "send_offsets"),
    "after the offsets": behind(TransactionalProducer, "send_offsets"),
    "before the commit": in_front_of(TransactionalProducer, "commit"),
    "after the commit": behind(TransactionalProducer, "commit"),
    "before the overlay": in_front_of(Overlay, "commit"),
    "between overlays": behind(Overlay, "commit"),
    "before the store": write_at_once(in_front_of(RocksStore, "write")),
    "after the store": write_at_once(behind(RocksStore, "write")),
    "on the disk": write_at_once(behind(RocksStore, "flush")),
}
RESTORING: dict[str, Arm] = {
    "before a restore is written": in_front_of(Restorer, "_write"),
    "after a restore is written": behind(Restorer, "_write"),
    "between writes of a restore": between_writes,
}
LOADING: dict[str, Arm] = {
    "between writes of a load": load(between_writes),
    "at the end of a load": load(in_front_of(RocksStore, "loaded")),
    "behind a load": load(behind(RocksStore, "loaded")),
}
REVOKING: dict[str, Arm] = {
    "in the revoke callback": in_front_of(Worker, "_revoked"),
    "revoked, with the stores open": in_front_of(Worker, "_give_up"),
    "behind the revoke callback": behind(Worker, "_revoked"),
}
CLOSING: dict[str, Arm] = {"between slices of windows": between_slices}
FIRING: dict[str, Arm] = {"while timers fire": while_timers_fire}
STOPPING: dict[str, Arm] = {
    "at the stop, in front of the last commit": in_front_of(Worker, "_end_batch"),
    "at the stop, with the stores open": in_front_of(Worker, "_close"),
    "at the stop, between stores": behind(TaskStarter, "close"),
}
STEPS = COMMITTING | RESTORING | LOADING | REVOKING | CLOSING | FIRING | STOPPING


def arm(text: str) -> None:
    """Let this process kill itself at a step, as the option says."""
    step, nth, marker = json.loads(text)
    STEPS[step](_Fuse(step, nth, Path(marker)))


class _Fuse:
    """Kills the process the n-th time."""

    def __init__(self, step: str, nth: int, marker: Path) -> None:
        self._step, self._left, self._marker = step, nth, marker

    def __call__(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._marker.write_text(self._step)
            os.kill(os.getpid(), signal.SIGKILL)
            signal.pause()


def _nothing() -> None:
    """Be reached in vain."""


def _wrap(owner: Any, name: str, *, before: Reach = _nothing, after: Reach = _nothing) -> None:
    call = getattr(owner, name)

    @wraps(call)
    def wrapped(*args: Any, **options: Any) -> Any:
        before()
        result = call(*args, **options)
        after()
        return result

    setattr(owner, name, wrapped)
