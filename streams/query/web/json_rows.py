"""Rows as JSON, keys as text: what of a table goes over HTTP.

    keys        in a path or a parameter      in a row
    str         as it is                      text
    int, float  decimal                       number
    bytes       hexadecimal                   hexadecimal
    JSON        JSON                          JSON
    others      their bytes, hexadecimal      what they are decoded to

Values are JSON, bytes in them base64. What JSON does not know is shown as Python shows it.
"""

import base64
import datetime
import re
from typing import Any

import msgspec

from penstock.query.layout import Entry, Layout, Place
from penstock.serde.types import format_of
from penstock.windows import Windowed

_INTEGER = re.compile(r"-?[0-9]{1,20}")
_JSON = ("json", "json-sorted")


class Window(msgspec.Struct, frozen=True):
    """The window of a row.

    Attributes:
        start: in milliseconds since the epoch.
        end: likewise.
    """

    start: int
    end: int


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """A row of a table.

    Attributes:
        key: without its window.
        value: what the table says.
        timestamp: of the value, in milliseconds since the epoch.
        window: of a windowed table.
    """

    key: Any
    value: Any
    timestamp: int
    window: Window | msgspec.UnsetType = msgspec.UNSET


def encode_row(layout: Layout, entry: Entry) -> bytes:
    """Return a row as JSON."""
    key: Any = entry.key
    window: Window | msgspec.UnsetType = msgspec.UNSET
    if layout.windowed:
        window = Window(key.start, key.end)
        key = key.key
    return encode(Row(_shown(key), entry.value, entry.timestamp, window))


def encode(value: Any) -> bytes:
    """Return something as JSON."""
    return _encoder.encode(value)


def key_of(layout: Layout, text: str) -> Any:
    """Return the key that a text means.

    Raises:
        ValueError: if it means none.
    """
    kind = format_of(layout.key)
    if kind == "str":
        text.encode()  # UnicodeEncodeError is a ValueError
        return text
    if kind == "int":
        if not _INTEGER.fullmatch(text):
            raise ValueError("an integer is decimal digits")
        return int(text)
    if kind == "float":
        return float(text)
    if kind in _JSON or kind.startswith("json-windowed"):
        return layout.key.decode(text.encode())
    return layout.key.decode(bytes.fromhex(text))


def prefix_of_text(layout: Layout, text: str) -> Any:
    """Return the prefix that a text means: of a tuple's key it is a shorter JSON array.

    Raises:
        ValueError: if it means none.
    """
    if format_of(layout.key) in _JSON:
        return msgspec.json.decode(text, type=tuple[Any, ...])
    return key_of(layout, text)


def time_of(text: str) -> int:
    """Return the milliseconds since the epoch that a text means: digits, or ISO 8601.

    Raises:
        ValueError: if it means none.

    >>> time_of("1000"), time_of("1970-01-01T00:00:01Z"), time_of("1970-01-01T01:00:01+01:00")
    (1000, 1000, 1000)
    """
    if _INTEGER.fullmatch(text):
        return int(text)
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:  # a plus that was not escaped has become a space
        found = datetime.datetime.fromisoformat("+".join(text.rsplit(" ", 1)))
    zoned = found if found.tzinfo else found.replace(tzinfo=datetime.UTC)
    return round(zoned.timestamp() * 1000)


def encode_cursor(place: Place) -> str:
    """Return a place as text for a link."""
    span, raw, window = place
    text = msgspec.json.encode((span, raw.hex(), window.hex()))
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def decode_cursor(text: str) -> Place:
    """Return the place of a text.

    Raises:
        ValueError: if it is none of ours.
    """
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    span, raw, window = msgspec.json.decode(data, type=tuple[int, str, str])
    if span < 0:
        raise ValueError("no such span")
    return span, bytes.fromhex(raw), bytes.fromhex(window)


def _shown(key: Any) -> Any:
    if isinstance(key, bytes):
        return key.hex()
    if issubclass(type(key), Windowed):
        return {"key": _shown(key.key), "start": key.start, "end": key.end}
    return key


_encoder = msgspec.json.Encoder(enc_hook=repr)
