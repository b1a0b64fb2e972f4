"""Repartition topics: where a key has changed and something behind it needs equal keys together.

Rule 1: a step that changes the key is followed by one topic, however many stateful steps come
        behind it, and by none where nothing stateful does.
Rule 2: of several changes of the key in a row, only the last one is followed by a topic.
Rule 3: what the topic is called stands in the declaration: a generated name would be lost with
        the next edit, and with it the records that are on their way.
"""

from collections.abc import Iterator, Sequence

from penstock.errors import BugError
from penstock.operators.sink import Sink
from penstock.operators.source import Source
from penstock.topology.node import Node


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
