"""From a declared type to its serde, and from a function to the type that it returns.

`DataType` is what the topology knows of a column: the Python type, where there is one, and
the serde, where one can be known. Types decide serdes, never guesses: a column without a
serde is an error only where bytes are needed, at a topic or a store.
"""

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

from penstock.errors import TopologyError
from penstock.serde.json_serde import JsonSerde
from penstock.serde.primitives import BYTES, FLOAT, INT, STR
from penstock.windows import Windowed

T = TypeVar("T")


@runtime_checkable
class Serde(Protocol[T]):
    """Turn values into bytes and back.

    `encode` and `decode` may raise anything on bad data; Penstock names the record. They
    have to be inverse to each other, and for keys deterministic: equal keys, equal bytes.
    """

    def encode(self, value: T, /) -> bytes:
        """Return the bytes of a value."""
        ...

    def decode(self, data: bytes, /) -> T:
        """Return the value of the bytes."""
        ...


Spec: TypeAlias = type[T] | Serde[T]

_PRIMITIVES: dict[Any, Serde[Any]] = {str: STR, int: INT, float: FLOAT, bytes: BYTES}


@dataclass(frozen=True)
class DataType:
    """What is known of the keys or the values of a stream.

    Attributes:
        type: the Python type, or None where it is not known.
        serde: how to write it, or None where it is not known.
    """

    type: Any = None
    serde: Serde[Any] | None = None


UNKNOWN = DataType()
RAW = DataType(bytes, BYTES)


def data_type(spec: Any, *, key: bool = False) -> DataType:
    """Resolve what a user declared, a type or a serde, for values or for keys.

    Raises:
        TopologyError: if there is no serde for the type.
    """
    if spec is None:
        return UNKNOWN
    if not isinstance(spec, type) and isinstance(spec, Serde):
        return DataType(getattr(spec, "type", None), spec)  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(spec, type) and spec in _PRIMITIVES:
        return DataType(spec, _PRIMITIVES[spec])
    if spec is Windowed or typing.get_origin(spec) is Windowed:
        from penstock.serde.windowed import windowed_type

        return windowed_type(spec)
    return DataType(spec, JsonSerde(spec, sort_fields=key))


def returned(function: Callable[..., Any], *, key: bool = False) -> DataType:
    """Resolve the type that a function returns, from its annotation or, for a class, itself."""
    if isinstance(function, type):
        return data_type(function, key=key)
    try:
        hint = typing.get_type_hints(function).get("return")
    except (NameError, TypeError):  # a name of a scope that is gone, a callable without hints
        return UNKNOWN
    return hinted(hint, key=key)


def element(function: Callable[..., Any]) -> DataType:
    """Resolve the type of the elements of the iterable that a function returns."""
    try:
        hint = typing.get_type_hints(function).get("return")
    except (NameError, TypeError):
        return UNKNOWN
    arguments = typing.get_args(hint)
    return hinted(arguments[0]) if arguments else UNKNOWN


def hinted(hint: Any, *, key: bool = False) -> DataType:
    """Resolve an annotation, to nothing where it says nothing."""
    if hint in (None, type(None), Any) or isinstance(hint, TypeVar):
        return UNKNOWN
    try:
        return data_type(hint, key=key)
    except TopologyError:
        return UNKNOWN


def where(function: Callable[..., Any]) -> str:
    """Say where a user's function stands, for messages: `total (shop.py:14)`."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    name = getattr(function, "__qualname__", None) or repr(function)
    return f"{name} ({code.co_filename}:{code.co_firstlineno})" if code else name


def format_of(serde: Serde[Any]) -> str:
    """Return the name of a serde's wire format, part of a store's definition."""
    return str(getattr(serde, "format", type(serde).__name__))


def is_immutable(serde: Serde[Any]) -> bool:
    """Whether decoded values can be shared: nobody can change them in place."""
    return bool(getattr(serde, "immutable", False))


def is_canonical(serde: Serde[Any]) -> bool:
    """Whether equal values always have equal bytes, so that bytes can stand for values."""
    return bool(getattr(serde, "canonical", False))
