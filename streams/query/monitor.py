"""The monitor: what a run shows of itself to everything in the process that looks at it.

The loop of the worker writes, and whoever likes reads: the handle, listeners, the progress topic,
the HTTP server. A taker is called in the loop's thread: it puts what it was told somewhere and
returns at once.
"""

import uuid
from collections import deque
from collections.abc import Callable, Mapping
from typing import TypeAlias

import msgspec

from penstock.query.events import Idle, Rebalance, Told
from penstock.query.progress import Progress, query_id
from penstock.query.reading import Holdings
from penstock.query.status import INITIALIZING, Status
from penstock.query.totals import Totals
from penstock.topology.graph import Topology

RECENT = 100

Taker: TypeAlias = Callable[[Told], None]


class Problem(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Something that a person should see.

    Attributes:
        timestamp: when it happened, ISO 8601, UTC.
        text: what happened, and where.
    """

    timestamp: str
    text: str


class StoreView(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A store of a task.

    Attributes:
        name: the store's.
        restored: whether it is as its changelog says.
        remaining: changelog records that are still to be read, at most.
    """

    name: str
    restored: bool
    remaining: int


class TaskView(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A task of a worker.

    Attributes:
        sub_topology: its number.
        partition: its number.
        inputs: the topics that it reads, with the offset that comes next.
        lag: records, or markers of transactions, from there to their ends, where these are known.
        phase: "waiting for stable offsets", "restoring" or "running".
        stores: its stores.
    """

    sub_topology: int
    partition: int
    inputs: Mapping[str, int]
    lag: Mapping[str, int]
    phase: str
    stores: tuple[StoreView, ...]


class View(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What the worker is doing at this moment.

    Attributes:
        status: in words.
        tasks: what it has been given.
    """

    status: Status
    tasks: tuple[TaskView, ...]


NOTHING_YET = View(status=INITIALIZING, tasks=())


class Monitor:
    """What one run of an application shows.

    Args:
        topology: of the application.
        run_id: of this run.

    Attributes:
        id: of the query.
        run_id: of this run.
        instance_id: of the worker, empty until it has a slot.
        topology: of the application.
        recent: the last hundred records of progress, oldest first.
        totals: sums since the run began.
        problems: the last records that failed, in words.
        look: returns what the worker is doing now; may be called from any thread.
        joined: whether the group has answered once, be it with no partition.
        holdings: the partitions of stores that it has, for those who read them.
    """

    def __init__(self, topology: Topology, run_id: uuid.UUID) -> None:
        self.id = query_id(topology.application)
        self.run_id = run_id
        self.instance_id = ""
        self.topology = topology
        self.recent: deque[Progress] = deque(maxlen=RECENT)
        self.totals = Totals()
        self.problems: deque[Problem] = deque(maxlen=RECENT)
        self.joined = False
        hashed = [
            store.name
            for part in topology.sub_topologies
            for store in part.stores
            if all(node.source and node.source.internal for node in part.sources)
        ]
        self.holdings = Holdings(topology.application, topology.stores, hashed)
        self.look: Callable[[], View] = lambda: NOTHING_YET
        self._takers: tuple[Taker, ...] = ()

    def attach(self, taker: Taker) -> Callable[[], None]:
        """Tell somebody all that happens from now on.

        Returns:
            what ends that.
        """
        self._takers = (*self._takers, taker)

        def detach() -> None:
            self._takers = tuple(of for of in self._takers if of is not taker)

        return detach

    def tell(self, told: Told) -> None:
        """Keep what has happened, and pass it on."""
        if isinstance(told, Progress):
            self.recent.append(told)
            self.totals.add(told)
        self.joined = self.joined or isinstance(told, Rebalance | Idle)
        for taker in self._takers:
            taker(told)
