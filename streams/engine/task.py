"""A task: one partition of one sub-topology, with its stores, clocks and outputs.

Rule 1: outputs of a chunk wait until the chunk has finished. A chunk that fails leaves
        nothing behind: its stores are rolled back and its outputs dropped.
Rule 2: a record that fails leaves nothing in stores, clocks and outputs, and goes by its
        policy. While nothing else has come of it, the step that fails on it leaves it out.
        Where another step has seen it, the chunk is run again without it. Where nobody can
        tell which record it was, the chunk is run record by record, flushed after each one,
        so that the error names its record whatever raised, a step behind a store too. What
        fails of the timers that fire in front of it is not its fault: that stops all.

How a chunk goes through the steps is in `steps`, what is flushed in which order in `flush`, which
record a failure is of in `blame`. Not here: offsets, transactions and restoring. The task sees
chunks and stores only.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from penstock.engine.blame import Blame
from penstock.engine.failures import Failure, Guard, cause, dead_letters
from penstock.engine.flush import Flush, Spent
from penstock.engine.late_letters import LateRecords
from penstock.engine.steps import Steps
from penstock.engine.tally import Tally
from penstock.operators.deliver import Deliver, Row
from penstock.operators.each import NOT_DATA, EachFailed
from penstock.operators.on_error import DeadLetter
from penstock.operators.operator import Keeping
from penstock.operators.sink import Destinations, Outgoing
from penstock.operators.source import Fetched
from penstock.state.overlay import Overlay
from penstock.topology.graph import SubTopology, Topology
from penstock.topology.node import Node

CLOSED_AT_ONCE = 20_000


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
        now: Callable[[], float] = float,
    ) -> None:
        self.part = part
        self.partition = partition
        self.overlays = dict(overlays)
        self.outputs: list[Outgoing] = []
        self._topology = topology
        self._destinations = destinations
        self.failures: list[Failure] = []
        self._unwritten: list[Failure] = []
        self._delivered: dict[Node, list[Row]] = {}
        self._steps = Steps(topology, part, self.overlays, destinations, now_ms, now)
        self.time = self._steps.time
        self._blame = Blame(topology, self._steps)
        self._flush = Flush(
            topology.application, part, partition, self.overlays, destinations, self._steps, now
        )
        self._late_records = LateRecords(self._steps.opened)
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
        self._steps.know_now(now_ms)
        failures = self._blame.refused(fetched, refused)
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
        source = self._steps.sources[fetched.topic][0].source
        return source.event_times(fetched) if source else fetched.timestamps

    def flush(self, now_ms: int = 0, tasks: int = 1, most: int | None = None) -> None:
        """Hand on what changed in the stores; all that is to be produced is in `outputs`.

        What time has come for is among it, in slices: the rest waits for the next flush, for
        which `is_due` asks. So are dead letters: one by one they would cost as much as the
        records that did not fail.

        Args:
            now_ms: the wall clock.
            tasks: how many are flushed together, and share the time that slices may take.
            most: how many results the slices of all of them may have; None for what is usual.

        Raises:
            FlushFailed: if a step behind a store raises; the batch has to be aborted and run
                again carefully, which names the record.
        """
        try:
            handed_on = CLOSED_AT_ONCE if most is None else min(most, CLOSED_AT_ONCE)
            self._flush.hand_on_in_time(now_ms, -(-CLOSED_AT_ONCE // tasks), -(-handed_on // tasks))
        except NOT_DATA:
            raise
        except Exception as error:
            raise FlushFailed(type(cause(error)).__name__) from error
        self._accept()
        self._write_letters()

    def discard(self, clocks: Mapping[str, int]) -> None:
        """Forget everything since the last commit."""
        for overlay in self.overlays.values():
            overlay.discard()
        self._steps.discard()
        self._late_records.forget()
        self.outputs, self._delivered = [], {}
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
        keeper: Keeping = self._steps.opened[first]
        chunk = keeper.contents(most)
        for step in between:
            chunk = step.operator.process(chunk)
        deliver: Deliver = last.operator
        return deliver.rows(chunk)[:most]

    def take_spent(self) -> Spent:
        """Return where the time of flushes has gone, and begin anew."""
        return self._flush.take_spent()

    def take_tally(self) -> Tally:
        """Return what the batch has counted beside its results, and begin anew."""
        return self._steps.counting.take()

    def _process_whole(self, fetched: Fetched) -> list[Failure]:
        """Run records as one chunk; where some of them fail, run the others again."""
        failures: list[Failure] = []
        clocks = dict(self.clocks)
        stops = self._topology.on_error_of(fetched.topic) == "fail"
        while fetched.offsets:
            try:
                self._steps.run(fetched, None if stops else self._steps.leave_out)
            except EachFailed as failed:
                self._rollback(clocks)
                found = self._blame.raised(failed, fetched)
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
                failures += self._blame.left_out(fetched)
                self._accept(fetched)
                break
        return failures

    def _process_carefully(self, fetched: Fetched) -> list[Failure]:
        """Run records one by one, each flushed: whatever fails is its own doing."""
        self.flush()
        failures: list[Failure] = []
        for index in range(len(fetched.offsets)):
            clocks, record = dict(self.clocks), fetched.part(index, index + 1)
            self._steps.careful = True
            try:
                self._steps.run(record)
                # Windows close with the batch: their results are not this record's.
                self._flush.hand_on_changes()
            except NOT_DATA:
                raise
            except Exception as error:  # noqa: BLE001 - a user's function raises what it likes
                self._rollback(clocks)
                failures.append(self._blame.alone(fetched, index, error))
                self._check_policy(failures)
            else:
                self._accept(record)
            finally:
                self._steps.careful = False
        return failures

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
        waiting, gathered = self._steps.take()
        self.outputs += waiting
        if fetched is not None:
            self.outputs += self._late_records.letters(fetched, self._destinations)
        for node, rows in gathered:
            self._delivered.setdefault(node, []).extend(rows)
        self._steps.counting.accept()
        self._late_records.forget()
        for overlay in self.overlays.values():
            overlay.savepoint()

    def _rollback(self, clocks: Mapping[str, int]) -> None:
        self.clocks = dict(clocks)
        for overlay in self.overlays.values():
            overlay.rollback()
        self._steps.rollback()
        self._late_records.forget()
