"""Update state: a function of a value and the state of its key, to the next state and a result.

Spark's mapWithState. It is a processor with one value.
"""

import types
import typing
from collections.abc import Callable, Iterable
from typing import Any

from penstock.durations import Duration
from penstock.errors import TopologyError
from penstock.operators.processor import Context, Processor
from penstock.operators.states import ValueState
from penstock.serde.types import UNKNOWN, DataType, data_type, hinted, where

STATE = "state"
_NONE = type(None)

Step = Callable[[Any, Any], tuple[Any, Any]]


def processor_of(
    f: Step, name: str, state: Any, value: Any, ttl: Duration | None
) -> tuple[type[Processor[Any, Any, Any]], DataType]:
    """Make a processor of a function, and tell what it hands on.

    >>> made, found = processor_of(lambda n, total: (n, str(n)), "totals", int, str, None)
    >>> found.type, made.state.value.type
    (<class 'str'>, <class 'int'>)

    Args:
        f: of the value and the state so far.
        name: of the process, for messages.
        state: the declared type of the state, None for what the function's annotation says.
        value: that of the results.
        ttl: how long state is kept without being written.

    Raises:
        TopologyError: if the type of the state cannot be known.
    """
    said = _annotated(f)
    kept = said[0] if state is None else data_type(state)
    if kept.serde is None:
        raise TopologyError(
            f"The type that update_state {name!r} stores is not known: {where(f)} does not say"
            " what it returns. Pass state= to update_state, or annotate the function:"
            " -> tuple[int, str].",
            operator="update_state",
        )
    of: Any = kept
    held: ValueState[Any] = ValueState(of, ttl=ttl)

    class UpdateState(Processor[Any, Any, Any]):
        state = held

        def process(self, ctx: Context[Any], value: Any) -> Iterable[Any]:
            after, result = f(value, self.state.get())
            self.state.set(after)
            return () if result is None else (result,)

    return UpdateState, said[1] if value is None else data_type(value)


def _annotated(f: Step) -> tuple[DataType, DataType]:
    """Return the types of state and result that a function says it returns."""
    try:
        hint = typing.get_type_hints(f).get("return")
    except (NameError, TypeError):
        return UNKNOWN, UNKNOWN
    given = typing.get_args(hint)
    if typing.get_origin(hint) is not tuple or len(given) != 2:
        return UNKNOWN, UNKNOWN
    return hinted(_without_none(given[0])), hinted(_without_none(given[1]))


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint
    left = [of for of in typing.get_args(hint) if of is not _NONE]
    return typing.Union[tuple(left)]  # noqa: UP007 - of as many as there are
