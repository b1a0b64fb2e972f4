"""Table: the latest value of each key, as declared. Its changes go to topics or streams."""

from typing import Any, Generic, Literal, overload

from typing_extensions import TypeVar

from penstock.aggregations import Declared
from penstock.errors import TopologyError
from penstock.operators.to_stream import ToStream
from penstock.stream import Stream, add_sink
from penstock.topics.topic import Topic
from penstock.topology.declaration import Declaration
from penstock.topology.node import FINAL, Node
from penstock.windows import Windowed

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


class WindowedTable(Table[Windowed[K_co], V_co], Generic[K_co, V_co]):
    """The result of each key and window.

    Its changes are there as they come (`update`), or each result once, when its window has
    closed and nothing can change it any more (`append`).
    """

    def __init__(self, declaration: Declaration, node: Node, declared: Declared) -> None:
        super().__init__(declaration, node)
        self._declared = declared
        self._ways: dict[str, Node] = {}

    @overload
    def to_stream(
        self, *, output_mode: Literal["update"] = "update"
    ) -> Stream[Windowed[K_co], V_co | None]: ...
    @overload
    def to_stream(self, *, output_mode: Literal["append"]) -> Stream[Windowed[K_co], V_co]: ...
    def to_stream(
        self, *, output_mode: Literal["append", "update"] = "update"
    ) -> Stream[Windowed[K_co], Any]:
        """Read the table's results as a stream.

        Args:
            output_mode: "update" for each change, "append" for each result once, when its window
                has closed.

        Raises:
            TopologyError: if there is no such output mode.
        """
        node = self._way(output_mode)
        stream = self._declaration.add(
            "to_stream", ToStream(), node, key=node.key, value=node.value
        )
        return Stream(self._declaration, stream)

    def to(  # pyright: ignore[reportIncompatibleMethodOverride] - of a narrower self
        self: "WindowedTable[K, V]",
        topic: str | Topic[Windowed[K], V],
        *,
        output_mode: Literal["append", "update"] = "update",
    ) -> None:
        """Write results to a topic, under keys `{"key": ..., "start": ms, "end": ms}`.

        Args:
            topic: a name, for the table's own serdes, or a Topic.
            output_mode: "update" writes what has changed in each batch, "append" each result
                once, when its window has closed, in the order of the windows.

        Raises:
            TopologyError: if there is no such output mode.
        """
        add_sink(self._declaration, self._way(output_mode), topic)

    def _way(self, output_mode: str) -> Node:
        if output_mode not in ("append", "update"):
            raise TopologyError(
                f"output_mode={output_mode!r} of the table {self.name!r} is unknown. Use 'update'"
                " or 'append'.",
                store=self.name,
            )
        if output_mode not in self._ways:
            node = self._node
            if output_mode == "append":
                node = self._declaration.add(
                    FINAL, ToStream(), node, key=node.key, value=node.value, detail=self.name
                )
            if self._declared.results is not None:
                node = add_results(self._declaration, self._declared, node)
            self._ways[output_mode] = node
        return self._ways[output_mode]


def add_results(declaration: Declaration, declared: Declared, node: Node) -> Node:
    """Declare the step that turns what a store holds into what comes out of it."""
    return declaration.add(
        "agg",
        declared.results,
        node,
        key=node.key,
        value=declared.value,
        detail=declared.detail,
        is_table=True,
        emit=node.emit,
    )
