"""A task: one partition of one sub-topology, with its stores, clocks and outputs.

Rule 1: outputs of a chunk wait until the chunk has finished. A chunk that fails leaves
        nothing behind: its stores are rolled back and its outputs dropped.
Rule 2: a record that fails leaves nothing in stores, clocks and outputs, and goes by its
        policy. While nothing else has come of it, the step that fails on it leaves it out.
        Where another step has seen it, the chunk is run again without it. Where nobody can
        tell which record it was, the chunk is run record by record, flushed after each one,
        so that the error names its record whatever raised, a step behind a store too. What
        fails of the timers that fire in front of it is not its fault: that stops all.
Rule 3: at flush, stateful steps hand on what changed, parents first, one changelog record
        and at most one change per key.
Rule 4: where ways of one input meet again, a chunk is taken in slices without a repeated key,
        so that each key's records come in the order of the input whatever the cut. Timers that
        fire in front of a record go all ways before it.

Not here: offsets, transactions and restoring. The task sees chunks and stores only.
"""

import copy
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from penstock.engine.drops import Drops
from penstock.engine.failures import Failure, Guard, dead_letters
from penstock.engine.late_letters import LateRecords
from penstock.engine.task_time import TaskTime
from penstock.operators.chunk import Chunk, LetGo
from penstock.operators.count import Count
from penstock.operators.deliver import Deliver, Row
from penstock.operators.each import NOT_DATA, EachFailed, TimerFailed
from penstock.operators.event_time import TimeGuard
from penstock.operators.lookup import Lookup
from penstock.operators.on_error import DeadLetter
from penstock.operators.operator import Closing, Firing, Keeping, OpenOperator
from penstock.operators.sink import Destinations, Outgoing, Sink, check_size
from penstock.operators.source import Fetched
from penstock.serde.types import is_canonical, is_immutable
from penstock.state.definition import StoreDefinition
from penstock.state.overlay import Changes, Overlay
from penstock.topology.event_time import guard
from penstock.topology.graph import SubTopology, Topology
from penstock.topology.node import FINAL, Node

CLOSED_AT_ONCE = 20_000
_NO_CHUNK = Chunk([], [])


class FlushFailed(Exception):
    """What a batch has changed cannot be handed on, and nobody knows whose record it was."""


class Task:
    """The steps of a sub-topology at work on one partition.

    Attributes:
        outputs: encoded records of the finished chunks, to be produced and cleared.
        time: how far event time has come.
        overlays: the stores of the task by name.
        failures: records that the batch has let go.
    """

    def __init__(
        self,
        topology: Topology,
        part: SubTopology,
        partition: int,
        overlays: Mapping[str, Overlay],
        destinations: Destinations,
        now_ms: Callable[[], int] = int,
    ) -> None:
        self.part = part
        self.partition = partition
        self.overlays = dict(overlays)
        self.outputs: list[Outgoing] = []
        self._topology = topology
        self._destinations = destinations
        self._careful = False
        self.failures: list[Failure] = []
        self._unwritten: list[Failure] = []
        self._waiting: list[Outgoing] = []
        self._gathered: list[tuple[Node, list[Row]]] = []
        self._delivered: dict[Node, list[Row]] = {}
        self._at: Node = part.nodes[0]
        self._chunk: Chunk | Fetched = _NO_CHUNK
        self._left_out: dict[int, tuple[Exception, Node]] = {}
        self._in_slices = topology.interleaves(part)
        self._keeps_keys = all(map(_keeps_keys, part.nodes))
        self._coalescing = {node for node in part.stateful if topology.coalesces(node)}
        self._open = {node: self._open_operator(node) for node in part.nodes}
        self._firing: dict[Node, Firing] = {
            node: of for node, of in self._open.items() if hasattr(of, "fire")
        }
        for firing in self._firing.values():
            firing.tell_time_by(now_ms)
        self._closing: dict[Node, Closing] = {
            node: self._open[node]
            for node in part.stateful
            if getattr(node.operator, "timed", False)
        }
        self.time = TaskTime(topology, part, self._closing)
        self._wholes = [node for node in part.nodes if _is_whole(node)]
        self._windows = {node for node in part.stateful if hasattr(node.operator, "windows")}
        self._drops = Drops({node: self._open[node] for node in part.stateful})
        self._late_records = LateRecords(self._open)
        guards = [(node, guard(topology, node)) for node in part.sources]
        self._time_guards: dict[Node, TimeGuard] = {node: of for node, of in guards if of}
        keeping = [node for node in part.nodes if node.stores or isinstance(node.operator, Deliver)]
        self._copies = {node for node in keeping if _needs_copies(topology, node)}
        self._sources = {
            topic: [node for node in part.sources if node.source and topic in node.source.topics]
            for topic in part.topics
        }
        self._guards = {
            topic: Guard(policy)
            for topic in part.topics
            if isinstance(policy := topology.on_error_of(topic), DeadLetter)
        }

    def process(
        self,
        fetched: Fetched,
        *,
        careful: bool = False,
        refused: Mapping[int, Exception] = MappingProxyType({}),
        now_ms: int | None = None,
    ) -> None:
        """Process records of one input; their outputs are then in `outputs`.

        Args:
            fetched: the records, in the order of their offsets.
            careful: one record at a time, flushed after each.
            refused: records that fail whatever the steps say, by offset: the cluster has not
                taken what they turn into.
            now_ms: the wall clock, which event times may not be far ahead of; None where nobody
                knows it.

        Raises:
            DataError: if a record fails, and the input's policy is to stop; or if too many do.
            FlushFailed: if what the batch has changed before cannot be handed on.
            PenstockError: what is no record's fault, such as a store that fails.
        """
        self.time.silence.end()
        self._time_guards = {node: of.at(now_ms) for node, of in self._time_guards.items()}
        failures = self._refused(fetched, refused)
        rest = fetched.without({failure.offset for failure in failures}) if failures else fetched
        failures += self._process_carefully(rest) if careful else self._process_whole(rest)
        if failures:
            self._let_go(sorted(failures, key=lambda failure: failure.offset))
        if guard := self._guards.get(fetched.topic):
            guard.look(fetched, failures)

    @property
    def clocks(self) -> dict[str, int]:
        """How far event time has come, in milliseconds: what is committed with a batch."""
        return self.time.clocks

    @clocks.setter
    def clocks(self, clocks: dict[str, int]) -> None:
        self.time.clocks = clocks

    def event_times(self, fetched: Fetched) -> Sequence[int]:
        """Return a timestamp for each record of an input, in milliseconds."""
        source = self._sources[fetched.topic][0].source
        return source.event_times(fetched) if source else fetched.timestamps

    def flush(self, now_ms: int = 0, tasks: int = 1) -> None:
        """Hand on what changed in the stores; all that is to be produced is in `outputs`.

        What time has come for is among it, in slices: the rest waits for the next flush, for
        which `is_due` asks. So are dead letters: one by one they would cost as much as the
        records that did not fail.

        Args:
            now_ms: the wall clock.
            tasks: how many are flushed together, and share the time that slices may take.

        Raises:
            FlushFailed: if a step behind a store raises; the batch has to be aborted and run
                again carefully, which names the record.
        """
        try:
            self._flush_in_time(now_ms, -(-CLOSED_AT_ONCE // tasks))
        except NOT_DATA:
            raise
        except Exception as error:
            raise FlushFailed(type(_first(error)).__name__) from error
        self._accept()
        self._write_letters()

    def _flush_stores(self) -> None:
        for node in self.part.stateful:
            self._flush_store(node)

    def _flush_store(self, node: Node) -> None:
        """Write a step's changes to its changelogs, and hand them on where it coalesces."""
        self._at = node
        changed = self._write_changes(node)
        if node in self._coalescing:
            operator: OpenOperator = self._open[node]
            for changes in changed:
                chunk = operator.updates(changes)
                chunk.partition = self.partition
                self._push(node, chunk)

    def _flush_in_time(self, now_ms: int, most: int) -> None:
        """Hand on what has changed and what time has come for, parents first."""
        self.time.begin_flush()
        for node in self.part.stateful:
            self._flush_store(node)
            closer = self._closing.get(node)
            if closer is None:
                continue
            clock = self.time.flush(node)
            self._at = node
            found, _ = closer.close(clock, now_ms, most)
            self._write_changes(node)
            self._gathered += [(whole, []) for whole in self._wholes if whole.from_store[0] is node]
            if found is not None:
                found.partition = self.partition
                self._push(node, found, final=True)
        self.time.end_flush()

    def discard(self, clocks: Mapping[str, int]) -> None:
        """Forget everything since the last commit."""
        for overlay in self.overlays.values():
            overlay.discard()
        for node in self.part.stateful:
            self._open[node].discard()
        self.outputs, self._waiting = [], []
        self._gathered, self._delivered = [], {}
        self._drops.discard()
        self._late_records.forget()
        self.failures, self._unwritten = [], []
        self.clocks = dict(clocks)

    def take_failures(self) -> list[Failure]:
        """Return the records that the batch has let go, and begin anew."""
        taken, self.failures = self.failures, []
        return taken

    def take_delivered(self) -> dict[Node, list[Row]]:
        """Return the rows that the committed batch has for outputs here, and begin anew."""
        delivered, self._delivered = self._delivered, {}
        return delivered

    def contents(self, node: Node, most: int) -> list[Row]:
        """Return the first rows of the table that a step delivers, in the order of its store.

        Args:
            node: the step.
            most: how many at most.
        """
        first, *between, last = node.from_store
        keeper: Keeping = self._open[first]
        chunk = keeper.contents(most)
        for step in between:
            chunk = step.operator.process(chunk)
        deliver: Deliver = last.operator
        return deliver.rows(chunk)[:most]

    def take_late(self) -> Counter[str]:
        """Return how often records were too late for a window, by store, and begin anew."""
        return self._drops.take_late()

    def take_duplicates(self) -> Counter[str]:
        """Return how many duplicates the batch has dropped, by store, and begin anew."""
        return self._drops.take_duplicates()

    def take_dropped(self) -> int:
        """Return how many records without key or value the batch has dropped, and begin anew."""
        return self._drops.take_dropped()

    def _run(self, fetched: Fetched, let_go: LetGo | None = None) -> None:
        """Run records through all steps; `let_go` takes those that a step leaves out."""
        self._left_out = {}
        if not self._in_slices:
            self._run_slice(fetched, let_go)
            return
        start = 0
        for stop in _cuts(fetched.keys if self._keeps_keys else [None] * len(fetched.keys)):
            self._run_slice(fetched.part(start, stop), let_go)
            start = stop

    def _run_slice(self, fetched: Fetched, let_go: LetGo | None) -> None:
        sources = self._sources[fetched.topic]
        for node in sources:
            self._at, self._chunk = node, fetched
            if node.source:
                known = len(self._left_out)
                alone = let_go if len(sources) == 1 else None
                self._chunk = chunk = node.source.decode(fetched, alone)
                chunk = node.source.in_event_time(chunk, self._time_guards.get(node))
                self.time.see(chunk.timestamps)
                left_out = len(self._left_out) - known
                self._drops.nulls += len(fetched.values) - len(chunk) - left_out
                self._push(node, chunk)

    def _leave_out(self, errors: Mapping[int, Exception]) -> None:
        self._left_out.update({offset: (error, self._at) for offset, error in errors.items()})

    def _push(self, node: Node, chunk: Chunk, *, final: bool = False) -> None:
        if not len(chunk):
            return
        children = self._topology.children[node]
        if node in self._windows:
            children = tuple(of for of in children if (of.kind == FINAL) == final)
        if len(children) > 1:
            chunk = chunk.strictly()
        for child in children:
            self._at, self._chunk = child, chunk
            operator = self._open[child]
            if isinstance(operator, Sink):
                self._waiting += operator.encode(chunk, self._destinations)
                continue
            given = _copied(chunk) if child in self._copies else chunk
            if isinstance(operator, Deliver):
                self._gathered.append((child, operator.gather(given)))
                continue
            if child.per_task:
                time = self.time.come(child, chunk)
                if child in self._firing and (self._careful or self._in_slices):
                    self._fire(child, time.after(chunk.timestamps[:1]))
                    self._at, self._chunk = child, chunk
                result = operator.process(given, time)
            else:
                result = operator.process(given)
            if result is not None:
                self._push(child, result)

    def _fire(self, node: Node, clock: int) -> None:
        """Fire the timers in front of a record by themselves: what fails then is not the record."""
        fired = self._firing[node].fire(clock)
        if fired is None:
            return
        try:
            self._push(node, fired)
        except NOT_DATA:
            raise
        except Exception as error:
            cause, at = _first(error), self._topology.labels[self._at]
            raise TimerFailed(
                f"What on_timer of {node!r} has handed on failed in {at} {self._at.detail}:"
                f" {type(cause).__name__}: {cause}. Nothing of this batch is committed. Correct it"
                " and start again: the timer fires again.",
                operator=node.kind,
            ) from error

    def _write_changes(self, node: Node) -> list[Changes]:
        """Write what has changed in the stores of a step to their changelogs, and return it."""
        found: list[Changes] = []
        for store in node.stores:
            changes = self.overlays[store.name].flush()
            if changes.keys:
                self._write_changelog(store, changes)
                found.append(changes)
        return found

    def _write_changelog(self, store: StoreDefinition, changes: Changes) -> None:
        changelog = store.changelog(self._topology.application)
        limit = self._destinations.max_message_bytes(changelog)
        check_size(changelog, changes.keys, changes.encoded, None, limit)
        self._waiting.append(
            Outgoing(
                changelog,
                changes.keys,
                changes.encoded,
                [self.partition] * len(changes.keys),
                changes.timestamps,
                store=store.name,
            )
        )

    def _process_whole(self, fetched: Fetched) -> list[Failure]:
        """Run records as one chunk; where some of them fail, run the others again."""
        failures: list[Failure] = []
        clocks = dict(self.clocks)
        stops = self._topology.on_error_of(fetched.topic) == "fail"
        while fetched.offsets:
            try:
                self._run(fetched, None if stops else self._leave_out)
            except EachFailed as failed:
                self._rollback(clocks)
                found = self._found(failed, fetched)
                if not found or stops:
                    # Before all stops because of them, they are tried once more, alone.
                    return failures + self._process_carefully(fetched)
                failures += found
                fetched = fetched.without({failure.offset for failure in found})
            except NOT_DATA:
                raise
            except Exception:  # noqa: BLE001 - a user's function raises what it likes
                self._rollback(clocks)
                return failures + self._process_carefully(fetched)
            else:
                failures += self._take_left_out(fetched)
                self._accept(fetched)
                break
        return failures

    def _take_left_out(self, fetched: Fetched) -> list[Failure]:
        """Return what the steps have left out, as failures at the step that did."""
        found: list[Failure] = []
        for offset, (error, step) in self._left_out.items():
            self._at = step
            found += self._failures_at(fetched, {offset: error})
        return found

    def _process_carefully(self, fetched: Fetched) -> list[Failure]:
        """Run records one by one, each flushed: whatever fails is its own doing."""
        self.flush()
        failures: list[Failure] = []
        for index in range(len(fetched.offsets)):
            clocks, record = dict(self.clocks), fetched.part(index, index + 1)
            self._careful = True
            try:
                self._run(record)
                # Windows close with the batch: their results are not this record's.
                self._flush_stores()
            except NOT_DATA:
                raise
            except Exception as error:  # noqa: BLE001 - a user's function raises what it likes
                self._rollback(clocks)
                failures.append(self._failure(fetched, index, error))
                self._check_policy(failures)
            else:
                self._accept(record)
            finally:
                self._careful = False
        return failures

    def _found(self, failed: EachFailed, fetched: Fetched) -> list[Failure]:
        """Return the records of an input that failed in the chunk of a step.

        Behind a store the chunk does not say which they are: then none.
        """
        at = self._chunk.offsets
        if at is None:
            return []
        errors: dict[int, Exception] = {}
        for index, error in failed.errors.items():
            errors.setdefault(at[index], error)
        return self._failures_at(fetched, errors)

    def _failures_at(self, fetched: Fetched, errors: Mapping[int, Exception]) -> list[Failure]:
        found = ((_index(fetched, offset), error) for offset, error in errors.items())
        return [self._failure(fetched, at, error) for at, error in found if at is not None]

    def _failure(self, fetched: Fetched, index: int, error: Exception) -> Failure:
        policy, error = self._topology.on_error_of(fetched.topic), _first(error)
        if policy != "fail":
            # Until the commit, frames would hold the whole chunk.
            error.__traceback__ = error.__context__ = None
        return Failure(
            fetched.topic,
            fetched.partition,
            fetched.offsets[index],
            fetched.keys[index],
            fetched.values[index],
            fetched.timestamps[index],
            fetched.headers_at(index),
            error,
            f"{self._topology.labels[self._at]} {self._at.detail}".rstrip(),
            self._at.store.name if self._at.store else None,
            private=isinstance(policy, DeadLetter) and not policy.payload,
        )

    def _refused(self, fetched: Fetched, errors: Mapping[int, Exception]) -> list[Failure]:
        if not errors:
            return []
        self._at = self._sources[fetched.topic][0]
        return self._failures_at(fetched, errors)

    def _check_policy(self, failures: Sequence[Failure]) -> None:
        first = failures[0]
        if self._topology.on_error_of(first.topic) == "fail":
            raise first.as_error(
                "Nothing of this batch is committed. Correct the function, the declared type or"
                " what writes such records, and start again: it goes on at this batch. To let"
                " them go: on_error='skip', or dead_letter('topic')."
            ) from first.error

    def _let_go(self, failures: Sequence[Failure]) -> None:
        self._check_policy(failures)
        self.failures += failures
        self._unwritten += failures

    def _write_letters(self) -> None:
        unwritten, self._unwritten = self._unwritten, []
        for topic in dict.fromkeys(failure.topic for failure in unwritten):
            policy = self._topology.on_error_of(topic)
            if isinstance(policy, DeadLetter):
                failures = [failure for failure in unwritten if failure.topic == topic]
                self.outputs.append(
                    dead_letters(failures, policy, self._topology.application, self._destinations)
                )

    def _accept(self, fetched: Fetched | None = None) -> None:
        self.outputs += self._waiting
        if fetched is not None:
            self.outputs += self._late_records.letters(fetched, self._destinations)
        for node, rows in self._gathered:
            self._delivered.setdefault(node, []).extend(rows)
        self._waiting, self._gathered = [], []
        self._drops.accept()
        self._late_records.forget()
        for overlay in self.overlays.values():
            overlay.savepoint()

    def _rollback(self, clocks: Mapping[str, int]) -> None:
        self._waiting, self._gathered = [], []
        self._drops.rollback()
        self._late_records.forget()
        self.clocks = dict(clocks)
        for overlay in self.overlays.values():
            overlay.rollback()
        for firing in self._firing.values():
            firing.rollback()

    def _open_operator(self, node: Node) -> Any:
        if not node.per_task:
            return node.operator
        opened: Any = node.operator.open(
            *[self.overlays[store.name] for store in node.stores],
            coalesce=node in self._coalescing,
        )
        if node.looks_into:
            first, *behind = node.looks_into.from_store
            overlay = self.overlays[first.stores[0].name]
            opened.look_into(Lookup(overlay, [step.operator for step in behind]))
        return opened


def _is_whole(node: Node) -> bool:
    return isinstance(node.operator, Deliver) and node.operator.mode == "complete"


def _index(fetched: Fetched, offset: int) -> int | None:
    """Return where a record is among those that were fetched, None if it is not there."""
    at = bisect_left(fetched.offsets, offset)
    return at if at < len(fetched.offsets) and fetched.offsets[at] == offset else None


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


def _first(error: Exception) -> Exception:
    """What a function has raised, where a chunk of several records failed because of it."""
    return next(iter(error.errors.values())) if isinstance(error, EachFailed) else error
