"""Steps that read a table beside them: what has to hold for both to run in one task.

Rule 1: equal keys have equal bytes, or one would look under another key.
Rule 2: records that come straight from their topic do not read a table behind a repartition
        topic: what they should find there may still be on its way.
Rule 3: what writes a repartition topic and what reads it are apart, so that each batch of the
        one is committed before it is input of the other.

That the inputs have equal partition counts is looked at when the application starts.
"""

from typing import TYPE_CHECKING

from penstock.errors import TopologyError
from penstock.operators.fields import type_name
from penstock.serde.types import format_of
from penstock.topology.node import Node
from penstock.topology.repartition import boundaries

if TYPE_CHECKING:
    from penstock.topology.graph import SubTopology, Topology


def check_lookup(parent: Node, table: Node, process: str) -> None:
    """Check that a process behind a step can read a table.

    Args:
        parent: the step in front of the process.
        table: the step of the table.
        process: its name.

    Raises:
        TopologyError: if the keys are others, or the table is behind a repartition topic and the
            records are not.
    """
    store = table.from_store[0].stores[0]
    if parent.key.serde != store.key:
        raise TopologyError(
            f"Process {process!r} has keys of type {_shown(parent)}, table {store.name!r} in"
            f" initial= of type {_shown(table)}: no key would be found in it. Declare both with"
            " one key type, key=..., where they are read or re-keyed.",
            operator="process",
            store=store.name,
        )
    changed = list(boundaries(table))
    if changed and not parent.reshuffle and not any(boundaries(parent)):
        step = changed[0]
        raise TopologyError(
            f"Table {store.name!r} in initial= of process {process!r} is behind the repartition"
            f" topic of {step!r}, and the records of the process are not: they would come before"
            f" what they should find. Put the process behind a {step.kind}(..., name=...) too, or"
            " write the table to a topic, to('topic'), and use a table of that topic:"
            " app.table('topic', name=..., ...).",
            operator="process",
            store=store.name,
        )


def check_lookups(topology: "Topology") -> None:
    """Check that no task with a table that is read would read what it writes.

    Raises:
        TopologyError: if one would, through a repartition topic.
    """
    for part in topology.sub_topologies:
        readers = [node for node in part.nodes if node.looks_into]
        if readers and _feeds_itself(topology, part):
            reader = readers[0]
            raise TopologyError(
                f"{reader!r} reads {reader.looks_into!r}, so both run in one task; it would write"
                " a repartition topic and read it too, and what it reads would never be"
                " committed before. Write what goes through the repartition topic to a topic of"
                " its own instead, to('topic'), and go on with app.stream('topic', ...).",
                operator=reader.kind,
            )


def _feeds_itself(topology: "Topology", part: "SubTopology") -> bool:
    found: set[int] = set()
    ahead = [part]
    while ahead:
        writers = [writer for writer, _ in topology.feeders(ahead.pop())]
        ahead += [writer for writer in writers if writer.number not in found]
        found.update(writer.number for writer in writers)
    return part.number in found


def _shown(node: Node) -> str:
    if node.key.type is None and node.key.serde is not None:
        return format_of(node.key.serde)
    return type_name(node.key.type)
