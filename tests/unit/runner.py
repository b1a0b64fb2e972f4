"""Run a topology's tasks over memory stores, batch by batch, as the worker does.

Everything between two commits is a transaction: its outputs count once it commits and are
forgotten when it aborts, and the inputs go back to the last commit.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from penstock.engine.task import Task
from penstock.operators.sink import Outgoing
from penstock.operators.source import Fetched
from penstock.state.changelog import stored
from penstock.state.memory import MemoryStore
from penstock.state.overlay import Overlay
from penstock.state.store import Position
from penstock.topology.graph import SubTopology, Topology
from tests.unit.programs import Sent

Then = Literal["go", "commit", "abort", "restart", "restore"]


class Cut(NamedTuple):
    """A chunk of so many records, and what comes after it.

    "abort" drops the batch, "restart" opens the tasks anew on the same stores as well, and
    "restore" makes the stores anew from their changelogs.
    """

    records: int
    then: Then


class OneRecord(NamedTuple):
    """A record of an output, decoded by nobody."""

    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: tuple[tuple[str, bytes | None], ...]


@dataclass
class Committed:
    """What one batch has committed: how far it read, and what it wrote by topic."""

    stop: int
    outputs: dict[str, list[OneRecord]] = field(default_factory=lambda: defaultdict(list))


class AnyCluster:
    """Destinations of one partition each."""

    def partitions(self, topic: str, keys: Sequence[bytes | None]) -> list[int]:
        return [0] * len(keys)

    def max_message_bytes(self, topic: str) -> int:
        return 1_000_000


class Runner:
    """A worker without Kafka.

    Attributes:
        stores: the committed state by store name.
        clocks: the committed clocks by store name.
        batches: what was committed.

    """

    def __init__(self, topology: Topology, *, cache_entries: int = 100) -> None:
        self.topology = topology
        self.stores = {store.name: MemoryStore() for store in topology.stores}
        self.clocks: dict[str, int] = {}
        self.batches: list[Committed] = []
        self._cache_entries = cache_entries
        self._tasks: list[Task] = []
        self._by_topic: dict[str, Task] = {}
        self._outputs: list[Outgoing] = []
        self._open()

    def run(self, records: Sequence[Sent], cuts: Sequence[Cut]) -> None:
        """Process records cut as told, the rest in fours, and commit."""
        plan = iter(cuts)
        at = committed = 0
        fetched: list[Fetched] = []
        while at < len(records):
            cut = next(plan, Cut(4, "go"))
            chunk = _chunk(records, at, cut.records)
            fetched.append(chunk)
            at += len(chunk.offsets)
            self._process(chunk)
            if cut.then == "commit":
                self._commit(fetched, at)
                fetched, committed = [], at
            elif cut.then != "go":
                self._abort(cut.then)
                fetched, at = [], committed
        self._commit(fetched, at)

    def _process(self, fetched: Fetched, *, careful: bool = False) -> None:
        task = self._by_topic[fetched.topic]
        task.process(fetched, careful=careful)
        self._take(task)

    def _take(self, task: Task) -> None:
        self._outputs += task.outputs
        task.outputs = []

    def _commit(self, fetched: Sequence[Fetched], stop: int) -> None:
        try:
            self._flush()
        except Exception:  # noqa: BLE001 - a step behind a store: the batch is run carefully
            self._abort("abort")
            for chunk in fetched:
                self._process(chunk, careful=True)
            self._flush()
        batch = Committed(stop)
        for out in self._outputs:
            headers = out.headers or [None] * len(out.keys)
            columns = zip(out.keys, out.values, out.timestamps, headers, strict=True)
            batch.outputs[out.topic] += [
                OneRecord(key, value, at, tuple(header or ())) for key, value, at, header in columns
            ]
        self.batches.append(batch)
        self._outputs = []
        for task in self._tasks:
            self.clocks.update(task.clocks)
            for overlay in task.overlays.values():
                overlay.commit(Position(stop, "topic", 0))

    def _flush(self) -> None:
        for task in self._tasks:
            task.flush()
            self._take(task)

    def _abort(self, how: Then) -> None:
        self._outputs = []
        if how == "abort":
            for task in self._tasks:
                task.discard(self._clocks_of(task.part))
            return
        if how == "restore":
            for store in self.topology.stores:
                self.stores[store.name] = self._restored(store.changelog("cuts"))
        self._open()

    def _clocks_of(self, part: SubTopology) -> dict[str, int]:
        names = {node.clock for node in part.stateful}
        return {name: clock for name, clock in self.clocks.items() if name in names}

    def _restored(self, changelog: str) -> MemoryStore:
        rows = [row for batch in self.batches for row in batch.outputs[changelog]]
        items = stored(
            [row.key for row in rows], [row.value for row in rows], [row.timestamp for row in rows]
        )
        store = MemoryStore()
        store.write(items.items(), Position(len(rows), "topic", 0))
        return store

    def _open(self) -> None:
        self._tasks = []
        for part in self.topology.sub_topologies:
            overlays = {
                store.name: Overlay(
                    store, self.stores[store.name], cache_entries=self._cache_entries
                )
                for store in part.stores
            }
            task = Task(self.topology, part, 0, overlays, AnyCluster())
            task.clocks = self._clocks_of(part)
            self._tasks.append(task)
            self._by_topic.update(dict.fromkeys(part.topics, task))


def _chunk(records: Sequence[Sent], start: int, size: int) -> Fetched:
    """At most so many records from one place of the input, all of one topic."""
    topic = records[start].topic
    stop = start
    while stop < min(start + size, len(records)) and records[stop].topic == topic:
        stop += 1
    rows = records[start:stop]
    offset = sum(record.topic == topic for record in records[:start])
    headers: list[Any] = [list(row.headers) or None for row in rows]
    return Fetched(
        topic,
        0,
        [row.key for row in rows],
        [row.value for row in rows],
        [row.timestamp for row in rows],
        list(range(offset, offset + len(rows))),
        headers if any(headers) else None,
        offset + len(rows),
    )
