"""Table: the latest value of each key, as declared. Its changes go to topics or streams."""

from typing import Any, Generic, Literal, overload

from typing_extensions import TypeVar

from penstock.aggregations import Declared, unknown_value
from penstock.errors import TopologyError
from penstock.memory import Memory
from penstock.operators.deliver import OutputMode
from penstock.operators.to_stream import ToStream
from penstock.operators.to_table import ToTable
from penstock.output_modes import add_console, add_memory, check_output_mode
from penstock.query.stored import Stored
from penstock.sinks import add_sink
from penstock.state.definition import StoreDefinition, check_name
from penstock.stream import Stream
from penstock.topics.topic import Topic
from penstock.topology.declaration import Declaration
from penstock.topology.node import FINAL, Node
from penstock.windows import Windowed

K = TypeVar("K")
V = TypeVar("V")
K_co = TypeVar("K_co", covariant=True)
V_co = TypeVar("V_co", covariant=True)


class Table(Stored[K_co, V_co], Generic[K_co, V_co]):
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
        check_output_mode(output_mode, "table", "to", self.name)
        add_sink(self._declaration, self._node, topic)

    def to_console(
        self,
        *,
        output_mode: Literal["update", "complete"] = "update",
        num_rows: int = 20,
        truncate: bool = True,
    ) -> None:
        """Print rows to stdout, as a table, once their batch is committed.

        Nothing that is aborted is shown; what was committed when the process died never is. Above
        the rows stand the number of the batch, and which partitions of which worker they are of:
        with several workers each shows its own.

        Args:
            output_mode: "update" prints the rows that each batch has changed, a deletion with
                NULL; "complete" the whole table each time that a batch has changed it, partition
                by partition in the order of the keys' bytes, which costs a read of the first
                rows of each store per batch.
            num_rows: how many rows at most.
            truncate: whether what is longer than 20 characters is cut.

        Raises:
            TopologyError: if the table has no such output mode, or `num_rows` is not positive.
        """
        check_output_mode(output_mode, "table", "to_console", self.name)
        self._console(self._node, output_mode, num_rows, truncate=truncate)

    def to_memory(
        self,
        *,
        output_mode: Literal["update", "complete"] = "update",
        max_rows: int = 100_000,
    ) -> Memory[K_co, V_co]:
        """Keep the committed rows in memory, for a notebook or a test.

        Args:
            output_mode: "update" keeps the last row of each key that changes from the start on;
                "complete" the whole table, which costs a read of it per batch.
            max_rows: how many rows to keep: those that have changed last, or the first ones of
                the whole table.

        Raises:
            TopologyError: if the table has no such output mode, or `max_rows` is not positive.
        """
        check_output_mode(output_mode, "table", "to_memory", self.name)
        return add_memory(self._declaration, self._node, output_mode, max_rows)

    def _console(self, node: Node, mode: OutputMode, num_rows: int, *, truncate: bool) -> None:
        add_console(self._declaration, node, self.name, mode, num_rows, truncate=truncate)


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
        check_output_mode(output_mode, "windowed table", "to_stream", self.name)
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
            topic: a name, for the table's own serdes, or a Topic with a key of `ps.Windowed[K]`;
                `serde.time_windowed` and `serde.session_windowed` write Kafka Streams' bytes.
            output_mode: "update" writes what has changed in each batch, "append" each result
                once, when its window has closed, in the order of the windows.

        Raises:
            TopologyError: if there is no such output mode.
        """
        check_output_mode(output_mode, "windowed table", "to", self.name)
        add_sink(self._declaration, self._way(output_mode), topic)

    def to_console(
        self, *, output_mode: OutputMode = "update", num_rows: int = 20, truncate: bool = True
    ) -> None:
        """Print rows to stdout, as a table, once their batch is committed. See `Table.to_console`.

        Args:
            output_mode: "update" prints the rows that each batch has changed, "append" each row
                once, when its window has closed, "complete" the windows that are open: a closed
                one has left the table.
            num_rows: how many rows at most.
            truncate: whether what is longer than 20 characters is cut.

        Raises:
            TopologyError: if there is no such output mode, or `num_rows` is not positive.
        """
        check_output_mode(output_mode, "windowed table", "to_console", self.name)
        self._console(self._way(output_mode), output_mode, num_rows, truncate=truncate)

    def to_memory(
        self, *, output_mode: OutputMode = "update", max_rows: int = 100_000
    ) -> Memory[Windowed[K_co], V_co]:
        """Keep the committed rows in memory, for a notebook or a test. See `Table.to_memory`.

        Args:
            output_mode: "update" keeps the last row of each window that changes from the start
                on, "append" each row whose window has closed, "complete" the open windows.
            max_rows: how many rows to keep, as there.

        Raises:
            TopologyError: if there is no such output mode, or `max_rows` is not positive.
        """
        check_output_mode(output_mode, "windowed table", "to_memory", self.name)
        return add_memory(self._declaration, self._way(output_mode), output_mode, max_rows)

    def _way(self, output_mode: OutputMode) -> Node:
        output_mode = "append" if output_mode == "append" else "update"
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


def add_table(declaration: Declaration, parent: Node, name: str) -> Table[Any, Any]:
    """Declare a table of the latest values of a step.

    Raises:
        TopologyError: if the name cannot be part of a topic, or a serde is unknown.
    """
    check_name(name, "a table")
    key, value = parent.key.serde, parent.value.serde
    if key is None:
        raise TopologyError(
            f"The type of the keys of table {name!r} is not known: pass key= where the stream"
            " is declared.",
            operator="to_table",
            store=name,
        )
    if value is None:
        raise unknown_value(parent, "to_table", name)
    node = declaration.add(
        "to_table",
        ToTable(StoreDefinition(name, key, value)),
        parent,
        key=parent.key,
        value=parent.value,
        detail=name,
        is_table=True,
    )
    return Table(declaration, node)
