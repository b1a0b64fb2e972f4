"""JSON by msgspec: typed decoding of Struct, dataclass, TypedDict and plain data.

Only the declared fields are decoded, unknown ones are skipped. Encoding checks that a
value has the declared class: msgspec would write any other one without a word.
"""

import typing
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec
import msgspec.inspect

from penstock.errors import TopologyError

T = TypeVar("T")


class JsonSerde(Generic[T]):
    """Encode and decode one type as JSON."""

    immutable = False

    def __init__(self, type: type[T], *, sort_fields: bool = False) -> None:
        try:
            self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(type)
            _check_parts(msgspec.inspect.type_info(type), set())
        except TypeError as error:
            raise TopologyError(
                f"{type!r} cannot be read as JSON: {error}. Declare a Struct, dataclass,"
                " TypedDict, dict or a union with tags, or pass a serde of your own."
            ) from error
        self.type: Any = type
        self.format = "json-sorted" if sort_fields else "json"
        self._encoder = msgspec.json.Encoder(order="sorted" if sort_fields else None)
        self._class = _runtime_class(type)
        self.decode = self._decoder.decode

    def __eq__(self, other: object) -> bool:
        # Streams of one type are of one type, wherever they were declared.
        if not isinstance(other, JsonSerde):
            return NotImplemented
        return (self.type, self.format) == (other.type, other.format)

    def __hash__(self) -> int:
        return hash((repr(self.type), self.format))

    def encode(self, value: T, /) -> bytes:
        """Encode one value. Raises TypeError where its class is not the declared one."""
        self._check(type(value))
        return self._encoder.encode(value)

    def encode_all(self, values: Sequence[T]) -> list[bytes]:
        """Encode a column. Raises TypeError where a class is not the declared one."""
        for kind in set(map(type, values)):
            self._check(kind)
        return list(map(self._encoder.encode, values))

    def _check(self, kind: Any) -> None:
        if self._class is not None and not issubclass(kind, self._class):
            raise TypeError(f"expected {self._class.__name__}, got {kind.__name__}")


def _check_parts(part: Any, seen: set[int]) -> None:
    """Refuse classes that JSON says nothing of: msgspec would only fail at each record."""
    if id(part) in seen:
        return
    seen.add(id(part))
    if isinstance(part, msgspec.inspect.CustomType) and part.cls is not object:
        raise TypeError(f"{part.cls.__name__} has no fields that are declared")
    for name in part.__struct_fields__:
        value = getattr(part, name)
        for inner in _several(value):
            if isinstance(inner, msgspec.inspect.Type | msgspec.inspect.Field):
                _check_parts(inner, seen)


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)  # pyright: ignore[reportUnknownVariableType]


def _runtime_class(declared: Any) -> type | None:
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


def json(type: type[T], /) -> JsonSerde[T]:
    """Make a JSON serde of a type.

    Args:
        type: a msgspec Struct, dataclass, TypedDict, dict, list, or anything that msgspec
            decodes.

    Raises:
        TopologyError: if msgspec cannot decode the type.
    """
    return JsonSerde(type)
