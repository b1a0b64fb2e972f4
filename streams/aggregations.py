"""What aggregations declare: a fold for a store, what it holds, and what comes out of it."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_origin, is_typeddict

import msgspec

from penstock.aggregators import AnyAgg, column_of
from penstock.errors import TopologyError
from penstock.operators.agg import Column, Fold, Results, StatesSerde
from penstock.operators.aggregate import Aggregate
from penstock.operators.count import Count
from penstock.operators.fields import fields_of, type_name
from penstock.operators.reduce import Reduce
from penstock.serde.primitives import INT
from penstock.serde.types import DataType, data_type, returned, where
from penstock.state.definition import StoreDefinition
from penstock.topology.node import Node

ONLY = "value"


@dataclass(frozen=True)
class Declared:
    """An aggregation before it has a store.

    Attributes:
        kind: as users call it.
        held: type and serde of what the store holds.
        fold: makes the step of a store.
        value: type and serde of what comes out.
        results: the step that turns what is held into what comes out; None where it is that.
        detail: what describe() says of that step.
    """

    kind: str
    held: DataType
    fold: Callable[[StoreDefinition], Any]
    value: DataType
    results: Results | None = None
    detail: str = ""


def declare_count() -> Declared:
    """Declare a count of records."""
    kind = DataType(int, INT)
    return Declared("count", kind, Count, kind)


def declare_reduce(node: Node, f: Callable[[Any, Any], Any], name: str) -> Declared:
    """Declare a reduction of a step's values.

    Raises:
        TopologyError: if the serde of the values cannot be known.
    """
    if node.value.serde is None:
        raise unknown_value(node, "reduce", name)
    return Declared("reduce", node.value, lambda store: Reduce(f, store), node.value)


def declare_aggregate(
    init: Callable[[], Any],
    add: Callable[..., Any],
    value: Any,
    name: str,
    merge: Callable[[Any, Any], Any] | None = None,
) -> Declared:
    """Declare a fold into an accumulator.

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
    return Declared("aggregate", found, lambda store: Aggregate(init, add, store, merge), found)


def declare_agg(
    one: Any,
    columns: Mapping[str, AnyAgg[Any, Any]],
    values: DataType,
    name: str,
) -> Declared:
    """Bind the columns of an `agg` to the values of a stream.

    Args:
        one: an aggregator, a class, or None.
        columns: aggregators by the name of their field.
        values: type of the values that they read.
        name: name of the store, for messages.

    Raises:
        TopologyError: if that is no aggregation.
    """
    if only := column_of(one):
        if columns:
            raise _wrong(name, "has an aggregator without a name and others with one. Name it too.")
        column = only.bind(values)
        return _agg({ONLY: column}, None, _known(column.type))
    if not columns:
        raise _wrong(name, "has no columns. Pass some, such as n=ps.count().")
    bound: dict[str, Column] = {}
    for field, of in columns.items():
        column_at = column_of(of)
        if column_at is None:
            raise _wrong(
                name,
                f"has {field}={of!r}, which is none. Use one of ps.count, ps.sum ..., or an object"
                " with init, add, merge and result.",
            )
        bound[field] = column_at.bind(values)
    if one is None:
        return _agg(bound, dict, data_type(dict[str, Any]))
    _check_fields(one, bound, name)
    return _agg(bound, one, data_type(one))


def _agg(
    columns: Mapping[str, Column], into: Callable[..., Any] | None, value: DataType
) -> Declared:
    folded = tuple(columns.values())
    return Declared(
        "agg",
        DataType(None, StatesSerde(columns)),
        lambda store: Fold(folded, store),
        value,
        Results(columns, into),
        ", ".join(columns) if into else "",
    )


def _accumulator(init: Callable[[], Any], add: Callable[..., Any]) -> DataType:
    found = returned(init)
    return found if found.serde is not None else returned(add)


def _check_fields(into: Any, columns: Mapping[str, Column], name: str) -> None:
    fields = fields_of(into) or {}
    if unknown := [field for field in columns if field not in fields]:
        raise _wrong(
            name,
            f"has columns that {type_name(into)} has no fields for: {', '.join(unknown)}. Its"
            f" fields are: {', '.join(fields) or 'none'}.",
        )
    missing = [field for field in fields if field not in columns and not _has_default(into, field)]
    if missing:
        raise _wrong(
            name, f"gives {type_name(into)} no {', '.join(missing)}. Add a column for each."
        )


def _has_default(into: Any, field: str) -> bool:
    if is_typeddict(into):
        return field in into.__optional_keys__
    if dataclasses.is_dataclass(into):
        found = next(f for f in dataclasses.fields(into) if f.name == field)
        empty = dataclasses.MISSING
        return found.default is not empty or found.default_factory is not empty
    return not next(f for f in msgspec.structs.fields(into) if f.name == field).required


def _known(type: Any) -> DataType:
    # A dict or a list of anything is JSON as well; what is unknown has to be said at a topic.
    return DataType() if type is None or get_origin(type) is Any else data_type(type)


def _wrong(name: str, what: str) -> TopologyError:
    return TopologyError(
        f"The columns of agg {name!r} are wrong: it {what}", operator="agg", store=name
    )


def unknown_value(parent: Node, kind: str, name: str) -> TopologyError:
    """Make the error for a store whose value type cannot be known."""
    return TopologyError(
        f"The type that {kind} {name!r} stores is not known: {parent!r} says nothing"
        f" of it. Pass value= to {kind}, or annotate what the function returns.",
        operator=kind,
        store=name,
    )
