"""What a topology says of event time: grace, guards, silence, and where late records go.

Rule 1: between an input and a step the nearest `with_watermark` counts, all of it; one in front
        of it says nothing there any more. Through repartition topics too.
Rule 2: where several ways lead to a step, the most patient counts: the largest delay, the
        longest silence, and none at all where one of them does not go on in silence.
Rule 3: an input is guarded by the strictest of what is declared on its ways to the steps that go
        by event time, `MAX_FUTURE_MS` where a way declares nothing. A way to no such step is
        guarded only by what is declared there.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from penstock.errors import TopologyError
from penstock.operators.event_time import TimeGuard
from penstock.operators.watermark import Watermark
from penstock.topology.node import FINAL, Node

if TYPE_CHECKING:
    from penstock.topology.graph import Topology

MAX_FUTURE_MS = 86_400_000


def delay_ms(node: Node) -> int:
    """How late the records of a step may be by declaration; the steps before it are enough."""
    if isinstance(node.operator, Watermark):
        return node.operator.delay_ms
    return max(map(delay_ms, node.parents), default=0)


def idle_ms(topology: "Topology", node: Node) -> int | None:
    """After how long a silence the time of a step goes on without records, None for never."""
    if isinstance(node.operator, Watermark):
        return node.operator.idle_ms
    found = [idle_ms(topology, above) for above in _above(topology, node)]
    longest = 0
    for idle in found:
        if idle is None:
            return None
        longest = max(longest, idle)
    return longest or None


def guard(topology: "Topology", source: Node) -> TimeGuard | None:
    """What the times of an input have to be; None where nothing goes by them."""
    if source.source is None or source.source.internal:
        return None
    found = list(_guards(topology, source, MAX_FUTURE_MS, declared=False))
    if not found:
        return None
    limits = [limit for limit in found if limit is not None]
    return TimeGuard(min(limits, default=None))


def open_for_ms(topology: "Topology") -> int | None:
    """How long behind the last event time anything may still be open; None for any time."""
    timed = [node.operator for node in topology if node.timed]
    found = [getattr(operator, "open_ms", None) for operator in timed]
    return None if None in found else sum(ms for ms in found if ms is not None)


def watermark(nodes: Iterable[Node], clocks: Mapping[str, int]) -> int | None:
    """Return before which event time records are late for a step; None where no time is known.

    Args:
        nodes: the steps of a task.
        clocks: how far their time has come, by name.
    """
    found = [
        clocks[node.clock] - lateness_ms(node)
        for node in nodes
        if node.timed and clocks.get(node.clock, -1) >= 0
    ]
    return max(0, min(found)) if found else None


def lateness_ms(node: Node) -> int:
    """How late the records of a step may be: the grace of windows, else what is declared before."""
    own: int | None = getattr(node.operator, "grace_ms", None)
    if own is None:
        own = getattr(node.operator, "within_ms", None)
    return delay_ms(node) if own is None else own


def windows_before(node: Node) -> set[Node]:
    """The nearest windows of the same task whose final results a step takes."""
    found: set[Node] = set()
    for parent in node.parents:
        if parent.kind == FINAL:
            found.update(parent.parents)
        elif not parent.stores:
            found |= windows_before(parent)
    return found


def late_topics(topology: "Topology") -> frozenset[str]:
    """Where late records go."""
    return frozenset(topic for node in topology if (topic := late_topic(node)))


def late_topic(node: Node) -> str | None:
    """Where the late records of a step go; None for nowhere."""
    found: str | None = getattr(node.operator, "late", None)
    return found


def check_late_topics(topology: "Topology") -> None:
    """Refuse topics of late records that would come back, and steps that have no such records.

    Raises:
        TopologyError: naming the topic or the store.
    """
    for topic in late_topics(topology):
        if topic in topology.readers:
            raise TopologyError(
                f"The application reads {topic}, where its own late records go: each of them"
                " would come back. Send them to a topic of their own.",
                topic=topic,
            )
    for node in topology:
        if late_topic(node) and (table := _store_before(node)):
            raise TopologyError(
                f"late={late_topic(node)!r} of {node!r} has no records to write: what comes to"
                f" it are results of {table!r}, which stand in no topic. Leave late= out, or put"
                " a topic in between: to_stream(...).repartition(name='...').",
                operator=node.kind,
                store=node.stores[0].name,
            )


def _above(topology: "Topology", node: Node) -> tuple[Node, ...]:
    """The steps before a step, those that write the repartition topic that it reads among them."""
    if node.source and node.source.internal:
        return tuple(topology.repartitions[topic] for topic in node.source.topics)
    return node.parents


def _below(topology: "Topology", node: Node) -> tuple[Node, ...]:
    """The steps behind a step, those that read the repartition topic that it writes among them."""
    if node.sink and node.sink.internal:
        return topology.readers[str(node.sink.topic)]
    return topology.children[node]


def _guards(
    topology: "Topology", node: Node, limit: int | None, *, declared: bool
) -> Iterator[int | None]:
    """Yield what guards each way from a step on."""
    if isinstance(node.operator, Watermark):
        limit, declared = node.operator.max_future_ms, True
    if node.timed:
        yield limit
        return
    nothing = True
    for below in _below(topology, node):
        for found in _guards(topology, below, limit, declared=declared):
            nothing = False
            yield found
    if nothing and declared:
        yield limit


def _store_before(node: Node) -> Node | None:
    for parent in node.parents:
        found = parent if parent.stores else _store_before(parent)
        if found:
            return found
    return None
