"""A topology: the immutable graph of an application, and its parts that run on their own.

A sub-topology is a connected part: steps that share a parent or an input topic, or read each
other's table. Its inputs are read together, partition by partition, and one such partition is a
task. A topic belongs to exactly one sub-topology.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from penstock.errors import TopologyError
from penstock.operators.deliver import Deliver
from penstock.operators.on_error import DeadLetter, OnError
from penstock.operators.sink import Sink
from penstock.operators.to_stream import ToStream
from penstock.state.definition import StoreDefinition
from penstock.topology.checks import check_dead_letters, check_names, check_sources
from penstock.topology.event_time import check_late_topics
from penstock.topology.lookup import check_lookups
from penstock.topology.node import FINAL, Node
from penstock.topology.repartition import with_repartition_topics
from penstock.topology.timing import Timing


@dataclass(frozen=True)
class SubTopology:
    """Steps that run together in one task per partition.

    Attributes:
        number: for display only; names are the identity of state.
        nodes: the steps, parents first.
    """

    number: int
    nodes: tuple[Node, ...]

    @cached_property
    def sources(self) -> tuple[Node, ...]:
        """The steps that read topics."""
        return tuple(node for node in self.nodes if node.source)

    @cached_property
    def stateful(self) -> tuple[Node, ...]:
        """The steps that own a store, or something else in each task."""
        return tuple(node for node in self.nodes if node.per_task)

    @cached_property
    def stores(self) -> tuple[StoreDefinition, ...]:
        """The stores, in the order of their steps."""
        return tuple(store for node in self.stateful for store in node.stores)

    @cached_property
    def topics(self) -> tuple[str, ...]:
        """The input topics that are named, each once."""
        return tuple(dict.fromkeys(t for node in self.sources for t in node.topics))


@dataclass(frozen=True)
class Topology:
    """All steps of an application.

    Attributes:
        application: the application id.
        nodes: the steps, parents first.
        on_error: what becomes of records that fail, where their stream says nothing else.
    """

    application: str
    nodes: tuple[Node, ...]
    on_error: OnError = "fail"

    @cached_property
    def children(self) -> dict[Node, tuple[Node, ...]]:
        """The steps that each step feeds."""
        found: dict[Node, list[Node]] = {node: [] for node in self.nodes}
        for node in self.nodes:
            for parent in node.parents:
                found[parent].append(node)
        return {node: tuple(children) for node, children in found.items()}

    @cached_property
    def readers(self) -> dict[str, tuple[Node, ...]]:
        """The steps that read each topic."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for topic in node.topics:
                found.setdefault(topic, []).append(node)
        return {topic: tuple(nodes) for topic, nodes in found.items()}

    @cached_property
    def repartitions(self) -> dict[str, Node]:
        """The sinks of repartition topics, by topic."""
        return {
            str(node.sink.topic): node for node in self.nodes if node.sink and node.sink.internal
        }

    @cached_property
    def dead_letter_topics(self) -> frozenset[str]:
        """Where dead letters go."""
        policies = {self.on_error, *(self.on_error_of(topic) for topic in self.readers)}
        return frozenset(found.topic for found in policies if isinstance(found, DeadLetter))

    def on_error_of(self, topic: str) -> OnError:
        """What becomes of records of an input that fail."""
        source = self.readers[topic][0].source
        return source.on_error if source and source.on_error else self.on_error

    @cached_property
    def sub_topologies(self) -> tuple[SubTopology, ...]:
        """The connected parts, in the order of their first step."""
        parts = _connected(self.nodes)
        return tuple(SubTopology(number, part) for number, part in enumerate(parts))

    @cached_property
    def stores(self) -> tuple[StoreDefinition, ...]:
        """All stores."""
        return tuple(store for part in self.sub_topologies for store in part.stores)

    @cached_property
    def labels(self) -> dict[Node, str]:
        """A name for each step, for describe() and messages; never for topics or disk."""
        return {node: f"{node.kind}-{number}" for number, node in enumerate(self.nodes)}

    def coalesces(self, node: Node) -> bool:
        """Whether a stateful step may hand on one change per key and batch.

        Only where nobody can tell: every step behind it turns each change into exactly one,
        up to a sink with one topic. Where a filter drops the last of several changes, the
        one before it must have gone out. Nor in front of a table that another step reads: it
        has to be up to date at each record.
        """
        return node.emit == "commit" and not self.tells_apart(node)

    def tells_apart(self, node: Node) -> list[Node]:
        """Return the steps behind a step that can tell one change of a key from several."""
        below, read = self._below(node), self._looked_into
        return [of for of in self.nodes if of in below and (of in read or not _one_to_one(of))]

    @cached_property
    def _looked_into(self) -> frozenset[Node]:
        """The steps whose stores other steps read."""
        return frozenset(node.looks_into.from_store[0] for node in self.nodes if node.looks_into)

    @cached_property
    def timing(self) -> Timing:
        """How event time comes to the steps."""
        return Timing(self.nodes)

    def needs_time(self, part: SubTopology) -> bool:
        """Whether a step of a part, or behind the topics that it writes, goes by event time."""
        if any(node.timed for node in part.stateful):
            return True
        topics = {str(node.sink.topic) for node in part.nodes if node.sink and node.sink.internal}
        return any(
            self.needs_time(other)
            for other in self.sub_topologies
            if topics.intersection(other.topics)
        )

    def feeders(self, part: SubTopology) -> list[tuple[SubTopology, int]]:
        """What writes the repartition topics that a part reads, with how late that is by design.

        Returns:
            part and milliseconds for each topic; none where a part reads no repartition topic.
        """
        found: list[tuple[SubTopology, int]] = []
        for topic in part.topics:
            sink = self.repartitions.get(topic)
            if sink is not None:
                writer = next(of for of in self.sub_topologies if sink in of.nodes)
                found.append((writer, self.timing.delay_ms(sink)))
        return found

    @cached_property
    def works_behind_stores(self) -> bool:
        """Whether functions run when stores are flushed: behind them, or as timers fire."""
        ahead = [node for node in self.nodes if node.stores]
        if any(getattr(node.operator, "has_timers", False) for node in ahead):
            return True
        while ahead:
            behind = self.children[ahead.pop()]
            if not all(isinstance(of.operator, Deliver | Sink | ToStream) for of in behind):
                return True
            ahead += behind
        return False

    def shares_values(self, node: Node) -> bool:
        """Whether steps that run after a step see the very objects that it was given."""
        for parent in node.parents:
            children = self.children[parent]
            if children.index(node) < len(children) - 1:
                return True
            if parent.keeps_records and self.shares_values(parent):
                return True
        return False

    def interleaves(self, part: SubTopology) -> bool:
        """Whether what one input record turns into comes together again on several ways.

        Where it does, at a merge, in a topic or in a table that a step reads, the order of a
        key's records would depend on how the input is cut, unless one record of a key is taken
        at a time.
        """
        meeting: dict[object, list[Node]] = {}
        for node in part.nodes:
            place = node.sink.topic if node.sink else node
            meeting.setdefault(place, []).extend(node.parents)
            if node.looks_into:
                meeting[place].append(node.looks_into)
        return any(map(self._overlap, meeting.values()))

    def _overlap(self, nodes: Sequence[Node]) -> bool:
        origins = [topic for node in nodes for topic in _origins(node)]
        return len(origins) > len(set(origins))

    def _below(self, node: Node) -> set[Node]:
        """Every step that a step feeds, directly or not, through topics of the application too."""
        found: set[Node] = set()
        ahead = [node]
        while ahead:
            for child in self._fed(ahead.pop()):
                if child not in found:
                    found.add(child)
                    ahead.append(child)
        return found

    def _fed(self, node: Node) -> tuple[Node, ...]:
        topic = node.sink.topic if node.sink else None
        return self.readers.get(topic, ()) if isinstance(topic, str) else self.children[node]

    def reads(self, source: Node, column: str) -> bool:
        """Whether a step behind a source, short of the next store's results, reads a column.

        Through repartition topics too: a column that nobody reads there is not written.
        """
        for child in self.children[source]:
            if child.sink and child.sink.internal:
                found = any(self.reads(reader, column) for reader in self._fed(child))
            else:
                behind = child.keeps_records and self.reads(child, column)
                found = behind or column in child.operator.reads
            if found:
                return True
        return False

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)


def make_topology(application: str, nodes: Sequence[Node], on_error: OnError = "fail") -> Topology:
    """Return the topology of declared steps.

    Raises:
        TopologyError: if nothing is read, two stores have one name, a changelog's name is too
            long, a topic is read as two types, two repartition topics have one name, or what
            has failed or was late goes to a topic that is read, or a step cannot run beside the
            table that it reads.
    """
    if not nodes:
        raise TopologyError(
            f"Application {application!r} reads nothing. Declare a stream:"
            " app.stream('topic', value=...)."
        )
    check_names(application, nodes)
    nodes = with_repartition_topics(application, nodes)
    check_sources(nodes)
    topology = Topology(application, nodes, on_error)
    check_dead_letters(topology)
    check_lookups(topology)
    check_late_topics(topology)
    return topology


def _origins(node: Node) -> set[str]:
    return set(node.topics).union(*map(_origins, node.parents))


# What reads a topic of the application hands each change on as it is.
_ONE_TO_ONE = frozenset(
    (
        "to_stream",
        "map",
        "select",
        "observe",
        "repartition",
        "stream",
        "to_table",
        "agg",
        "with_watermark",
    )
) | {"to_console", "to_memory", FINAL}


def _one_to_one(node: Node) -> bool:
    return node.kind in _ONE_TO_ONE or (node.sink is not None and isinstance(node.sink.topic, str))


def _connected(nodes: Sequence[Node]) -> list[tuple[Node, ...]]:
    group: dict[Node, list[Node]] = {}
    by_topic: dict[str, Node] = {}
    for node in nodes:
        group[node] = [node]
        linked = [*node.parents, *([node.looks_into] if node.looks_into else [])]
        for topic in node.topics:
            linked.append(by_topic.setdefault(topic, node))
        for other in linked:
            _join(group, node, other)
    parts = {id(members): members for members in group.values()}
    order = {node: number for number, node in enumerate(nodes)}
    return [tuple(sorted(members, key=order.__getitem__)) for members in parts.values()]


def _join(group: dict[Node, list[Node]], one: Node, other: Node) -> None:
    into, members = group[other], group[one]
    if into is members:
        return
    into.extend(members)
    for member in members:
        group[member] = into
