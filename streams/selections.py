"""What a `select` declares: which fields of a value go where."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from penstock.errors import TopologyError
from penstock.operators.fields import compile_path, fields_of, type_name
from penstock.operators.select import Select
from penstock.serde.types import DataType, data_type
from penstock.topology.node import Node


def declare_select(
    node: Node, wanted: Sequence[Any], renamed: Mapping[str, str]
) -> tuple[Select, DataType, str]:
    """Declare the step behind another one.

    Args:
        node: the step in front.
        wanted: field paths, or one class whose fields say it.
        renamed: new name = field path.

    Returns:
        the step, the type of its values, and what describe() says of it.

    Raises:
        TopologyError: if the value has no such field, two have one name, or the class has no
            fields.
    """
    into = wanted[0] if len(wanted) == 1 and not isinstance(wanted[0], str) else dict
    paths = _by_name(wanted, renamed) if into is dict else _of_class(into, renamed)
    fields = {name: compile_path(path, node.value.type)[0] for name, path in paths.items()}
    found = data_type(dict[str, Any] if into is dict else into)
    return Select(fields, into), found, ", ".join(paths)


def _by_name(paths: Iterable[str], renamed: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in paths:
        name = path.rsplit(".", 1)[-1]
        if name in found or name in renamed:
            raise TopologyError(
                f"select has two fields named {name!r}. Rename one: select(..., other={path!r})."
            )
        found[name] = path
    return {**found, **renamed}


def _of_class(into: type, renamed: Mapping[str, str]) -> dict[str, str]:
    names = fields_of(into)
    if not names:
        raise TopologyError(
            f"select builds a Struct, dataclass or TypedDict; {type_name(into)} has no fields."
            " Pass one of those, or field paths for a dict: select('user', 'page')."
        )
    unknown = sorted(set(renamed) - set(names))
    if unknown:
        raise TopologyError(
            f"select cannot fill {unknown[0]!r}: {type_name(into)} has no field"
            f" {unknown[0]!r}. Its fields are: {', '.join(names)}. Use one of them."
        )
    return {name: renamed.get(name, name) for name in names}
