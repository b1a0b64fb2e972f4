"""JSON by msgspec: typed decoding of Struct, dataclass, TypedDict and plain data.

Only the declared fields are decoded, unknown ones are skipped. Encoding checks that a
value has the declared class: msgspec would write any other one without a word.
"""

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec
import msgspec.inspect

from penstock.errors import TopologyError
from penstock.serde.inspection import check_class, parts, runtime_class

T = TypeVar("T")


class JsonSerde(Generic[T]):
    """Encode and decode one type as JSON."""

    immutable = False

    def __init__(self, type: type[T], *, sort_fields: bool = False) -> None:
        try:
            self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(type)
            _check_parts(type)
        except TypeError as error:
            raise TopologyError(
                f"{type!r} cannot be read as JSON: {error}. Declare a Struct, dataclass,"
                " TypedDict, dict or a union with tags, or pass a serde of your own."
            ) from error
        self.type: Any = type
        self.format = "json-sorted" if sort_fields else "json"
        self._encoder = msgspec.json.Encoder(order="sorted" if sort_fields else None)
        self._class = runtime_class(type)
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
        check_class(type(value), self._class)
        return self._encoder.encode(value)

    def encode_all(self, values: Sequence[T]) -> list[bytes]:
        """Encode a column. Raises TypeError where a class is not the declared one."""
        for kind in set(map(type, values)):
            check_class(kind, self._class)
        return list(map(self._encoder.encode, values))


def _check_parts(type: Any) -> None:
    """Refuse classes that JSON says nothing of: msgspec would only fail at each record."""
    for part in parts(msgspec.inspect.type_info(type)):
        if isinstance(part, msgspec.inspect.CustomType) and part.cls is not object:
            raise TypeError(f"{part.cls.__name__} has no fields that are declared")


def json(type: type[T], /) -> JsonSerde[T]:
    """Make a JSON serde of a type.

    Args:
        type: a msgspec Struct, dataclass, TypedDict, dict, list, or anything that msgspec
            decodes.

    Raises:
        TopologyError: if msgspec cannot decode the type.
    """
    return JsonSerde(type)
