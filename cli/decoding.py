"""Keys and values of unknown topics: decoded by type as far as they can be, and shown."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from penstock.cli.options import Kind
from penstock.cli.terminal import as_json, printable, shown
from penstock.errors import TopologyError
from penstock.runtime.message import Message
from penstock.serde.types import data_type

_TYPES: dict[Kind, Any] = {Kind.STR: str, Kind.INT: int, Kind.FLOAT: float}


@dataclass(frozen=True)
class Column:
    """The keys or the values of a topic.

    Attributes:
        name: "key" or "value".
        kind: what they are; None for text where it is UTF-8.
    """

    name: str
    kind: Kind | None = None

    def show(self, data: bytes | None) -> str:
        """Show one on a line."""
        if data is None or self.kind is None:
            return shown(data)
        if self.kind is Kind.BYTES:
            return f"0x{data.hex()}"
        try:
            value = self._decode(data)
        except ValueError:
            return f"{shown(data)} (no {self.kind})"
        if self.kind is Kind.JSON:
            return printable(json.dumps(value, ensure_ascii=False))
        return printable(str(value))

    def field(self, data: bytes | None) -> dict[str, Any]:
        """Return one as a field of an object; what cannot be decoded is in `<name>_hex`."""
        if data is None or self.kind is None:
            return as_json(self.name, data)
        if self.kind is not Kind.BYTES:
            try:
                return {self.name: finite(self._decode(data))}
            except ValueError:
                pass
        return {f"{self.name}_hex": data.hex()}

    def matcher(self, text: str) -> Callable[[bytes | None], bool]:
        """Return whether bytes are what a text means.

        Raises:
            TopologyError: if the text means nothing of this type.
        """
        try:
            if self.kind is Kind.JSON:
                return self._like(json.loads(text))
            wanted = bytes.fromhex(text) if self.kind is Kind.BYTES else self._encoded(text)
        except (ValueError, TypeError) as error:
            raise TopologyError(
                f"{text!r} is no {self.name} of type {self.kind}: {error}. Bytes are written in"
                f" hex; --{self.name}-type names the type."
            ) from None
        return lambda data: data == wanted

    def _like(self, wanted: Any) -> Callable[[bytes | None], bool]:
        def matches(data: bytes | None) -> bool:
            try:
                return data is not None and self._decode(data) == wanted
            except ValueError:
                return False

        return matches

    def _encoded(self, text: str) -> bytes:
        kind = _TYPES[self.kind or Kind.STR]
        encoded: bytes = _serde(kind).encode(kind(text))
        return encoded

    def _decode(self, data: bytes) -> Any:
        """Decode one.

        Raises:
            ValueError: if it is not of this type.
        """
        try:
            if self.kind is Kind.JSON:
                return json.loads(data, parse_constant=_number, parse_float=_number)
            return _serde(_TYPES[self.kind or Kind.STR]).decode(data)
        except Exception as error:
            raise ValueError(str(error)) from error


def _serde(kind: Any) -> Any:
    return data_type(kind).serde


def _number(text: str) -> float:
    """JSON has no infinity, and no other objects could be made of one."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number of JSON")
    return number


def finite(value: Any) -> Any:
    """Return something that JSON has, for a float that it has not."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def line(message: Message, key: Column, value: Column, *, at: str, headers: bool) -> str:
    """Show a record on a line."""
    place = f"{printable(message.topic())}/{message.partition()} {message.offset()}"
    parts = [at, place, key.show(message.key()), value.show(message.value())]
    if headers:
        pairs = (f"{printable(name)}={shown(data)}" for name, data in message.headers() or [])
        parts.append(f"[{', '.join(pairs)}]")
    return "  ".join(parts)


def as_object(message: Message, key: Column, value: Column, *, headers: bool) -> dict[str, Any]:
    """Return a record as an object for programs."""
    found = {
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "timestamp": message.timestamp()[1],
        **key.field(message.key()),
        **value.field(message.value()),
    }
    if headers:
        pairs = message.headers() or []
        found["headers"] = [{"name": name, **as_json("value", data)} for name, data in pairs]
    return found
