"""What a `rekey` declares: by what records get their keys, and the type of these."""

from typing import Any

from penstock.errors import TopologyError
from penstock.operators.fields import compile_selector, type_name
from penstock.operators.rekey import Rekey
from penstock.serde.types import DataType, data_type, where
from penstock.topology.keys import never_equal
from penstock.topology.node import Node


def declare_rekey(node: Node, by: Any, key: Any) -> tuple[Rekey, DataType, str]:
    """Declare the step behind another one.

    Args:
        node: the step in front.
        by: a field path, a tuple of them, or a function of the value.
        key: type or serde of the new keys; None for what the value's type says.

    Returns:
        the step, the type of its keys, and what describe() says of it.

    Raises:
        TopologyError: if the value has no such field, or it is of another type than `key`.
    """
    select, found = compile_selector(by, node.value, key=True)
    shown = where(by) if callable(by) else str(by)
    if key is None:
        return Rekey(select), found, shown
    declared = data_type(key, key=True)
    if isinstance(by, str) and never_equal(found.type, declared.type):
        raise TopologyError(
            f"rekey {by!r} gives keys of type {type_name(found.type)}, declared is"
            f" key={type_name(declared.type)}. Leave key= out, or convert it:"
            f" rekey(lambda value: ..., key={type_name(declared.type)}).",
            operator="rekey",
        )
    return Rekey(select), declared, shown
