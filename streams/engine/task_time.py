"""How far event time has come in a task: for each step that goes by it, and for those behind.

Rule 1: where a step's own records move its time, each does when it comes. What comes through a
        repartition topic does not: its writers are far apart, and the slowest of them counts
        (`reach`). Nor do results of windows, which come by window and not by time.
Rule 2: no step's time is further than the results that are still to come to it.
Rule 3: time never goes back, but to what was committed, when a batch is aborted. What `reach` has
        told stays: others have committed it.
"""

from collections.abc import Mapping, Sequence

from penstock.engine.silence import Silence
from penstock.operators.chunk import Chunk
from penstock.operators.operator import Closing
from penstock.operators.time import OperatorTime
from penstock.topology.graph import SubTopology, Topology
from penstock.topology.node import Node

TASK_TIME, SEEN_TIME = "(task)", "(seen)"  # no store has such a name


class TaskTime:
    """The clocks of one task.

    Args:
        topology: all steps.
        part: those of the task.
        closers: the steps at work that do something as time goes on, parents first.

    Attributes:
        clocks: operator time by the step's `clock`, its store's name, in milliseconds. Where
            others go by it, also the time of all inputs together: `SEEN_TIME`, and `TASK_TIME`,
            which waits for windows whose results are still to be written.
        silence: how time goes on where nothing comes.
    """

    def __init__(
        self, topology: Topology, part: SubTopology, closers: Mapping[Node, Closing]
    ) -> None:
        self.clocks: dict[str, int] = {}
        self._timing = timing = topology.timing
        self._closers = closers
        self._by_records = {node for node in part.stateful if timing.goes_by_records(node)}
        self._fed = {node for node in part.stateful if timing.is_fed(node)}
        self._is_fed = any(map(timing.is_fed, part.sources))
        self._reshuffles = [node for node in part.nodes if node.sink and node.sink.internal]
        self._feeds = bool(self._reshuffles) and topology.needs_time(part)
        self._sees = self._feeds or not self._by_records.issuperset(closers)
        self._reached = -1
        self.silence = Silence(topology, part, SEEN_TIME if self._feeds else None)

    @property
    def idle_ms(self) -> int | None:
        """After how long a silence time goes on without records, None for never."""
        return self.silence.idle_ms

    def reach(self, clock: int) -> None:
        """Let time go on where no record moves it; the next flush does what it has come for.

        Args:
            clock: event time in milliseconds since the epoch.
        """
        self._reached = max(self._reached, clock)

    def is_due(self, now_ms: int) -> bool:
        """Whether a flush would do something although no record has come.

        To be asked between batches: what one has changed is not looked at.

        Args:
            now_ms: the wall clock.
        """
        # Those behind us wait for our time, whether it closes anything here or not.
        seen = self.clocks.get(SEEN_TIME, -1)
        if self._feeds and self._is_fed and self._reached > seen:
            return True
        if self.silence.tells(seen, self.silence.reached.get(SEEN_TIME, -1)):
            return True
        return any(self._is_due(node, now_ms) for node in self._closers)

    def is_due_after(self, quiet_ms: int) -> bool:
        """Whether something is to be done after a silence of all inputs.

        Args:
            quiet_ms: how long it has lasted.
        """
        reached = self.silence.after(self.clocks, quiet_ms)
        told = self.clocks.get(SEEN_TIME, -1)
        return self.silence.tells(told, reached.get(SEEN_TIME, -1)) or any(
            closer.is_due(reached.get(node.clock, -1)) for node, closer in self._closers.items()
        )

    def pass_by(self, quiet_ms: int) -> None:
        """Let time go on by a silence of all inputs; the next flush does what it has come for.

        Args:
            quiet_ms: how long it has lasted.
        """
        self.silence.reached = self.silence.after(self.clocks, quiet_ms)

    def see(self, times: Sequence[int]) -> None:
        """Take note of the event times of an input's records."""
        if self._sees and not self._is_fed and times:
            self._move(SEEN_TIME, max(times))

    def come(self, node: Node, chunk: Chunk) -> OperatorTime:
        """Move a step's time on as far as a chunk does; return it as it was before."""
        time = OperatorTime(self.clocks.get(node.clock, -1), node in self._by_records)
        self._move(node.clock, time.after(chunk.timestamps))
        return time

    def begin_flush(self) -> None:
        """Move the time of all inputs on as far as it has come without records."""
        if self._sees and self._is_fed:
            self._move(SEEN_TIME, self._reached)
        self._move(SEEN_TIME, self.silence.reached.get(SEEN_TIME, -1))

    def flush(self, node: Node) -> int:
        """Move a step's time on as far as it has come without its records; return it."""
        reached = self.silence.reached.get(node.clock, -1)
        if node not in self._by_records:
            seen = self._reached if node in self._fed else self.clocks.get(SEEN_TIME, -1)
            reached = max(reached, seen - self._timing.delay_ms(node))
        return self._move(node.clock, min([reached, *self._held(node)]))

    def end_flush(self) -> None:
        """Move on the time of those who read our repartition topics."""
        if self._feeds:
            self._move(TASK_TIME, self._time_behind())

    def _is_due(self, node: Node, now_ms: int) -> bool:
        closer, clock = self._closers[node], self.clocks.get(node.clock, -1)
        if node in self._fed:
            clock = max(clock, self._reached - self._timing.delay_ms(node))
        clock = max(clock, self.silence.reached.get(node.clock, -1))
        return closer.is_due(clock) or (closer.wake_ms is not None and closer.wake_ms <= now_ms)

    def _time_behind(self) -> int:
        found = [self.clocks.get(SEEN_TIME, -1)]
        for node in self._reshuffles:  # what they take off is added
            found += [held + self._timing.delay_ms(node) for held in self._held(node)]
        return min(found)

    def _held(self, node: Node) -> list[int]:
        """Return how old the results may be that are still to come to a step.

        They wait for the next flush, or for a record that moves their own step's time on, which
        may see fewer of them than the task does.
        """
        held = [self._closers[of].held_ms() for of in self._timing.holders(node)]
        return [at for at in held if at is not None]

    def _move(self, name: str, clock: int) -> int:
        """Move a clock on, never back; return where it is."""
        now = self.clocks.get(name, -1)
        if clock > now:
            self.clocks[name] = now = clock
        return now
