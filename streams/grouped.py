"""Grouped: a stream whose records are gathered by key, ready to be aggregated."""

from collections.abc import Callable
from typing import Any, Generic, overload

from typing_extensions import TypeVar

from penstock.agg import declare_agg
from penstock.aggregators import Agg
from penstock.errors import TopologyError
from penstock.operators.aggregate import Aggregate
from penstock.operators.count import Count
from penstock.operators.reduce import Reduce
from penstock.serde.primitives import INT
from penstock.serde.types import DataType, Spec, data_type, returned, where
from penstock.state.definition import StoreDefinition, check_name
from penstock.stream import unknown_value
from penstock.table import Table
from penstock.topology.declaration import Declaration
from penstock.topology.node import Emit, Node

A = TypeVar("A")
R = TypeVar("R")
K_co = TypeVar("K_co", covariant=True)
V_co = TypeVar("V_co", covariant=True)


class Grouped(Generic[K_co, V_co]):
    """Records gathered by key. Those with a null key or value belong to no group."""

    def __init__(self, declaration: Declaration, node: Node) -> None:
        self._declaration = declaration
        self._node = node

    def count(self, *, name: str, emit: Emit = "commit") -> Table[K_co, int]:
        """Count the records of each key.

        Args:
            name: name of the store; it is part of the changelog topic.
            emit: "commit" hands on one change per key and batch, "every_update" each one.

        Raises:
            TopologyError: if the name cannot be part of a topic.
        """
        store = self._store("count", name, DataType(int, INT))
        return self._table("count", Count(store), DataType(int, INT), name, emit)

    def reduce(
        self, f: "Callable[[V_co, V_co], V_co]", *, name: str, emit: Emit = "commit"
    ) -> Table[K_co, V_co]:
        """Combine the values of each key into one of the same type.

        Args:
            f: a function of the result so far and the next value; None deletes the key.
            name: name of the store.
            emit: "commit" or "every_update", as for count.

        Raises:
            TopologyError: if the serde of the values cannot be known.
        """
        value = self._node.value
        if value.serde is None:
            raise unknown_value(self._node, "reduce", name)
        operator = Reduce(f, self._store("reduce", name, value))
        return self._table("reduce", operator, value, name, emit)

    def aggregate(
        self,
        init: Callable[[], A],
        add: "Callable[[A, V_co], A]",
        *,
        name: str,
        value: Spec[A] | None = None,
        emit: Emit = "commit",
    ) -> Table[K_co, A]:
        """Fold the values of each key into an accumulator.

        Args:
            init: makes an empty accumulator; a class is also its type.
            add: a function of accumulator and value that returns the accumulator, which it
                may change in place; None deletes the key.
            name: name of the store.
            value: type or serde of the accumulator.
            emit: "commit" or "every_update", as for count.

        Raises:
            TopologyError: if the serde of the accumulator cannot be known.
        """
        found = _accumulator(init, add) if value is None else data_type(value)
        if found.serde is None:
            raise TopologyError(
                f"The type that aggregate {name!r} stores is not known: neither"
                f" {where(init)} nor {where(add)} says what it returns. Pass value= to"
                " aggregate, or annotate one of them.",
                operator="aggregate",
                store=name,
            )
        operator = Aggregate(init, add, self._store("aggregate", name, found))
        return self._table("aggregate", operator, found, name, emit)

    @overload
    def agg(self, one: Agg[V_co, R], /, *, name: str, emit: Emit = "commit") -> Table[K_co, R]: ...
    @overload
    def agg(
        self, into: type[R], /, *, name: str, emit: Emit = "commit", **columns: Agg[V_co, Any]
    ) -> Table[K_co, R]: ...
    @overload
    def agg(
        self, /, *, name: str, emit: Emit = "commit", **columns: Agg[V_co, Any]
    ) -> Table[K_co, dict[str, Any]]: ...
    def agg(
        self, one: Any = None, /, *, name: str, emit: Emit = "commit", **columns: Agg[V_co, Any]
    ) -> Table[K_co, Any]:
        """Run aggregators over the values of each key, any number at once.

        Args:
            one: one aggregator, whose result is the value; or a class that is made of the
                results of the columns; or nothing, for a dict of them.
            name: name of the store.
            emit: "commit" or "every_update", as for count.
            columns: field = aggregator, such as `n=ps.count(), p99=ps.quantile("ms", 0.99)`.

        Raises:
            TopologyError: if a column reads a field that is not there, or the class has other
                fields than there are columns.
        """
        made = declare_agg(one, columns, self._node.value, name)
        store = self._store("agg", name, DataType(None, made.serde))
        states = self._table("agg", made.fold(store), DataType(None, made.serde), name, emit)
        node = self._declaration.add(
            "agg", made.results, states._node, key=self._node.key, value=made.value,
            detail=", ".join(columns), is_table=True, emit=emit,
        )  # fmt: skip
        return Table(self._declaration, node)

    def _store(self, kind: str, name: str, value: DataType) -> StoreDefinition:
        check_name(name, f"the store of {kind}")
        key = self._node.key
        if key.serde is None or value.serde is None:
            raise TopologyError(
                f"The type of the keys that {kind} {name!r} groups by is not known:"
                " pass key= where the stream is declared.",
                operator=kind,
                store=name,
            )
        return StoreDefinition(name, key.serde, value.serde)

    def _table(
        self, kind: str, operator: Any, value: DataType, name: str, emit: Emit
    ) -> Table[K_co, Any]:
        if emit not in ("commit", "every_update"):
            raise TopologyError(
                f"emit={emit!r} of {kind} {name!r} is unknown. Use 'commit' or 'every_update'.",
                operator=kind,
                store=name,
            )
        node = self._declaration.add(
            kind,
            operator,
            self._node,
            key=self._node.key,
            value=value,
            detail=name,
            is_table=True,
            emit=emit,
        )
        return Table(self._declaration, node)


def _accumulator(init: Callable[[], Any], add: Callable[..., Any]) -> DataType:
    found = returned(init)
    return found if found.serde is not None else returned(add)
