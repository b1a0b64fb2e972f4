"""Repartition topics: where a key has changed and something behind it needs equal keys together.

Rule 1: a step that changes the key is followed by one topic, however many stateful steps come
        behind it, and by none where nothing stateful does.
Rule 2: of several changes of the key in a row, only the last one is followed by a topic.
Rule 3: what the topic is called stands in the declaration: a generated name would be lost with
        the next edit, and with it the records that are on their way.
"""

from collections.abc import Iterator, Sequence

from penstock.errors import BugError, TopologyError
from penstock.operators.sink import Sink
from penstock.operators.source import Source
from penstock.state.definition import check_name
from penstock.topology.node import Node, Reshuffle


def topic_name(application: str, name: str) -> str:
    """Return the name of a repartition topic, as Kafka Streams names it."""
    return f"{application}-{name}-repartition"


def boundaries(node: Node) -> Iterator[Node]:
    """Yield the nearest steps before a step that change the key, one for each way to it."""
    for parent in node.parents:
        if parent.reshuffle:
            yield parent
        else:
            yield from boundaries(parent)


def check_partitioned(node: Node, wanted_by: str) -> None:
    """Check that records can be brought together by key before a step that needs it.

    Raises:
        TopologyError: if the key was changed, and the topic in between has no name or serde.
    """
    for changed in [node] if node.reshuffle else boundaries(node):
        check_reshuffle(changed, wanted_by)


def check_reshuffle(node: Node, wanted_by: str) -> None:
    """Check that records can go through the repartition topic behind a step.

    Raises:
        TopologyError: if the topic has no name, or the type of keys or values is not known.
    """
    if node.reshuffle is None or node.reshuffle.name is None:
        raise TopologyError(
            f"{node!r} changes the key, and {wanted_by} behind it needs equal keys in one"
            " partition: that takes a repartition topic, and the topic a name that survives"
            f" edits. Pass one: {node.kind}(..., name='by-...').",
            operator=node.kind,
        )
    for what, found in (("keys", node.key), ("values", node.value)):
        if found.serde is None:
            raise TopologyError(
                f"The type of the {what} that go through the repartition topic of"
                f" {node!r} is not known. Pass {what[:-1]}= there, or where they are made.",
                operator=node.kind,
            )


def make_reshuffle(
    kind: str, name: str | None, partitions: int | None = None, *, always: bool = False
) -> Reshuffle:
    """Return what a step says of the repartition topic behind it; see Reshuffle.

    Raises:
        TopologyError: if the name cannot be part of a topic.
    """
    if name is not None:
        check_name(name, f"the repartition topic of {kind}")
    return Reshuffle(name, partitions, always)


def with_repartition_topics(application: str, nodes: Sequence[Node]) -> tuple[Node, ...]:
    """Return the steps with a sink and a source between those that have to be apart."""
    cuts = {cut for node in nodes if node.stores for cut in boundaries(node)}
    cuts |= {node for node in nodes if node.reshuffle and node.reshuffle.always}
    if not cuts:
        return tuple(nodes)
    rebuilt: dict[Node, Node] = {}
    found: list[Node] = []
    for node in nodes:
        rebuilt[node] = last = node.rewired(rebuilt)
        found.append(last)
        if node in cuts:
            sink, source = _topic(application, last)
            found += [sink, source]
            rebuilt[node] = source
    return tuple(found)


def _topic(application: str, node: Node) -> tuple[Node, Node]:
    reshuffle = node.reshuffle
    if reshuffle is None or reshuffle.name is None:
        raise BugError(f"{node!r} has a repartition topic without a name. Please report this.")
    topic = topic_name(application, reshuffle.name)
    key, value = node.key, node.value
    sink = Sink(topic, key, value, internal=True, partitions=reshuffle.partitions)
    source = Source((topic,), key, value, keep_nulls=True, internal=True)
    return (
        Node("to", sink, (node,), key=key, value=value, detail=topic),
        Node("stream", source, key=key, value=value, detail=topic),
    )
