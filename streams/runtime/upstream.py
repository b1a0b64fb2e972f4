"""Upstream: how far time has come for those who write the repartition topics that we read.

What a repartition partition holds comes from many tasks. While they catch up, one of them may be
hours ahead of another, and the largest event time seen would make most records of the slower
ones late. So time goes on by the slowest of those who still have something to read.

Rule 1: each task commits how far its time has come beside its offsets, in the transaction of
        its outputs. Once a second that is looked up, then the ends of the repartition partitions:
        what a task has written until then is in front of those.
Rule 2: the smallest time is taken by a task once everything in front of the ends of its own
        partitions is committed here: one that was not ours when they were looked up waits for
        the next look.
Rule 3: a task at the end of its inputs that has committed nothing for a while holds nobody back.
        Where all are so, of all who write for us, the largest time counts. A task that itself
        reads repartition topics may be at its end with results to come: it holds back until all
        in front of it are so, and it has committed the largest time of theirs. Where time
        goes on in silence, those who write commit it, and an input is at its end only if no open
        transaction has records there.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from penstock.engine.assignment import Lead, LeadMap
from penstock.engine.metadata import decode
from penstock.engine.task_time import TASK_TIME
from penstock.errors import BrokerError
from penstock.runtime.consumer import InputConsumer
from penstock.runtime.tasks import OwnedTask
from penstock.topics.admin import Admin
from penstock.topology.event_time import idle_ms
from penstock.topology.graph import SubTopology, Topology

log = logging.getLogger("penstock")

Partition = tuple[str, int]

LOOK_S = 1.0
REQUEST_S = 0.5
SHARE = 20  # looks may take one part in so many of the time
SILENT_S = 30.0  # for so long nobody is told that no look succeeds


@dataclass
class Standing:
    """How far a task that writes for us has come.

    Attributes:
        clock: the time of its last commit, -1 for none, in milliseconds since the epoch.
        committed: what that has committed, offsets and metadata.
        since: when that was first seen, monotonic seconds.
        drained: whether it has read all there was.
    """

    clock: int
    committed: Sequence[tuple[int, str | None]]
    since: float
    drained: bool


@dataclass
class Look:
    """A time that counts for a task once it has read its partitions up to some offsets."""

    clock: int
    ends: Mapping[Partition, int]


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
        self._took_s = 0.0
        self._standings: dict[Partition, Standing] = {}
        self._stood: dict[str, list[Standing]] = {}  # those of this look, by lead
        self._looks: dict[Partition, Look] = {}  # by task, until it has come to there
        self._grown: dict[str, int] = {}
        self._silent_s: float | None = None
        fed = {part.number: topology.feeders(part) for part in topology.sub_topologies}
        self._timed = {
            part.number: fed[part.number]
            for part in topology.sub_topologies
            if fed[part.number] and topology.needs_time(part)
        }
        self._going_on = {
            part.number
            for part in topology.sub_topologies
            for node in part.nodes
            if node.sink and node.sink.internal and idle_ms(topology, node) is not None
        }

    def grow(self, partitions: Mapping[str, int]) -> None:
        """Take note that topics have more partitions now: their tasks write for us too."""
        self._grown.update(partitions)

    def look(self, tasks: Iterable[OwnedTask]) -> None:
        """Let time go on for tasks that have read what belongs in front of it."""
        if not self._timed:
            return
        mine = [owned for owned in tasks if owned.task and owned.lead.part.number in self._timed]
        for owned in mine:
            look = self._looks.get(_place(owned))
            if look and owned.task and _has_read(owned, look):
                owned.task.time.reach(look.clock)
                del self._looks[_place(owned)]
        if mine and self._now() >= self._next_s:
            self._look_again(mine)

    def close(self) -> None:
        """Close what reads committed offsets."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _look_again(self, mine: list[OwnedTask]) -> None:
        began, self._stood = self._now(), {}
        try:
            for part in {owned.lead.part.number: owned.lead.part for owned in mine}.values():
                # Were a look replaced before all is read that is in front of it, some never would.
                tasks = [
                    of for of in mine if of.lead.part is part and _place(of) not in self._looks
                ]
                if tasks:
                    self._look_for(part, tasks)
            self._silent_s = None
        except BrokerError as error:
            self._tell(error)
        now = self._now()
        # One that takes long once was stalled: that must not stop time for minutes.
        took, self._took_s = min(now - began, self._took_s), now - began
        self._next_s = now + max(LOOK_S, SHARE * took)

    def _look_for(self, part: SubTopology, tasks: Sequence[OwnedTask]) -> None:
        clock = self._clock(part)
        repartitions = self._topology.repartitions
        mine = {_place(of): [at for at in of.inputs if at[0] in repartitions] for of in tasks}
        ends = self._admin.ends(at for of in mine.values() for at in of)
        for place, inputs in mine.items():
            self._looks[place] = Look(clock, {at: ends[at] for at in inputs})

    def _tell(self, error: BrokerError) -> None:
        """Say that time stands still, where it does so for long: once, until it goes on."""
        if self._silent_s is None:
            self._silent_s = self._now()
        elif 0 <= self._silent_s <= self._now() - SILENT_S:
            self._silent_s = -1.0
            log.warning(
                "For %g s nobody could say how far time has come for those who write our"
                " repartition topics; windows behind them do not close until then. %s",
                SILENT_S,
                error,
            )

    def _clock(self, part: SubTopology) -> int:
        """Return how far time has come for all that write for a part."""
        held, idle = self._times(part)
        return min(held) if held else max(idle)

    def _times(self, part: SubTopology) -> tuple[list[int], list[int]]:
        """Return how far each of them has come: those who hold back, and those who do not."""
        held: list[int] = []
        idle: list[int] = []
        for writer, delay_ms in self._timed[part.number]:
            # Those in front are looked up first: what they had written then is in their clocks.
            before = self._times(writer) if writer.number in self._timed else None
            for of in self._stand(self._leads[writer.number]):
                is_idle = self._is_idle(of) if before is None else _has_all(of, *before)
                (idle if is_idle else held).append(of.clock - delay_ms)
        return held, idle

    def _is_idle(self, standing: Standing) -> bool:
        return standing.drained and self._now() - standing.since >= self._idle_s

    def _stand(self, lead: Lead) -> list[Standing]:
        """Look up how far the tasks of a sub-topology have come, once in a look."""
        if lead.topic not in self._stood:
            self._stood[lead.topic] = self._look_up(lead)
        return self._stood[lead.topic]

    def _look_up(self, lead: Lead) -> list[Standing]:
        count = max(lead.tasks, self._grown.get(lead.topic, 0))
        inputs = [at for number in range(count) for at in lead.inputs(number)]
        if self._reader is None:
            self._reader = self._make_reader()
        committed = self._reader.committed(inputs, REQUEST_S)
        if committed is None:
            raise BrokerError(
                "The group's coordinator does not answer. Check the cluster's health."
            )
        goes_on = lead.part.number in self._going_on
        ends = self._admin.ends(inputs) if goes_on else self._admin.stable_ends(inputs)
        unread = [at for at in inputs if committed[at][0] < 0]
        starts = self._admin.starts(unread) if unread else {}
        found: list[Standing] = []
        for number in range(count):
            mine = lead.inputs(number)
            at = (lead.topic, number)
            memory = decode(committed[at][1], f"{lead.topic}/{number}")
            drained = all(max(committed[of][0], starts.get(of, 0)) >= ends[of] for of in mine)
            now, before = [committed[of] for of in mine], self._standings.get(at)
            same = before is not None and before.committed == now
            since = before.since if same and before else self._now()
            clock = memory.clock(TASK_TIME) if memory else -1
            self._standings[at] = Standing(clock, now, since, drained)
            found.append(self._standings[at])
        return found


def _place(owned: OwnedTask) -> Partition:
    return owned.lead.topic, owned.partition


def _has_all(standing: Standing, held: Sequence[int], idle: Sequence[int]) -> bool:
    """Whether nothing is to come to a task between repartition topics, nor from it."""
    return standing.drained and not held and standing.clock >= max(idle)


def _has_read(owned: OwnedTask, look: Look) -> bool:
    return all(owned.offsets.get(at, -1) >= end for at, end in look.ends.items())
