"""Patterns of topics, resolved to the topics that there are."""

import dataclasses
from collections.abc import Sequence

from penstock.errors import TopologyError
from penstock.operators.source import Source
from penstock.topology.graph import Topology, make_topology
from penstock.topology.node import Node

_INTERNAL = ("-changelog", "-repartition", "-progress")


def resolve(topology: Topology, topics: Sequence[str], *, missing_ok: bool = False) -> Topology:
    """Return the topology with each pattern replaced by the topics that match.

    Args:
        topology: as declared.
        topics: the names of all topics.
        missing_ok: whether a pattern may match none and then stays a pattern.

    Raises:
        TopologyError: if a pattern matches none, or what is matched is read as two types.
    """
    if not any(node.source and node.source.pattern for node in topology):
        return topology
    replaced: dict[Node, Node] = {}
    for node in topology:
        operator = node.operator
        if node.source and node.source.pattern:
            operator = _match(node.source, topology.application, topics, missing_ok=missing_ok)
        replaced[node] = node.rewired(replaced, operator)
    return make_topology(topology.application, tuple(replaced.values()), topology.on_error)


def _match(source: Source, application: str, topics: Sequence[str], *, missing_ok: bool) -> Source:
    found = [
        topic
        for topic in topics
        if source.pattern
        and source.pattern.fullmatch(topic)
        and not topic.startswith("__")
        and not (topic.startswith(f"{application}-") and topic.endswith(_INTERNAL))
    ]
    if not found:
        if missing_ok:
            return source
        pattern = source.pattern.pattern if source.pattern else ""
        raise TopologyError(
            f"No topic matches the pattern {pattern!r}. Patterns have to match the whole name"
            " and are resolved when the application starts: create the topic first, or"
            " correct the pattern."
        )
    return dataclasses.replace(source, topics=tuple(found), pattern=None)
