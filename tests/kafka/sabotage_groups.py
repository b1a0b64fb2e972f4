"""Workers that break a rule of groups and topics: who looks on has to notice."""

import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from penstock.runtime import maintenance, preparation, run
from penstock.runtime.consumer import InputConsumer
from penstock.runtime.tasks import TaskStarter
from penstock.runtime.watch import TopicWatch
from penstock.runtime.worker import Worker
from penstock.state.directories import Slot

TOGETHER = 2
MEETING_S = 20.0
READY = "ready-"


def meet() -> None:
    """Break nothing: all have looked at the group before the first of them joins it."""
    subscribe = InputConsumer.subscribe
    folder = Path(sys.argv[sys.argv.index("--state-dir") + 1]).parent

    def together(self: InputConsumer, *args: Any) -> None:
        (folder / f"{READY}{os.getpid()}").touch()
        deadline = time.monotonic() + MEETING_S
        while len(list(folder.glob(f"{READY}*"))) < TOGETHER:
            assert time.monotonic() < deadline, "nobody else comes"
            time.sleep(0.01)
        subscribe(self, *args)

    InputConsumer.subscribe = together  # type: ignore[method-assign]


def join_unasked() -> None:
    """Nobody looks who else is in the group."""
    run.wait_for_group = lambda *_, **__: None  # type: ignore[attr-defined]


def be_blind() -> None:
    """Topics are not looked at again."""
    TopicWatch.check = lambda *_: {}  # type: ignore[method-assign]
    leave_unexplained()


def leave_unexplained() -> None:
    """What the client says of a topic that is gone is all that is said."""
    maintenance.explain = lambda _: None  # type: ignore[attr-defined]


def know_no_more() -> None:
    """Partitions that the input did not have at the start are nobody's."""
    assigned = Worker._assigned

    def known(self: Worker, found: list[tuple[str, int]]) -> None:
        leads = self._prepared.leads.leads
        assigned(self, [at for at in found if at[1] < leads[at[0]].tasks])

    Worker._assigned = known  # type: ignore[method-assign]


def follow_inputs() -> None:
    """A repartition topic has to have as many partitions as the inputs in front of it."""
    count = preparation.count_partitions

    def follow(topology: Any, existing: Mapping[str, int]) -> dict[str, int]:
        inputs = {name: n for name, n in existing.items() if name not in topology.repartitions}
        return count(topology, inputs)

    preparation.count_partitions = follow  # type: ignore[attr-defined]


def make_anew() -> None:
    """Internal topics that are gone are made again, whatever was in them."""
    preparation.check_internal = lambda *_: None


def commit_rarely() -> None:
    """Offsets are committed again once in an hour, however soon they expire."""
    preparation.recommit_ms = lambda _: preparation.RECOMMIT_MS


def wait_for_nobody() -> None:
    """A task that begins anew does so at once, whatever others may find."""
    TaskStarter._waits = lambda *_: False  # type: ignore[method-assign]


def never_give_way() -> None:
    """A worker keeps its identity, however often another one takes it."""
    Slot.note_fenced = lambda *_: False  # type: ignore[method-assign]


RULES: dict[str, Callable[[], None]] = {
    "be-blind": be_blind,
    "commit-rarely": commit_rarely,
    "follow-inputs": follow_inputs,
    "join-unasked": join_unasked,
    "know-no-more": know_no_more,
    "leave-unexplained": leave_unexplained,
    "make-anew": make_anew,
    "meet": meet,
    "never-give-way": never_give_way,
    "wait-for-nobody": wait_for_nobody,
}
