"""Selectors: a field path or a function, compiled once to one callable.

A path such as "line.item.code" works on Struct, dataclass, TypedDict and dict alike. It is
checked against the declared type; a plain dict accepts any path and fails per record.
"""

import dataclasses
import operator
import types
import typing
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import msgspec

from penstock.errors import TopologyError
from penstock.serde.types import UNKNOWN, DataType, data_type, returned
from penstock.windows import Windowed

Selector = str | tuple[str, ...] | Callable[[Any], Any]


def compile_selector(
    selector: Selector, of: DataType, *, key: bool = False
) -> tuple[Callable[[Any], Any], DataType]:
    """Turn a selector into a function of the value and the type of what it returns.

    Raises:
        TopologyError: if a path names a field that the type does not have.
    """
    if isinstance(selector, str):
        getter, found = compile_path(selector, of.type)
        return getter, data_type(found, key=key) if found is not None else UNKNOWN
    if callable(selector):
        return selector, returned(selector, key=key)
    parts = [compile_selector(part, of)[0] for part in selector]
    return lambda value: tuple([part(value) for part in parts]), data_type(tuple[Any, ...], key=key)


def compile_path(path: str, of: Any) -> tuple[Callable[[Any], Any], Any]:
    """Turn a field path into a getter and the type of the field, None where unknown.

    >>> compile_path("a.b", dict)[0]({"a": {"b": 1}})
    1

    Raises:
        TopologyError: if the type is known and has no such field.
    """
    steps: list[Callable[[Any], Any]] = []
    current = of
    for name in path.split("."):
        known = fields_of(current)
        if known is None:
            steps.append(_from_mapping(name, current))
            current = None
            continue
        if name not in known:
            fields = ", ".join(known) or "none"
            raise TopologyError(
                f"{type_name(current)} has no field {name!r} (in path {path!r})."
                f" Its fields are: {fields}."
            )
        is_mapping = typing.is_typeddict(current)
        steps.append(operator.itemgetter(name) if is_mapping else operator.attrgetter(name))
        current = known[name]
    return steps[0] if len(steps) == 1 else _chain(steps), current


def fields_of(declared: Any) -> Mapping[str, Any] | None:
    """Return the fields of a Struct, dataclass or TypedDict with their types, else None.

    Raises:
        TopologyError: if the type is one that has no fields, such as int.
    """
    if declared is None or declared is Any:
        return None
    if typing.get_origin(declared) in (dict, typing.Union, types.UnionType):
        return None
    if _plain_dict(declared):
        return None
    if _typed(declared):
        hints = typing.get_type_hints(declared)
        names = _field_names(declared)
        return {name: hints[name] for name in names}
    return {}


def type_name(declared: Any) -> str:
    """Return a type's name as a user would write it."""
    if typing.get_origin(declared) is Windowed:
        return f"Windowed[{type_name(typing.get_args(declared)[0])}]"
    return getattr(declared, "__name__", str(declared))


def _plain_dict(declared: Any) -> bool:
    return isinstance(declared, type) and issubclass(declared, dict) and not _typed(declared)


def _typed(declared: Any) -> bool:
    return (
        typing.is_typeddict(declared)
        or dataclasses.is_dataclass(declared)
        or (isinstance(declared, type) and issubclass(declared, msgspec.Struct))
    )


def _field_names(declared: Any) -> list[str]:
    if typing.is_typeddict(declared):
        return list(typing.get_type_hints(declared))
    if dataclasses.is_dataclass(declared):
        return [field.name for field in dataclasses.fields(declared)]
    return list(declared.__struct_fields__)


def _from_mapping(name: str, declared: Any) -> Callable[[Any], Any]:
    of = typing.get_origin(declared) or declared
    if isinstance(of, type) and issubclass(of, dict):
        return operator.itemgetter(name)

    def get(value: Any) -> Any:
        return value[name] if isinstance(value, dict) else getattr(value, name)  # pyright: ignore[reportUnknownVariableType]

    return get


def _chain(steps: list[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    return lambda value: reduce(lambda found, step: step(found), steps, value)
