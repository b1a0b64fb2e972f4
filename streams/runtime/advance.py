"""Advance: bringing the tasks of a worker to run, in slices of its loop."""

from collections.abc import Callable, Collection, Iterable

from penstock.runtime.restorer import Restorer
from penstock.runtime.tasks import OwnedTask, Phase, TaskStarter


class Advance:
    """Take tasks that do not run yet a step further at each step of the loop.

    Args:
        starter: brings them to run.
        restorer: reads what their stores lack.
        slice_ms: how long restoring may keep the others waiting at a time.
        now: monotonic seconds.
        admit: called once, before the first tasks take anything; raises where they may not.

    Attributes:
        all_run: whether there is nothing to do; set to False where tasks are new, or closed.
    """

    def __init__(
        self,
        starter: TaskStarter,
        restorer: Restorer,
        slice_ms: int,
        now: Callable[[], float],
        admit: Callable[[], None],
    ) -> None:
        self.all_run = True
        self._starter = starter
        self._restorer = restorer
        self._slice_ms = slice_ms
        self._now = now
        self._admit = admit
        self._admitted = False
        self._reads = False
        self._next = 0.0

    @property
    def restoring(self) -> bool:
        """Whether there is more to be read at once."""
        return self._restorer.busy and self._reads

    def step(self, tasks: Collection[OwnedTask]) -> None:
        """Go one step on.

        Raises:
            PenstockError: if the committed offsets, the stores or the topology do not fit.
        """
        if self.all_run:
            return
        if tasks and not self._admitted:
            self._admit()
            self._admitted = True
        if self._restorer.busy:
            self._restore(tasks)
        starting = [owned for owned in tasks if owned.phase is not Phase.RUNNING]
        self._starter.advance(starting)
        self.all_run = all(owned.phase is Phase.RUNNING for owned in starting)

    def _restore(self, tasks: Iterable[OwnedTask]) -> None:
        """Restore for a slice of time; as long again belongs to the tasks that run."""
        began = self._now()
        if not any(owned.phase is Phase.RUNNING for owned in tasks):
            self._reads = self._restorer.work(4 * self._slice_ms)
        elif began >= self._next:
            self._reads = self._restorer.work(self._slice_ms, 0)
            now = self._now()
            self._next = now + (now - began)


def due_tasks(tasks: Iterable[OwnedTask], now_ms: int, recommit_ms: int) -> list[OwnedTask]:
    """Return tasks whom time has given something to do, or whose offsets need to be committed.

    Some inputs have no committed offset yet; others were committed long ago.

    Args:
        tasks: those of a worker.
        now_ms: the wall clock.
        recommit_ms: after how long offsets are committed again, though unchanged.
    """
    return [
        owned
        for owned in tasks
        if owned.phase is Phase.RUNNING
        and (
            not owned.settled
            or abs(now_ms - owned.committed_ms) > recommit_ms
            or (owned.task is not None and owned.task.time.is_due(now_ms))
        )
    ]
