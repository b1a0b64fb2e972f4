"""What an `observe` declares: its name, and the aggregators that it asks."""

from collections.abc import Iterable, Mapping
from typing import Any

from penstock.aggregators import AnyAgg, column_of
from penstock.errors import TopologyError
from penstock.operators.agg import Column
from penstock.operators.observe import Observe
from penstock.topology.node import Node


def declare_observe(
    node: Node, name: str, aggregates: Mapping[str, AnyAgg[Any, Any]], nodes: Iterable[Node]
) -> Observe:
    """Declare the step behind another one.

    Args:
        node: the step before.
        name: of what is observed.
        aggregates: by the names of their results.
        nodes: all steps that are there already.

    Raises:
        TopologyError: if the name is taken or empty, there is nothing to ask, what is passed is
            no aggregator, or it reads a field that the value has not.
    """
    if not isinstance(name, str) or not name.strip():
        raise _wrong(name, "has no name. Give it one, as text: observe('orders', n=ps.count()).")
    if any(isinstance(of.operator, Observe) and of.operator.name == name for of in nodes):
        raise _wrong(
            name, "is there twice. Give each its own name: they would be one in the progress."
        )
    if not aggregates:
        raise _wrong(name, f"asks nothing. Pass aggregators: observe({name!r}, n=ps.count()).")
    columns: dict[str, Column] = {}
    for field, aggregate in aggregates.items():
        column = column_of(aggregate)
        if column is None:
            raise _wrong(
                name,
                f"has {field}={aggregate!r}, which is no aggregator. Use one of ps.count, ps.sum"
                " ..., or an object with init, add, merge and result.",
            )
        columns[field] = column.bind(node.value)
    return Observe(name, columns)


def _wrong(name: object, what: str) -> TopologyError:
    return TopologyError(f"observe {name!r} {what}", operator="observe")
