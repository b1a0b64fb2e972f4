"""Broken builds: each breaks one rule of time, windows and sessions, and some seed has to notice."""

from collections.abc import Mapping
from typing import Any

from penstock.engine.tally import Counting
from penstock.engine.task import Task
from penstock.engine.task_time import SEEN_TIME, TaskTime
from penstock.operators.event_time import TimeGuard
from penstock.operators.sessions import OpenSessions
from penstock.operators.windowed import OpenWindows
from penstock.runtime import upstream
from penstock.runtime.tasks import OwnedTask
from penstock.runtime.upstream import Upstream
from penstock.runtime.worker import Worker
from penstock.topology.timing import Timing
from tests.sim.sabotage import Patch


def clocks_are_forgotten(patch: Any) -> None:
    """Time begins anew with each start and each rebalance, as in Kafka Streams."""
    patch.setattr(OwnedTask, "clocks", property(lambda _: {}))


def closed_windows_stay(patch: Any) -> None:
    """What is closed is not deleted, and closes again."""
    close = OpenWindows.close

    def forgetful(self: OpenWindows, clock: int, now_ms: int, limit: int) -> Any:
        put, self._overlay.put = self._overlay.put, lambda _: None  # type: ignore[method-assign]
        try:
            return close(self, clock, now_ms, limit)
        finally:
            self._overlay.put = put  # type: ignore[method-assign]
            self._closed_to = b""

    patch.setattr(OpenWindows, "close", forgetful)


def merged_sessions_stay(patch: Any) -> None:
    """Nobody is told that a session was merged into another one."""
    patch.setattr(OpenSessions, "_gone", lambda *_: [])


def repartitioned_records_move_time(patch: Any) -> None:
    """Time goes by the records that come, whoever wrote them, as in Kafka Streams."""
    patch.setattr(Timing, "goes_by_records", lambda *_: True)


def nobody_waits_for_the_ends(patch: Any) -> None:
    """A time upstream counts before what belongs in front of it is read."""
    patch.setattr(upstream, "_has_read", lambda *_: True)


def newcomers_believe_the_last_look(patch: Any) -> None:
    """A task that was given to a worker takes over the time of those it has (as it once did)."""
    look = Upstream.look

    def credulous(self: Upstream, tasks: Any) -> None:
        tasks = list(tasks)
        last: dict[int, int] = vars(self).setdefault("last", {})
        for owned in tasks:
            if owned.task and not hasattr(owned.task, "known"):
                owned.task.known = True
                owned.task.time.reach(last.get(owned.lead.part.number, -1))
        look(self, tasks)
        for (topic, _), found in self._looks.items():
            (number,) = [of for of, lead in self._leads.items() if lead.topic == topic]
            last[number] = found.clock

    patch.setattr(Upstream, "look", credulous)


def time_is_told_before_results(patch: Any) -> None:
    """A task tells how far it has come with results that are still to come."""
    patch.setattr(TaskTime, "_time_behind", lambda self: self.clocks.get(SEEN_TIME, -1))


def results_are_taken_for_new(patch: Any) -> None:
    """Nobody reckons with it that results of windows come when these have closed."""
    patch.setattr(Timing, "delay_ms", lambda *_: 0)


def the_fastest_counts(patch: Any) -> None:
    """Time goes on by those who have come furthest."""
    patch.setattr(Upstream, "_is_idle", lambda *_: True)


def aborted_batches_move_time(patch: Any) -> None:
    """What an aborted batch has moved stays where it is."""
    discard = Task.discard

    def stubborn(self: Task, _clocks: Mapping[str, int]) -> None:
        discard(self, self.clocks)

    patch.setattr(Task, "discard", stubborn)


def lates_of_aborted_batches_count(patch: Any) -> None:
    """Records that come too late are counted each time that they are tried."""
    discard = Counting.discard

    def stubborn(self: Counting) -> None:
        late = self.batch.late
        discard(self)
        self.batch.late = late

    patch.setattr(Counting, "discard", stubborn)


def nothing_closes_without_records(patch: Any) -> None:
    """Who has no record has nothing to do."""
    patch.setattr(TaskTime, "is_due", lambda *_: False)


def who_has_no_records_waits(patch: Any) -> None:
    """Who is due without records waits until none come for others: test_windows tells it."""
    begin = Worker._open_batch

    def alone(self: Worker) -> None:
        due, self._due_tasks = self._due_tasks, list  # type: ignore[method-assign]
        try:
            begin(self)
        finally:
            self._due_tasks = due  # type: ignore[method-assign]

    def settle(self: Worker) -> None:
        if self._due_tasks():
            begin(self)

    patch.setattr(Worker, "_open_batch", alone)
    patch.setattr(Worker, "_settle", settle)


def times_are_not_guarded(patch: Any) -> None:
    """A record of the year 9999 closes the windows of all others."""
    patch.setattr(TimeGuard, "passes", lambda *_: True)


SABOTAGES: list[Patch] = [
    clocks_are_forgotten,
    closed_windows_stay,
    merged_sessions_stay,
    repartitioned_records_move_time,
    nobody_waits_for_the_ends,
    newcomers_believe_the_last_look,
    time_is_told_before_results,
    results_are_taken_for_new,
    the_fastest_counts,
    aborted_batches_move_time,
    lates_of_aborted_batches_count,
    nothing_closes_without_records,
    times_are_not_guarded,
]
