"""Upstream: how far time has come for those who write the repartition topics that we read.

What a repartition partition holds comes from many tasks. While they catch up, one of them may be
hours ahead of another, and the largest event time seen would make most records of the slower
ones late. So time goes on by the slowest of those who still have something to read.

Rule 1: each task commits how far its time has come beside its offsets, in the transaction of
        its outputs. Once a second that is looked up, then the ends of the repartition partitions:
        what a task has written until then is in front of those.
Rule 2: the smallest time is taken once everything in front of these ends is committed here.
Rule 3: a task at the end of its inputs that has committed nothing for a while holds nobody back.
        Where all are so, the largest time counts.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from penstock.engine.assignment import Lead, LeadMap
from penstock.engine.metadata import decode
from penstock.engine.task import TASK_TIME
from penstock.errors import BrokerError
from penstock.runtime.consumer import InputConsumer
from penstock.runtime.tasks import OwnedTask
from penstock.topics.admin import Admin
from penstock.topology.graph import SubTopology, Topology

log = logging.getLogger("penstock")

Partition = tuple[str, int]

LOOK_S = 1.0
REQUEST_S = 0.5
SHARE = 20  # looks may take one part in so many of the time


@dataclass
class Standing:
    """How far a task that writes for us has come.

    Attributes:
        clock: the time of its last commit, -1 for none, in milliseconds since the epoch.
        offsets: what that has committed.
        since: when it committed something else before, monotonic seconds.
        drained: whether it has read all there was.
    """

    clock: int
    offsets: tuple[int, ...]
    since: float
    drained: bool


@dataclass
class Look:
    """A time that counts once repartition partitions are read up to some offsets."""

    clock: int
    ends: Mapping[Partition, int] = field(default_factory=dict[Partition, int])


class Upstream:
    """Tell tasks that read repartition topics how far time has come.

    Args:
        topology: with patterns resolved.
        leads: which topics lead.
        admin: knows where topics begin and end.
        reader: makes what reads committed offsets, also while transactions are open.
        idle_s: for how long a task at its end has to commit nothing to hold nobody back.
        now: monotonic seconds.
    """

    def __init__(
        self,
        topology: Topology,
        leads: LeadMap,
        admin: Admin,
        reader: Callable[[], InputConsumer],
        idle_s: float,
        now: Callable[[], float],
    ) -> None:
        self._topology = topology
        self._leads = {lead.part.number: lead for lead in leads.leads.values()}
        self._admin = admin
        self._make_reader = reader
        self._reader: InputConsumer | None = None
        self._idle_s = idle_s
        self._now = now
        self._next_s = now()
        self._standings: dict[Partition, Standing] = {}
        self._looks: dict[int, Look] = {}  # by sub-topology
        fed = {part.number: topology.feeders(part) for part in topology.sub_topologies}
        self._timed = {
            part.number: fed[part.number]
            for part in topology.sub_topologies
            if fed[part.number] and topology.needs_time(part)
        }

    def look(self, tasks: Iterable[OwnedTask]) -> None:
        """Let time go on for tasks that have read what belongs in front of it."""
        if not self._timed:
            return
        mine = [owned for owned in tasks if owned.task and owned.lead.part.number in self._timed]
        for owned in mine:
            look = self._looks.get(owned.lead.part.number)
            if look and owned.task and _has_read(owned, look):
                owned.task.reach(look.clock)
        if mine and self._now() >= self._next_s:
            self._look_again(mine)

    def close(self) -> None:
        """Close what reads committed offsets."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _look_again(self, mine: list[OwnedTask]) -> None:
        began = self._now()
        try:
            for part in {owned.lead.part.number: owned.lead.part for owned in mine}.values():
                tasks = [owned for owned in mine if owned.lead.part is part]
                last = self._looks.get(part.number)
                # Were it replaced before all have read what is in front of it, some never would.
                if last is None or all(_has_read(owned, last) for owned in tasks):
                    clock = self._clock(part)
                    self._looks[part.number] = Look(clock, self._ends(tasks))
        except BrokerError as error:
            log.debug("How far time has come upstream is not known: %s", error)
        now = self._now()
        self._next_s = now + max(LOOK_S, SHARE * (now - began))

    def _ends(self, tasks: Iterable[OwnedTask]) -> Mapping[Partition, int]:
        repartitions = self._topology.repartitions
        return self._admin.ends(at for of in tasks for at in of.inputs if at[0] in repartitions)

    def _clock(self, part: SubTopology) -> int:
        """Return how far time has come for all that write for a part."""
        clocks: list[int] = []
        for writer, delay_ms in self._timed[part.number]:
            found = self._stand(self._leads[writer.number])
            held = [of.clock for of in found if not self._is_idle(of)]
            clocks.append((min(held) if held else max(of.clock for of in found)) - delay_ms)
        return min(clocks)

    def _is_idle(self, standing: Standing) -> bool:
        return standing.drained and self._now() - standing.since >= self._idle_s

    def _stand(self, lead: Lead) -> list[Standing]:
        """Look up how far the tasks of a sub-topology have come."""
        inputs = [at for number in range(lead.tasks) for at in lead.inputs(number)]
        if self._reader is None:
            self._reader = self._make_reader()
        committed = self._reader.committed(inputs, REQUEST_S)
        if committed is None:
            raise BrokerError(
                "The group's coordinator does not answer. Check the cluster's health."
            )
        ends = self._admin.stable_ends(inputs)
        unread = [at for at in inputs if committed[at][0] < 0]
        starts = self._admin.starts(unread) if unread else {}
        found: list[Standing] = []
        for number in range(lead.tasks):
            mine = lead.inputs(number)
            offsets = tuple(committed[at][0] for at in mine)
            at = (lead.topic, number)
            memory = decode(committed[at][1], f"{at[0]}/{at[1]}")
            drained = all(max(committed[of][0], starts.get(of, 0)) >= ends[of] for of in mine)
            before = self._standings.get(at)
            same = before is not None and before.offsets == offsets
            since = before.since if same and before else self._now()
            clock = memory.clock(TASK_TIME) if memory else -1
            self._standings[at] = Standing(clock, offsets, since, drained)
            found.append(self._standings[at])
        return found


def _has_read(owned: OwnedTask, look: Look) -> bool:
    return all(
        owned.offsets.get(at, -1) >= end for at, end in look.ends.items() if at in owned.offsets
    )
