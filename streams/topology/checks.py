"""Checks of declared steps: names that are the identity of state, and topics read in one way."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from penstock.errors import TopologyError
from penstock.state.definition import same_place
from penstock.topology.node import Node
from penstock.topology.repartition import topic_name

if TYPE_CHECKING:
    from penstock.topology.graph import Topology

MAX_TOPIC = 249  # characters of a topic's name
_NEITHER = "Neither case nor '.' for '_' makes a difference."


def check_names(application: str, nodes: Sequence[Node]) -> None:
    """Check that no two stores or repartition topics have one name, and none is too long.

    Args:
        application: the application id.
        nodes: the steps as declared.

    Raises:
        TopologyError: naming the store or the topic.
    """
    _check_store_names(nodes)
    _check_changelogs(application, nodes)
    _check_repartitions(application, nodes)


def check_sources(nodes: Sequence[Node]) -> None:
    """Check that no topic is read in two ways.

    Raises:
        TopologyError: if one is.
    """
    readers: dict[str, Node] = {}
    for node in nodes:
        for topic in node.topics:
            other = readers.setdefault(topic, node)
            if _read(other) != _read(node):
                raise TopologyError(
                    f"Two streams read the topic {topic} with different types, serdes, start"
                    " positions or on_error. Read it once and use that stream twice, or declare a"
                    " Topic and pass it to both.",
                    operator=node.kind,
                    topic=topic,
                )


def check_dead_letters(topology: "Topology") -> None:
    """Check that the application does not read its own dead letters.

    Raises:
        TopologyError: if it does.
    """
    for topic in topology.dead_letter_topics:
        if topic in topology.readers:
            raise TopologyError(
                f"The application reads {topic}, where its own dead letters go: each of them"
                " would come back. Send them to a topic of their own.",
                topic=topic,
            )


def _check_store_names(nodes: Sequence[Node]) -> None:
    owners: dict[str, Node] = {}
    for node in nodes:
        for name in [store.name for store in node.stores]:
            other = owners.setdefault(same_place(name), node)
            if other is not node:
                raise TopologyError(
                    f"Two steps own a store named {name!r}: {other!r} and {node!r}. Names are the"
                    f" identity of state: give each its own name=. {_NEITHER}",
                    store=name,
                )


def _check_changelogs(application: str, nodes: Sequence[Node]) -> None:
    for node in nodes:
        for store in node.stores:
            changelog = store.changelog(application)
            if len(changelog) > MAX_TOPIC:
                raise TopologyError(
                    f"The changelog topic {changelog} would have {len(changelog)} characters; Kafka"
                    f" takes {MAX_TOPIC}. Shorten the application id or the name of the store.",
                    operator=node.kind,
                    store=store.name,
                )


def _check_repartitions(application: str, nodes: Sequence[Node]) -> None:
    owners: dict[str, Node] = {}
    for node in nodes:
        name = node.reshuffle.name if node.reshuffle else None
        if name is None:
            continue
        topic = topic_name(application, name)
        if len(topic) > MAX_TOPIC:
            raise TopologyError(
                f"The repartition topic {topic} would have {len(topic)} characters; Kafka takes"
                f" {MAX_TOPIC}. Shorten the application id or the name of the topic.",
                operator=node.kind,
            )
        other = owners.setdefault(same_place(name), node)
        if other is not node:
            raise TopologyError(
                f"Two steps have a repartition topic named {name!r}: {other!r} and {node!r}."
                f" Use the stream behind one of them twice, or give each its own name=. {_NEITHER}",
                operator=node.kind,
            )


def _read(node: Node) -> tuple[object, ...]:
    source = node.source
    return (node.key, node.value, source.start, source.on_error) if source else ()
