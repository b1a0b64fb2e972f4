"""What `agg` declares: columns bound to the values they read, and the type that they make."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_origin, is_typeddict

import msgspec

from penstock.aggregators import Agg, Column
from penstock.errors import TopologyError
from penstock.operators.agg import Fold, Results, StatesSerde
from penstock.operators.fields import fields_of, type_name
from penstock.serde.types import DataType, data_type
from penstock.state.definition import StoreDefinition

ONLY = "value"


@dataclass(frozen=True)
class Declared:
    """The parts of an `agg`.

    Attributes:
        columns: by name, in the order of their states.
        into: makes the value of the results by name; None takes the only result.
        value: type and serde of what is handed on.
    """

    columns: Mapping[str, Column]
    into: Callable[..., Any] | None
    value: DataType

    @property
    def serde(self) -> StatesSerde:
        """How the states are stored."""
        return StatesSerde(self.columns)

    @property
    def results(self) -> Results:
        """The step that turns states into values."""
        return Results(self.columns, self.into)

    def fold(self, store: StoreDefinition) -> Fold:
        """The step that keeps the states."""
        return Fold(tuple(self.columns.values()), store)


def declare_agg(
    one: Any, columns: Mapping[str, Agg[Any, Any]], values: DataType, name: str
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
    if isinstance(one, Agg):
        if columns:
            raise _wrong(name, "has an aggregator without a name and others with one. Name it too.")
        column = one.bind(values)
        return Declared({ONLY: column}, None, _known(column.type))
    if not columns:
        raise _wrong(name, "has no columns. Pass some, such as n=ps.count().")
    for field, of in columns.items():
        if not isinstance(of, Agg):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise _wrong(
                name, f"has {field}={of!r}, which is none. Use one of ps.count, ps.sum ..."
            )
    bound = {field: of.bind(values) for field, of in columns.items()}
    if one is None:
        return Declared(bound, dict, data_type(dict[str, Any]))
    _check_fields(one, bound, name)
    return Declared(bound, one, data_type(one))


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
    return TopologyError(f"agg {name!r} {what}", operator="agg", store=name)
