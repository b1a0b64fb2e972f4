"""What a `to` declares: where records go, and under which types of keys and values."""

from collections.abc import Callable
from typing import Any

from penstock.errors import TopologyError
from penstock.operators.fields import type_name
from penstock.operators.sink import Sink
from penstock.serde.types import where
from penstock.topics.topic import Topic
from penstock.topology.declaration import Declaration
from penstock.topology.keys import never_equal
from penstock.topology.node import Node


def add_sink(
    declaration: Declaration, parent: Node, topic: str | Topic[Any, Any] | Callable[[Any], str]
) -> None:
    """Declare that a step's records go to a topic.

    Raises:
        TopologyError: if a serde is unknown, or the topic's key type is another one.
    """
    name: str | Callable[[Any], str]
    if isinstance(topic, Topic):
        key, value, name = topic.key_type, topic.value_type, topic.name
    else:
        key, value, name = parent.key, parent.value, topic
    shown = name if isinstance(name, str) else where(name)
    if value.serde is None:
        raise TopologyError(
            f"The type of the values that go to {shown} is not known: {parent!r} has no"
            " return annotation. Add one, pass value= there, or write to a"
            f" Topic({shown!r}, value=...).",
            operator=parent.kind,
            topic=shown,
        )
    if key.serde is None:
        raise TopologyError(
            f"The type of the keys that go to {shown} is not known: pass key= to"
            f" {parent!r}, or write to a Topic({shown!r}, key=..., value=...).",
            operator=parent.kind,
            topic=shown,
        )
    if never_equal(parent.key.type, key.type):
        raise TopologyError(
            f"Topic {shown!r} has keys of type {type_name(key.type)}, the keys of"
            f" {parent!r} are {type_name(parent.key.type)}. Declare both with one type:"
            f" Topic({shown!r}, key={type_name(parent.key.type)}, ...).",
            operator=parent.kind,
            topic=shown,
        )
    declaration.add("to", Sink(name, key, value), parent, key=key, value=value, detail=shown)
