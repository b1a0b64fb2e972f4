"""What a `process` declares: the step of a processor, and the table that it begins with."""

from typing import Any

from penstock.errors import TopologyError
from penstock.operators.declared_process import declare_process
from penstock.operators.processing import Process
from penstock.state.definition import same_place
from penstock.topology.declaration import Declaration
from penstock.topology.lookup import check_lookup
from penstock.topology.node import Node
from penstock.topology.repartition import check_partitioned


def add_process(
    declaration: Declaration,
    parent: Node,
    processor: Any,
    name: str,
    value: Any,
    initial: Any = None,
) -> Node:
    """Declare a processor behind a step.

    Args:
        declaration: what the application has declared.
        parent: the step in front.
        processor: what makes an instance.
        name: begins the names of its stores.
        value: type or serde of what it hands on; None for what its class says.
        initial: the table that it begins with.

    Raises:
        TopologyError: if it cannot work, or another one has its name.
    """
    begins = initial is not None
    operator, found = declare_process(processor, name, parent.key, value, begins=begins)
    table = _looked_into(declaration, parent, name, initial) if begins else None
    if operator.stores:
        check_partitioned(parent, "process")
    for other in declaration.nodes:
        if isinstance(other.operator, Process) and same_place(other.detail) == same_place(name):
            raise TopologyError(
                f"Two processes are called {name!r}. Names are the identity of state: give each"
                " its own name=.",
                operator="process",
            )
    return declaration.add(
        "process",
        operator,
        parent,
        key=parent.key,
        value=found,
        detail=name,
        emit="every_update",
        looks_into=table,
    )


def _looked_into(declaration: Declaration, parent: Node, name: str, table: Any) -> Node:
    """Return the step of a table that a process begins with."""
    from penstock.table import Table

    if not isinstance(table, Table):
        raise TopologyError(
            f"Process {name!r} was given initial={table!r}, which is no table. Pass one of the"
            " application: app.table(...), stream.to_table(...), or what is aggregated.",
            operator="process",
        )
    if table._declaration is not declaration:  # pyright: ignore[reportPrivateUsage]
        raise TopologyError(
            f"Process {name!r} was given initial= with table {table.name!r} of another"
            " application. Read what it is made of in this one: app.table('topic', name=..., ...).",
            operator="process",
            store=table.name,
        )
    node: Node = table._node  # pyright: ignore[reportPrivateUsage]
    check_lookup(parent, node, name)
    return node
