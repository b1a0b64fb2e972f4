"""The steps of a task at work: they take chunks from an input to the sinks.

Rule 1: what comes out waits in `waiting` and `gathered`. Whether it counts is for others to say,
        who know whether the chunk has finished.
Rule 2: where ways of one input meet again, a chunk is taken in slices without a repeated key,
        so that each key's records come in the order of the input whatever the cut. Timers that
        fire in front of a record go all ways before it.

Not here: policies, flushes and rollbacks.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from penstock.engine.failures import cause
from penstock.engine.tally import Counting
from penstock.engine.task_time import TaskTime
from penstock.operators.chunk import Chunk, LetGo
from penstock.operators.count import Count
from penstock.operators.deliver import Deliver, Row
from penstock.operators.each import NOT_DATA, TimerFailed
from penstock.operators.event_time import TimeGuard
from penstock.operators.lookup import Lookup
from penstock.operators.observe import Observe
from penstock.operators.operator import Closing, Firing
from penstock.operators.sink import Destinations, Outgoing, Sink
from penstock.operators.source import Fetched
from penstock.serde.types import is_canonical, is_immutable
from penstock.state.overlay import Overlay
from penstock.topology.event_time import guard
from penstock.topology.graph import SubTopology, Topology
from penstock.topology.node import FINAL, Node

_NO_CHUNK = Chunk([], [])


class Steps:
    """The steps of a sub-topology at work on one partition.

    Args:
        topology: all steps.
        part: those at work.
        overlays: their stores by name.
        destinations: partitions and limits of topics.
        now_ms: the wall clock.
        now: monotonic seconds.

    Attributes:
        opened: what each step is in this task.
        coalescing: steps with a store that hand on one change per key at a flush.
        closing: those that do something as time goes on.
        sources: the steps that read each input.
        time: how far event time has come.
        counting: what they count beside their results.
        waiting: encoded records for sinks.
        gathered: rows for outputs here.
        at: the step that was called last.
        chunk: what it was given.
        left_out: what steps have raised on records that they left out, by offset.
        careful: whether records come one by one.
    """

    def __init__(
        self,
        topology: Topology,
        part: SubTopology,
        overlays: Mapping[str, Overlay],
        destinations: Destinations,
        now_ms: Callable[[], int],
        now: Callable[[], float],
    ) -> None:
        self._topology = topology
        self._now = now
        self._children = topology.children
        self._destinations = destinations
        self.coalescing = {node for node in part.stateful if topology.coalesces(node)}
        self.opened = {node: self._open(node, overlays) for node in part.nodes}
        self._firing: dict[Node, Firing] = {
            node: of for node, of in self.opened.items() if hasattr(of, "fire")
        }
        for firing in self._firing.values():
            firing.tell_time_by(now_ms)
        self.closing: dict[Node, Closing] = {
            node: self.opened[node] for node in part.stateful if node.timed
        }
        self.sources = {
            topic: [node for node in part.sources if node.source and topic in node.source.topics]
            for topic in part.topics
        }
        self.time = TaskTime(topology, part, self.closing)
        self._stateful = {node: self.opened[node] for node in part.stateful}
        self.counting = Counting(self.opened)
        self.waiting: list[Outgoing] = []
        self.gathered: list[tuple[Node, list[Row]]] = []
        self.at: Node = part.nodes[0]
        self.chunk: Chunk | Fetched = _NO_CHUNK
        self.left_out: dict[int, tuple[Exception, Node]] = {}
        self.careful = False
        self._in_slices = topology.interleaves(part)
        self._keeps_keys = all(map(_keeps_keys, part.nodes))
        self._windows = {node for node in part.stateful if hasattr(node.operator, "windows")}
        for node in self._windows:
            self.opened[node].finals = any(of.kind == FINAL for of in topology.children[node])
        guards = [(node, guard(topology, node)) for node in part.sources]
        self._time_guards: dict[Node, TimeGuard] = {node: of for node, of in guards if of}
        keeping = [node for node in part.nodes if node.stores or isinstance(node.operator, Deliver)]
        self._copies = {node for node in keeping if _needs_copies(topology, node)}

    def know_now(self, now_ms: int | None) -> None:
        """Take the wall clock, which event times may not be far ahead of; None for none."""
        self._time_guards = {node: of.at(now_ms) for node, of in self._time_guards.items()}

    def run(self, fetched: Fetched, let_go: LetGo | None = None) -> None:
        """Run records through all steps; `let_go` takes those that a step leaves out."""
        self.left_out = {}
        if not self._in_slices:
            self._run_slice(fetched, let_go)
            return
        start = 0
        for stop in _cuts(fetched.keys if self._keeps_keys else [None] * len(fetched.keys)):
            self._run_slice(fetched.part(start, stop), let_go)
            start = stop

    def leave_out(self, errors: Mapping[int, Exception]) -> None:
        """Take note of records that the step at work leaves out, by offset."""
        self.left_out.update({offset: (error, self.at) for offset, error in errors.items()})

    def push(self, node: Node, chunk: Chunk, *, final: bool = False) -> None:
        """Hand what a step has made of its records on to the steps behind it, down to the sinks.

        Args:
            node: the step.
            chunk: its results.
            final: whether they are of closed windows.
        """
        if not len(chunk):
            return
        children = self._children[node]
        if node in self._windows:
            children = tuple(of for of in children if (of.kind == FINAL) == final)
        if len(children) > 1:
            chunk = chunk.strictly()
        for child in children:
            self.at, self.chunk = child, chunk
            operator = self.opened[child]
            if isinstance(operator, Sink):
                self.waiting += operator.encode(chunk, self._destinations)
                continue
            if isinstance(operator, Observe):
                self.counting.observe(operator, chunk)
                self.push(child, chunk.strictly())  # who fails behind it is not observed
                continue
            given = _copied(chunk) if child in self._copies else chunk
            if isinstance(operator, Deliver):
                self.gathered.append((child, operator.gather(given)))
                self.counting.deliver(operator, len(given))
                continue
            if child.per_task:
                time = self.time.come(child, chunk)
                if child in self._firing and (self.careful or self._in_slices):
                    self._fire(child, time.after(chunk.timestamps[:1]))
                    self.at, self.chunk = child, chunk
                began = self._now()
                result = operator.process(given, time)
                self.counting.batch.updated_for(child.clock, self._now() - began)
            else:
                result = operator.process(given)
            if result is not None:
                self.push(child, result)

    def hands_on_closed(self, node: Node) -> bool:
        """Whether something comes of what a step closes: results of windows, or timers."""
        return node in self._firing or bool(getattr(self.opened[node], "finals", False))

    def take(self) -> tuple[list[Outgoing], list[tuple[Node, list[Row]]]]:
        """Return what has come out for sinks and for outputs here, and begin anew."""
        waiting, gathered = self.waiting, self.gathered
        self.waiting, self.gathered = [], []
        return waiting, gathered

    def rollback(self) -> None:
        """Forget what the chunk has left in the steps; the stores were rolled back before."""
        self.waiting, self.gathered = [], []
        self.counting.undo()
        for firing in self._firing.values():
            firing.rollback()

    def discard(self) -> None:
        """Forget what the batch has left in the steps; the stores have forgotten it."""
        self.waiting, self.gathered = [], []
        self.counting.discard()
        for operator in self._stateful.values():
            operator.discard()

    def _run_slice(self, fetched: Fetched, let_go: LetGo | None) -> None:
        sources = self.sources[fetched.topic]
        for node in sources:
            self.at, self.chunk = node, fetched
            if node.source:
                known = len(self.left_out)
                alone = let_go if len(sources) == 1 else None
                self.chunk = chunk = node.source.decode(fetched, alone)
                guard = self._time_guards.get(node)
                chunk = node.source.in_event_time(chunk, guard, self.counting.times)
                self.time.see(chunk.timestamps)
                left_out = len(self.left_out) - known
                self.counting.nulls += len(fetched.values) - len(chunk) - left_out
                self.push(node, chunk)

    def _fire(self, node: Node, clock: int) -> None:
        """Fire the timers in front of a record by themselves: what fails then is not the record."""
        fired = self._firing[node].fire(clock)
        if fired is None:
            return
        try:
            self.push(node, fired)
        except NOT_DATA:
            raise
        except Exception as error:
            raised, at = cause(error), self._topology.labels[self.at]
            raise TimerFailed(
                f"What on_timer of {node!r} has handed on failed in {at} {self.at.detail}:"
                f" {type(raised).__name__}: {raised}. Nothing of this batch is committed. Correct"
                " it and start again: the timer fires again.",
                operator=node.kind,
            ) from error

    def _open(self, node: Node, overlays: Mapping[str, Overlay]) -> Any:
        if not node.per_task:
            return node.operator
        opened: Any = node.operator.open(
            *[overlays[store.name] for store in node.stores],
            coalesce=node in self.coalescing,
        )
        if node.looks_into:
            first, *behind = node.looks_into.from_store
            overlay = overlays[first.stores[0].name]
            opened.look_into(Lookup(overlay, [step.operator for step in behind]))
        return opened


def _keeps_keys(node: Node) -> bool:
    """Whether records leave a step under the key, to the byte, that they came with."""
    if node.source:
        return node.key.serde is not None and is_canonical(node.key.serde)
    # A record fires timers of other keys.
    return node.reshuffle is None and not getattr(node.operator, "has_timers", False)


def _cuts(keys: Sequence[bytes | None]) -> Iterator[int]:
    """Yield where slices without a repeated key end: 0.1 us per record."""
    seen: set[bytes | None] = set()
    for at, key in enumerate(keys):
        if key in seen:
            yield at
            seen = set()
        seen.add(key)
    yield len(keys)


def _needs_copies(topology: Topology, node: Node) -> bool:
    """Whether a step may change or keep values in place that others see after it."""
    looks_only = isinstance(node.operator, Count) or (bool(node.stores) and node.keeps_records)
    if looks_only or not topology.shares_values(node):
        return False
    return any(p.value.serde is None or not is_immutable(p.value.serde) for p in node.parents)


def _copied(chunk: Chunk) -> Chunk:
    """The same records with values of their own: 3 to 5 us each, rarely needed."""
    return chunk.with_values([copy.deepcopy(value) for value in chunk.values])
