"""What a `drop_duplicates` declares: by what records are equal, for how long, and its store."""

from collections.abc import Callable, Sequence
from typing import Any

from penstock.durations import Duration, milliseconds
from penstock.errors import TopologyError
from penstock.operators.drop_duplicates import DropDuplicates
from penstock.operators.fields import compile_selector
from penstock.serde.primitives import INT
from penstock.serde.seen import SeenKeySerde
from penstock.state.definition import StoreDefinition, check_name
from penstock.topology.node import Node


def declare_drop_duplicates(
    node: Node, by: Sequence[str | Callable[[Any], object]], within: Duration, name: str
) -> DropDuplicates:
    """Declare the step behind another one.

    Raises:
        TopologyError: if the value has no such field, the time is nothing, the name cannot be
            part of a topic, or the type of the keys is not known.
    """
    check_name(name, "the store of drop_duplicates")
    within_ms = milliseconds(within)
    if within_ms < 1:
        raise TopologyError(
            f"drop_duplicates {name!r} forgets at once: within={within!r}. Use 1 ms or more.",
            operator="drop_duplicates",
            store=name,
        )
    for selector in by:
        if not isinstance(selector, str) and not callable(selector):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TopologyError(
                f"drop_duplicates {name!r} goes by {selector!r}. Pass field paths as text, or"
                " functions of the value.",
                operator="drop_duplicates",
                store=name,
            )
    if node.key.serde is None:
        raise TopologyError(
            f"drop_duplicates {name!r} tells records apart by key too, and the type of the keys is"
            " not known. Pass key= where the stream is declared, or where it gets its key.",
            operator="drop_duplicates",
            store=name,
        )
    gets = tuple([compile_selector(selector, node.value)[0] for selector in by])
    keys = SeenKeySerde(node.key.serde, f"seen within {within_ms} by {_shown(by)}")
    return DropDuplicates(gets, within_ms, node.key.serde, StoreDefinition(name, keys, INT))


def _shown(by: Sequence[str | Callable[[Any], object]]) -> str:
    """Name the selectors as part of the store's definition: other ones tell other records apart."""
    return ", ".join(of if isinstance(of, str) else "function" for of in by) or "value"
