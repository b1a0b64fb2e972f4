"""Silence: how far time goes on in a task to which nothing comes any more.

Rule 1: a step whose stream says so goes on from where its time was when the silence began, by as
        much as the wall clock has since. What takes the results of windows in the same task stays
        behind these as far as it is by design.
Rule 2: a task that reads a repartition topic does not do so by itself: its time is that of the
        tasks that write the topic. Those commit theirs once in each `idle`, until nothing behind
        them can be open any more.

Not here: whether it is silent. The caller knows the ends of the inputs, and the clocks.
"""

from collections.abc import Mapping

from penstock.topology.event_time import idle_ms, open_for_ms, windows_before
from penstock.topology.graph import SubTopology, Topology
from penstock.topology.node import Node


class Silence:
    """Time in silence of one task.

    Args:
        topology: all steps.
        part: those of the task.
        seen: the name of the clock that is told to tasks behind repartition topics; None where
            there are none that need it.

    Attributes:
        idle_ms: the shortest silence after which something goes on, None for never.
        reached: where clocks are by it.
    """

    def __init__(self, topology: Topology, part: SubTopology, seen: str | None) -> None:
        told = [idle_ms(topology, sink) for sink in _timed_sinks(topology, part)]
        waits = [ms for ms in told if ms is not None]
        timed = [(node, idle_ms(topology, node)) for node in part.stateful if node.timed]
        self._seen = seen
        # They hear of one time: of several, the most patient counts.
        self._tell_ms = max(waits) if waits and len(waits) == len(told) else None
        self._tells_for_ms = _sum(open_for_ms(topology), self._tell_ms)
        self._is_fed = any(node.source and node.source.internal for node in part.sources)
        self._idle = [] if self._is_fed else [(node, ms) for node, ms in timed if ms is not None]
        waits = [ms for _, ms in self._idle]
        if self._tell_ms is not None and not self._is_fed:
            waits.append(self._tell_ms)
        self.idle_ms = min(waits, default=None)
        self.reached: dict[str, int] = {}
        self._since: dict[str, int] | None = None
        self._quiet_ms = 0

    def end(self) -> None:
        """Note that something has come."""
        self._since = None

    def after(self, clocks: Mapping[str, int], quiet_ms: int) -> dict[str, int]:
        """Return where clocks are after a silence, by name; the others stay.

        Args:
            clocks: where they are now.
            quiet_ms: how long it has lasted.
        """
        if self._since is None or quiet_ms < self._quiet_ms:
            names = {*clocks, *self.reached}
            self._since = {n: max(clocks.get(n, -1), self.reached.get(n, -1)) for n in names}
        self._quiet_ms = quiet_ms
        found: dict[str, int] = {}
        for node, wait_ms in self._idle:
            clock = _clock(node, self._since, quiet_ms)
            if quiet_ms >= wait_ms and clock is not None:
                found[node.clock] = clock
        seen = -1 if self._seen is None else self._since.get(self._seen, -1)
        if (
            self._tell_ms is not None
            and not self._is_fed
            and quiet_ms >= self._tell_ms
            and seen >= 0
        ):
            most = self._tells_for_ms
            found[str(self._seen)] = seen + (quiet_ms if most is None else min(quiet_ms, most))
        return found

    def tells(self, before: int, after: int) -> bool:
        """Whether tasks behind repartition topics are to hear how far the told clock has come."""
        return self._tell_ms is not None and after - before >= self._tell_ms


def _timed_sinks(topology: Topology, part: SubTopology) -> list[Node]:
    """The steps that write repartition topics behind which something goes by event time."""
    timed = {t for of in topology.sub_topologies if topology.needs_time(of) for t in of.topics}
    return [n for n in part.nodes if n.sink and n.sink.internal and n.sink.topic in timed]


def _clock(node: Node, since: Mapping[str, int], quiet_ms: int) -> int | None:
    """Return where the time of a step is after a silence, None where nothing has come to it."""
    before = windows_before(node)
    if not before:
        clock = since.get(node.clock, -1)
        return None if clock < 0 else clock + quiet_ms
    found: list[int] = []
    for window in before:
        clock_before = _clock(window, since, quiet_ms)
        if clock_before is None:
            return None
        found.append(clock_before - window.operator.open_ms)
    return min(found)


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
