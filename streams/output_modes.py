"""Output modes: which ones each kind of output takes, and the step that hands rows to one here.

                 a topic            to_stream        console, memory
    Stream       append             -                append, update
    Table        update             update           update, complete
    windowed     append, update     append, update   append, update, complete

A stream has no changes, so `update` is `append` there, as in Spark. Other than in Spark, sessions
have `update` too: a session that has grown or was merged is deleted under its old key.
"""

from typing import Any, Literal, TypeAlias

from penstock.console import Console
from penstock.errors import TopologyError
from penstock.memory import Memory
from penstock.operators.deliver import Deliver, OutputMode
from penstock.topology.declaration import Declaration
from penstock.topology.node import Node

What: TypeAlias = Literal["stream", "table", "windowed table"]
Where: TypeAlias = Literal["to", "to_stream", "to_console", "to_memory"]

_HERE = ("to_console", "to_memory")
_TAKEN: dict[What, dict[bool, tuple[OutputMode, ...]]] = {  # by whether the output is here
    "stream": {False: ("append",), True: ("append", "update")},
    "table": {False: ("update",), True: ("update", "complete")},
    "windowed table": {False: ("update", "append"), True: ("update", "append", "complete")},
}


def check_output_mode(mode: str, what: What, where: Where, name: str = "") -> None:
    """Check that an output takes a mode.

    Args:
        mode: the output mode.
        what: what is written.
        where: the method that writes it.
        name: the name of the table.

    Raises:
        TopologyError: if it does not.
    """
    taken = _TAKEN[what][where in _HERE]
    if mode in taken:
        return
    of = f"the {what} {name!r}" if name else f"a {what}"
    raise TopologyError(
        f"output_mode={mode!r} of {of} is not possible in {where}(): {_why(mode, what)}."
        f" Use {' or '.join(map(repr, taken))}.",
        operator=where,
        store=name or None,
    )


def _why(mode: str, what: What) -> str:
    if mode == "complete" and what == "stream":
        return "a stream has no end, and no whole. Aggregate it first, as by group_by().count()"
    if mode == "complete":
        return (
            "a topic takes changes, and not the whole table each time. For the whole table there"
            " are to_console() and to_memory()"
        )
    if mode == "append":
        return (
            "a row of it is never final. Gather it by windows, group_by().window(), whose results"
            " are final once they have closed"
        )
    if mode == "update":
        return "its records are never changed"
    return "there is no such mode"


def add_console(
    declaration: Declaration,
    parent: Node,
    name: str,
    mode: OutputMode,
    num_rows: int,
    *,
    truncate: bool,
) -> None:
    """Declare that a step's rows are printed.

    Raises:
        TopologyError: if no rows are to be shown.
    """
    _check_positive("to_console", "num_rows", num_rows)
    console = Console(name, mode, num_rows, truncate=truncate)
    _add(declaration, parent, "to_console", Deliver(console, mode))


def add_memory(
    declaration: Declaration, parent: Node, mode: OutputMode, max_rows: int
) -> Memory[Any, Any]:
    """Declare that a step's rows are kept in memory.

    Raises:
        TopologyError: if no rows are to be kept.
    """
    _check_positive("to_memory", "max_rows", max_rows)
    memory: Memory[Any, Any] = Memory(mode, max_rows)
    key = parent.key.serde if mode == "update" else None
    _add(declaration, parent, "to_memory", Deliver(memory, mode, key))
    return memory


def _add(declaration: Declaration, parent: Node, kind: Where, operator: Deliver) -> None:
    known = {"key": parent.key, "value": parent.value, "detail": operator.mode}
    declaration.add(kind, operator, parent, **known)


def _check_positive(kind: Where, name: str, number: int) -> None:
    if number < 1:
        raise TopologyError(f"{kind}({name}={number}): use 1 or more.", operator=kind)
