"""Grouped: a stream whose records are gathered by key, ready to be aggregated."""

from collections.abc import Callable
from typing import Any, Generic, overload

from typing_extensions import TypeVar

from penstock.aggregations import (
    Declared,
    declare_agg,
    declare_aggregate,
    declare_count,
    declare_reduce,
)
from penstock.aggregators import AnyAgg
from penstock.durations import Duration, milliseconds
from penstock.errors import TopologyError
from penstock.operators.sessions import SessionAggregation
from penstock.operators.sliding import SlidingAggregation
from penstock.operators.windowed import WindowedAggregation
from penstock.serde.sessions import SessionKeySerde, SessionsSerde
from penstock.serde.sliding import SlidingSerde
from penstock.serde.types import DataType, Serde, Spec
from penstock.serde.windowed import StoredWindowSerde, windowed
from penstock.state.definition import StoreDefinition, check_name
from penstock.table import Table, WindowedTable, add_results
from penstock.topology.declaration import Declaration
from penstock.topology.event_time import delay_ms
from penstock.topology.node import Emit, Node
from penstock.windows import SessionWindows, SlidingWindows, Windows

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
        return self._table(declare_count(), name, emit)

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
        return self._table(declare_reduce(self._node, f, name), name, emit)

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
        return self._table(declare_aggregate(init, add, value, name), name, emit)

    @overload
    def agg(
        self, one: AnyAgg[V_co, R], /, *, name: str, emit: Emit = "commit"
    ) -> Table[K_co, R]: ...
    @overload
    def agg(
        self,
        into: type[R],
        /,
        *,
        name: str,
        emit: Emit = "commit",
        **columns: AnyAgg[V_co, Any],
    ) -> Table[K_co, R]: ...
    @overload
    def agg(
        self,
        /,
        *,
        name: str,
        emit: Emit = "commit",
        **columns: AnyAgg[V_co, Any],
    ) -> Table[K_co, dict[str, Any]]: ...
    def agg(
        self,
        one: Any = None,
        /,
        *,
        name: str,
        emit: Emit = "commit",
        **columns: AnyAgg[V_co, Any],
    ) -> Table[K_co, Any]:
        """Run aggregators over the values of each key, any number at once.

        Args:
            one: one aggregator, whose result is the value; or a class that is made of the
                results of the columns; or nothing, for a dict of them.
            name: name of the store.
            emit: "commit" or "every_update", as for count.
            columns: field = aggregator, such as `n=ps.count(), p99=ps.quantile("ms", 0.99)`, or
                an object of your own with the methods of `Aggregator`.

        Raises:
            TopologyError: if a column reads a field that is not there, or the class has other
                fields than there are columns.
        """
        return self._table(declare_agg(one, columns, self._node.value, name), name, emit)

    def window(
        self,
        window: Windows,
        *,
        grace: Duration | None = None,
        late: str | None = None,
    ) -> "WindowedGrouped[K_co, V_co]":
        """Gather the records of each key by windows of event time too.

        Args:
            window: how time is cut: `ps.tumbling("1m")`, `ps.hopping("10m", "5m")`,
                `ps.sliding("10m")`, `ps.session("5m")`.
            grace: how long a window waits for late records behind its end, as event time goes
                on. Left out, it is the delay of the last `with_watermark` before, or nothing.
                What comes later is left out of the window and counted.
            late: a topic for records that came too late. They go there in the same transaction,
                key and value as they were read, with headers that begin with `__penstock.late.`:
                store, window.start and window.end of the windows that they have missed,
                stream_time, topic, partition, offset, timestamp. It has to exist.

        Raises:
            TopologyError: if that is no window, grace is negative, or late names no topic.
        """
        if not isinstance(window, Windows):
            raise TopologyError(
                f"window({window!r}) is none. Pass ps.tumbling, ps.hopping, ps.sliding or"
                " ps.session, such as ps.tumbling('1m')."
            )
        if late is not None and not (isinstance(late, str) and late):
            raise TopologyError(
                f"late={late!r} names no topic. Pass the name of one: late='events-late'."
            )
        grace_ms = delay_ms(self._node) if grace is None else milliseconds(grace)
        return WindowedGrouped(self._declaration, self._node, window, grace_ms, late)

    def _table(self, declared: Declared, name: str, emit: Emit) -> Table[K_co, Any]:
        key = _checked(declared, self._node, name, emit)
        store = StoreDefinition(name, key, _serde(declared), _shown(declared))
        operator = declared.fold(store)
        node = _add(self._declaration, declared, operator, self._node, self._node.key, name, emit)
        if declared.results is not None:
            node = add_results(self._declaration, declared, node)
        return Table(self._declaration, node)


class WindowedGrouped(Generic[K_co, V_co]):
    """Records gathered by key and window."""

    def __init__(
        self,
        declaration: Declaration,
        node: Node,
        windows: Windows,
        grace_ms: int,
        late: str | None = None,
    ) -> None:
        self._declaration = declaration
        self._node = node
        self._windows = windows
        self._grace_ms = grace_ms
        self._late = late

    def count(self, *, name: str, emit: Emit = "commit") -> WindowedTable[K_co, int]:
        """Count the records of each key and window.

        Args:
            name: name of the store; it is part of the changelog topic.
            emit: "commit" hands on one change per key, window and batch, "every_update" each one.

        Raises:
            TopologyError: if the name cannot be part of a topic.
        """
        return self._table(declare_count(), name, emit)

    def reduce(
        self, f: "Callable[[V_co, V_co], V_co]", *, name: str, emit: Emit = "commit"
    ) -> WindowedTable[K_co, V_co]:
        """Combine the values of each key and window into one of the same type.

        Args:
            f: a function of the result so far and the next value; where a record joins two
                sessions, of both results.
            name: name of the store.
            emit: "commit" or "every_update", as for count.

        Raises:
            TopologyError: if the serde of the values cannot be known.
        """
        return self._table(declare_reduce(self._node, f, name), name, emit)

    def aggregate(
        self,
        init: Callable[[], A],
        add: "Callable[[A, V_co], A]",
        *,
        name: str,
        merge: Callable[[A, A], A] | None = None,
        value: Spec[A] | None = None,
        emit: Emit = "commit",
    ) -> WindowedTable[K_co, A]:
        """Fold the values of each key and window into an accumulator.

        Args:
            init: makes an empty accumulator; a class is also its type.
            add: a function of accumulator and value that returns the accumulator, which it
                may change in place.
            name: name of the store.
            merge: a function of two accumulators that returns one; sessions need it.
            value: type or serde of the accumulator.
            emit: "commit" or "every_update", as for count.

        Raises:
            TopologyError: if the serde of the accumulator cannot be known, or `merge` is
                missing over sessions.
        """
        return self._table(declare_aggregate(init, add, value, name, merge), name, emit)

    @overload
    def agg(
        self, one: AnyAgg[V_co, R], /, *, name: str, emit: Emit = "commit"
    ) -> WindowedTable[K_co, R]: ...
    @overload
    def agg(
        self,
        into: type[R],
        /,
        *,
        name: str,
        emit: Emit = "commit",
        **columns: AnyAgg[V_co, Any],
    ) -> WindowedTable[K_co, R]: ...
    @overload
    def agg(
        self,
        /,
        *,
        name: str,
        emit: Emit = "commit",
        **columns: AnyAgg[V_co, Any],
    ) -> WindowedTable[K_co, dict[str, Any]]: ...
    def agg(
        self,
        one: Any = None,
        /,
        *,
        name: str,
        emit: Emit = "commit",
        **columns: AnyAgg[V_co, Any],
    ) -> WindowedTable[K_co, Any]:
        """Run aggregators over the values of each key and window, any number at once.

        Args:
            one: one aggregator, whose result is the value; or a class that is made of the
                results of the columns; or nothing, for a dict of them.
            name: name of the store.
            emit: "commit" or "every_update", as for count.
            columns: field = aggregator, such as `n=ps.count(), p99=ps.quantile("ms", 0.99)`, or
                an object of your own with the methods of `Aggregator`.

        Raises:
            TopologyError: if a column reads a field that is not there, or the class has other
                fields than there are columns.
        """
        return self._table(declare_agg(one, columns, self._node.value, name), name, emit)

    def _table(self, declared: Declared, name: str, emit: Emit) -> WindowedTable[K_co, Any]:
        key, value = _checked(declared, self._node, name, emit), _serde(declared)
        operator = self._operator(declared, name, key, value)
        shown = windowed(self._node.key)
        node = _add(self._declaration, declared, operator, self._node, shown, name, emit)
        return WindowedTable(self._declaration, node, declared)

    def _operator(
        self, declared: Declared, name: str, key: Serde[Any], value: Serde[Any]
    ) -> WindowedAggregation | SessionAggregation | SlidingAggregation:
        of, grace_ms = self._windows, self._grace_ms
        if not isinstance(of, SessionWindows | SlidingWindows):
            stored = StoredWindowSerde(key, of.end, of.describe())
            store = StoreDefinition(name, stored, value, _shown(declared))
            return WindowedAggregation(
                declared.fold(store), of, grace_ms, key, store, late=self._late
            )
        keys = SessionKeySerde(key, of.describe())
        if isinstance(of, SlidingWindows):
            serde = SlidingSerde(value, of.size_ms)
            store = StoreDefinition(name, keys, serde, _shown(declared))
            return SlidingAggregation(
                declared.fold(store), of, grace_ms, key, value, store, late=self._late
            )
        store = StoreDefinition(name, keys, SessionsSerde(value), _shown(declared))
        fold = declared.fold(store)
        if fold.merge is None:
            raise TopologyError(
                f"aggregate {name!r} over sessions merges accumulators where a record joins two"
                " sessions. Pass merge=, a function of two accumulators that returns one.",
                operator=declared.kind,
                store=name,
            )
        return SessionAggregation(fold, of, grace_ms, key, value, store, late=self._late)


def _checked(declared: Declared, node: Node, name: str, emit: Emit) -> Serde[Any]:
    """Check name and emit; return the serde of the keys."""
    check_name(name, f"the store of {declared.kind}")
    if emit not in ("commit", "every_update"):
        raise TopologyError(
            f"emit={emit!r} of {declared.kind} {name!r} is unknown. Use 'commit' or"
            " 'every_update'.",
            operator=declared.kind,
            store=name,
        )
    if node.key.serde is None:
        raise TopologyError(
            f"The type of the keys that {declared.kind} {name!r} groups by is not known:"
            " pass key= where the stream is declared.",
            operator=declared.kind,
            store=name,
        )
    return node.key.serde


def _serde(declared: Declared) -> Serde[Any]:
    assert declared.held.serde is not None
    return declared.held.serde


def _shown(declared: Declared) -> Callable[[Any], Any] | None:
    """Return what makes a result of what the store holds."""
    return declared.results.builder() if declared.results else None


def _add(
    declaration: Declaration, declared: Declared, operator: Any, parent: Node,
    key: DataType, name: str, emit: Emit,
) -> Node:  # fmt: skip
    return declaration.add(
        declared.kind, operator, parent, key=key, value=declared.held, detail=name, is_table=True,
        emit=emit,
    )  # fmt: skip
