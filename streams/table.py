"""Table: the latest value of each key, as declared. Its changes go to topics or streams."""

from typing import Generic, Literal

from typing_extensions import TypeVar

from penstock.errors import TopologyError
from penstock.operators.to_stream import ToStream
from penstock.stream import Stream, add_sink
from penstock.topics.topic import Topic
from penstock.topology.declaration import Declaration
from penstock.topology.node import Node

K = TypeVar("K")
V = TypeVar("V")
K_co = TypeVar("K_co", covariant=True)
V_co = TypeVar("V_co", covariant=True)


class Table(Generic[K_co, V_co]):
    """The latest value of each key. Made by aggregations, never by hand."""

    def __init__(self, declaration: Declaration, node: Node) -> None:
        self._declaration = declaration
        self._node = node

    @property
    def name(self) -> str:
        """The name of its store."""
        node = self._node
        while node.store is None and node.parents:  # what is made of a store's values
            (node,) = node.parents
        return node.store.name if node.store else ""

    def to_stream(self) -> Stream[K_co, V_co | None]:
        """Read the table's changes as a stream; a deletion is a record with value None."""
        node = self._declaration.add(
            "to_stream",
            ToStream(),
            self._node,
            key=self._node.key,
            value=self._node.value,
        )
        return Stream(self._declaration, node)

    def to(
        self: "Table[K, V]",
        topic: str | Topic[K, V],
        *,
        output_mode: Literal["update"] = "update",
    ) -> None:
        """Write each change to a topic: the new value, or a tombstone for a deletion.

        Args:
            topic: a name, for the table's own serdes, or a Topic.
            output_mode: "update" writes the changed keys of each batch, each once.

        Raises:
            TopologyError: if the output mode cannot be written to a topic.
        """
        if output_mode != "update":
            raise TopologyError(
                f"output_mode={output_mode!r} cannot be written to a topic from the table"
                f" {self.name!r}: a table without windows goes out as 'update'. Leave it out."
            )
        add_sink(self._declaration, self._node, topic)
