"""Broken builds: each breaks one rule of deduplication and timers, and some seed has to notice."""

from typing import Any

from penstock.engine.task_time import TaskTime
from penstock.operators.drop_duplicates import OpenDropDuplicates
from penstock.operators.known_spans import KnownSpans
from penstock.operators.timers import Queue, Timers
from penstock.runtime.tasks import OwnedTask
from tests.sim.sabotage import Patch


def clocks_are_forgotten(patch: Any) -> None:
    """Time begins anew with each start: what was late is in time."""
    patch.setattr(OwnedTask, "clocks", property(lambda _: {}))


def what_an_aborted_batch_knew_stays_known(patch: Any) -> None:
    """A record that comes again after an abort looks like its own duplicate."""
    first = OpenDropDuplicates._first

    def sure(self: OpenDropDuplicates, identities: Any, times: Any, time: Any) -> list[bool]:
        ever: set[tuple[int, bytes]] = vars(self).setdefault("ever", set())
        own = [(at // self._span, of) for of, at in zip(identities, times, strict=True)]
        found = first(self, identities, times, time)
        new = [is_first and at not in ever for is_first, at in zip(found, own, strict=True)]
        ever.update(at for is_first, at in zip(found, own, strict=True) if is_first)
        return new

    patch.setattr(OpenDropDuplicates, "_first", sure)


def nothing_is_looked_up(patch: Any) -> None:
    """What another worker has handed on counts for nothing."""
    patch.setattr(OpenDropDuplicates, "_known_spans", _fresh)


def _fresh(self: OpenDropDuplicates, _: Any) -> KnownSpans:
    if self._known is None:
        self._known = KnownSpans(-(2**62), 1_000)
    return self._known


def timers_of_aborted_batches_stay(patch: Any) -> None:
    """What an aborted batch has set or taken stays so."""
    patch.setattr(Timers, "forget", lambda _: None)
    patch.setattr(Queue, "undo", lambda _: None)


def nothing_fires_without_records(patch: Any) -> None:
    """The wall clock alone wakes nobody."""
    patch.setattr(TaskTime, "is_due", lambda *_: False)


def timers_are_looked_up_once(patch: Any) -> None:
    """What is set while another worker has the task is not seen."""
    patch.setattr(Queue, "_read", _nothing)


def _nothing(self: Queue) -> None:
    self._edge = self._end


SABOTAGES: list[Patch] = [
    clocks_are_forgotten,
    what_an_aborted_batch_knew_stays_known,
    nothing_is_looked_up,
    timers_of_aborted_batches_stay,
    nothing_fires_without_records,
    timers_are_looked_up_once,
]
