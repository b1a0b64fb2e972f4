"""Silence: tell tasks how long nothing has come to them, so that their time goes on.

Rule 1: it is silent from when all that the client has seen of the inputs is committed. Whatever
        moves a committed offset begins anew, a transaction that was aborted too.
Rule 2: before time does anything, the cluster is asked where the inputs end. What the client has
        seen may be old, as of a broker that does not answer, and it sees nothing of transactions
        that are open.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from penstock.errors import BrokerError
from penstock.runtime.consumer import InputConsumer
from penstock.runtime.tasks import OwnedTask
from penstock.topics.admin import Admin

log = logging.getLogger("penstock")

Partition = tuple[str, int]

LOOK_S = 0.1
ASK_S = 1.0


@dataclass
class Quiet:
    """A task of whose inputs all is committed.

    Attributes:
        offsets: what is committed.
        since: from when on, monotonic seconds.
        task: tells another one of the same partition apart.
    """

    offsets: Mapping[Partition, int]
    since: float
    task: object


class SilenceWatch:
    """Let time go on for tasks to which nothing comes, where their streams say so.

    Args:
        consumer: knows where inputs end, as far as it has seen.
        admin: knows where they end.
        now: monotonic seconds.
    """

    def __init__(self, consumer: InputConsumer, admin: Admin, now: Callable[[], float]) -> None:
        self._consumer = consumer
        self._admin = admin
        self._now = now
        self._next_s = self._ask_s = now()
        self._quiet: dict[Partition, Quiet] = {}

    def look(self, tasks: Iterable[OwnedTask]) -> None:
        """Let time go on for tasks that are silent for long enough; they are due then."""
        now = self._now()
        if now < self._next_s:
            return
        self._next_s = now + LOOK_S
        waiting = [owned for owned in tasks if owned.task and owned.task.time.idle_ms is not None]
        before, self._quiet = self._quiet, {}
        due: list[tuple[OwnedTask, int]] = []
        for owned in waiting:
            at = (owned.lead.topic, owned.partition)
            if not self._is_read(owned):
                continue
            found = before.get(at)
            if found is None or found.offsets != owned.offsets or found.task is not owned.task:
                found = Quiet(dict(owned.offsets), now, owned.task)
            self._quiet[at] = found
            quiet_ms = round((now - found.since) * 1000)
            if owned.task and owned.task.time.is_due_after(quiet_ms):
                due.append((owned, quiet_ms))
        if due and now >= self._ask_s:
            self._ask_s = now + ASK_S
            self._let_pass(due)

    def _let_pass(self, due: list[tuple[OwnedTask, int]]) -> None:
        try:
            ends = self._admin.ends(at for owned, _ in due for at in owned.inputs)
        except BrokerError as error:
            log.debug("Whether all inputs are at their ends is not known: %s", error)
            return
        for owned, quiet_ms in due:
            if owned.task and all(owned.offsets[at] >= ends[at] for at in owned.inputs):
                owned.task.time.pass_by(quiet_ms)

    def _is_read(self, owned: OwnedTask) -> bool:
        seen = self._consumer.latest(owned.inputs)
        return all(0 <= seen[at] <= owned.offsets[at] for at in owned.inputs)
