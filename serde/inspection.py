"""What msgspec knows of a declared type: its parts, and the class that its values have."""

import typing
from collections.abc import Iterator
from typing import Any

import msgspec.inspect
from typing_extensions import TypeIs


def parts(of: Any) -> Iterator[Any]:
    """The type itself and everything inside it, each once, as msgspec describes them."""
    seen: set[int] = set()
    rest = [of]
    while rest:
        part = rest.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        for name in part.__struct_fields__:
            value = getattr(part, name)
            several = typing.cast("list[Any]", value if isinstance(value, tuple) else [value])
            rest += [
                inner
                for inner in several
                if isinstance(inner, msgspec.inspect.Type | msgspec.inspect.Field)
            ]


def runtime_class(declared: Any) -> type | None:
    """Return the class that values of a declared type have, or None where many are valid."""
    if declared is Any or declared is object:
        return None
    if typing.is_typeddict(declared):
        return dict
    if typing.get_origin(declared) in (dict, list, tuple, set, frozenset):
        return typing.cast("type", typing.get_origin(declared))
    if declared is float:
        return None
    return declared if isinstance(declared, type) else None


def check_class(value_class: type, expected: type | None) -> None:
    """Hold the class of a value against the declared one, where there is just one.

    Raises:
        TypeError: naming both.
    """
    if expected is not None and not issubclass(value_class, expected):
        raise TypeError(f"expected {expected.__name__}, got {value_class.__name__}")


def is_dict(value: Any) -> TypeIs[dict[str, Any]]:
    """Whether a value of JSON is an object, said to type checkers as well."""
    return isinstance(value, dict)


def is_list(value: Any) -> TypeIs[list[Any]]:
    """Whether a value of JSON is an array, said to type checkers as well."""
    return isinstance(value, list)
