"""How the bytes of a store become keys, windows and values: by its definition.

The definition is that of the application's file, or the text that its workers have committed.
The text says enough where keys and values are `str int float bytes` or JSON, in windows too; what
it does not say is shown as text where it is UTF-8, else in hex. So are the maps, lists and timers
of processors, whose keys are packed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from penstock.cli.changelogs import Last
from penstock.cli.decoding import finite
from penstock.cli.options import Kind
from penstock.cli.terminal import as_json
from penstock.errors import TopologyError
from penstock.serde.json_serde import JsonSerde
from penstock.serde.primitives import BYTES, FLOAT, INT, STR
from penstock.serde.sessions import Session, SessionKeySerde, SessionsSerde
from penstock.serde.sliding import SlidingSerde
from penstock.serde.timers import Packed
from penstock.serde.types import Serde
from penstock.serde.windowed import (
    JsonWindowSerde,
    SessionWindowedSerde,
    StoredWindowSerde,
    TimeWindowedSerde,
)
from penstock.state.definition import StoreDefinition

_ANY: Any = Any
_JSON: Serde[Any] = JsonSerde(_ANY)
_NAMED: dict[str, Serde[Any]] = {
    "str": STR,
    "int": INT,
    "float": FLOAT,
    "bytes": BYTES,
    "json": _JSON,
    "json-sorted": _JSON,
}
_WINDOWED = (StoredWindowSerde, JsonWindowSerde, TimeWindowedSerde, SessionWindowedSerde)


@dataclass(frozen=True)
class Entry:
    """What a store has of a key, or of a key in a window.

    Attributes:
        key: as JSON has it; bytes where it could not be decoded, or is bytes.
        value: likewise.
        timestamp: milliseconds since the epoch.
        partition: where it stands; None where that is not known.
        window: its start and its end in milliseconds.
        error: why the key or the value could not be decoded; "" where they could.
    """

    key: Any
    value: Any
    timestamp: int
    partition: int | None = None
    window: tuple[int, int] | None = None
    error: str = ""

    def as_object(self) -> dict[str, Any]:
        """Return it for programs; what is no text is under `key_hex` or `value_hex`."""
        start_end = zip(("start", "end"), self.window or (), strict=False)
        found = {**self._field("key"), **dict(start_end), **self._field("value")}
        found["timestamp"] = self.timestamp
        if self.partition is not None:
            found["partition"] = self.partition
        return {**found, "error": self.error} if self.error else found

    def _field(self, name: str) -> dict[str, Any]:
        value = getattr(self, name)
        if not isinstance(value, bytes):
            return {name: value}
        return {f"{name}_hex": value.hex()} if self.error else as_json(name, value)


@dataclass(frozen=True)
class Layout:
    """How a store is written.

    Attributes:
        key: serde of its keys; None where that is not known.
        value: serde of its values; likewise.
    """

    key: Serde[Any] | None = None
    value: Serde[Any] | None = None

    def entries(self, last: Last) -> Iterator[Entry]:
        """Return what stands under a key of the store: several windows, or none for a timer."""
        place = last.timestamp, last.partition
        try:
            key, window = _split(self.key, last.key)
            key = _plain(key)
        except Exception as error:  # noqa: BLE001 - serdes are the user's
            yield Entry(last.key, last.value, *place, error=f"key: {_said(error)}")
            return
        try:
            value = _decoded(self.value, last.value)
            for where, one in self._parts(value):
                yield Entry(key, _plain(one), *place, window=where or window)
        except Exception as error:  # noqa: BLE001 - likewise
            yield Entry(key, last.value, *place, window=window, error=f"value: {_said(error)}")

    def _parts(self, value: Any) -> Iterator[tuple[tuple[int, int] | None, Any]]:
        """Return the values that are kept together under a key, with their windows."""
        if isinstance(self.value, SessionsSerde):
            sessions: tuple[Session, ...] = value
            for session in sessions:
                yield session[:2], session.value
        elif isinstance(self.value, SlidingSerde):
            for of, result, _ in self.value.windows(None, value):
                yield (of.start, of.end), result
        else:
            yield None, value


def layout_of(
    store: str,
    declared: StoreDefinition | None,
    described: str | None,
    key: Kind | None = None,
    value: Kind | None = None,
) -> Layout:
    """Return the layout of a store.

    Args:
        store: its name, for the message.
        declared: what the application's file says.
        described: what its workers have committed, where there is no file.
        key: what the command line says of its keys, which comes first.
        value: likewise of its values.

    Raises:
        TopologyError: if the file declares another store than was written.
    """
    if declared is None:
        found = parsed(described or "")
    elif described is None or declared.describe() == described:
        found = Layout(declared.key, declared.value)
    else:
        raise TopologyError(
            f"The store {store!r} was written as '{described}', and the application's file declares"
            f" '{declared.describe()}'. Use the file that has written it, or name the application"
            " by its id.",
            store=store,
        )
    return Layout(_NAMED[key] if key else found.key, _NAMED[value] if value else found.value)


def parsed(described: str) -> Layout:
    """Return the layout that the text of a definition means, as far as it says it.

    >>> layout = parsed("key-value windows 60000/60000 str int")
    >>> type(layout.key).__name__, layout.value is INT
    ('StoredWindowSerde', True)
    >>> parsed("key-value json-sorted avro-1f")
    Layout(key=<penstock.serde.json_serde.JsonSerde object at ...>, value=None)
    """
    _, _, text = described.partition(" ")
    kind, _, rest = text.partition(" ")
    windows = ""
    if kind in ("windows", "gap", "sliding"):
        windows, _, rest = rest.partition(" ")
        of, _, rest = rest.partition(" ")
        key = _windowed(kind, windows, _NAMED.get(of))
    else:
        key = _NAMED.get(kind)
    if key is None:
        return Layout()  # where it ends is not known either
    outer, _, inner = rest.partition(" ")
    value = _NAMED.get(inner if inner else rest)
    if value is not None and outer == "sessions":
        value = SessionsSerde(value)
    elif value is not None and outer == "sliding":
        value = SlidingSerde(value, int(windows))
    return Layout(key, value)


def _windowed(kind: str, windows: str, key: Serde[Any] | None) -> Serde[Any] | None:
    size = windows.partition("/")[0]
    if key is None:
        return None
    if kind != "windows":
        return SessionKeySerde(key, f"{kind} {windows}")
    if not size.isdecimal():  # windows by a time zone, whose sizes differ
        return None
    size_ms = int(size)
    return StoredWindowSerde(key, lambda start: start + size_ms, f"windows {windows}")


def _split(serde: Serde[Any] | None, data: bytes) -> tuple[Any, tuple[int, int] | None]:
    """Return a key without its window, and the window."""
    if not isinstance(serde, _WINDOWED):
        return _decoded(serde, data), None
    of = serde.decode(data)
    return of.key, (of.start, of.end)


def _decoded(serde: Serde[Any] | None, data: bytes) -> Any:
    if serde is None or isinstance(serde, Packed):
        try:
            return data.decode()
        except UnicodeDecodeError:
            return data
    return serde.decode(data)


def _plain(value: Any) -> Any:
    """Return what JSON has for a value."""
    return value if isinstance(value, bytes) else finite(msgspec.to_builtins(value))


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def as_key(text: str, like: Any) -> Any:
    """Return what a text of the command line means, as a key of the kind of another.

    Numbers are numbers, bytes hex, text stays text, all else is JSON.

    >>> as_key("7", 3), as_key("7", "a"), as_key('["a", 1]', ["b", 2])
    (7, '7', ['a', 1])

    Raises:
        TopologyError: if it means nothing of that kind.
    """
    try:
        if isinstance(like, str):
            return text
        if isinstance(like, bytes):
            return bytes.fromhex(text)
        if isinstance(like, float):
            return float(text)
        found = msgspec.json.decode(text)
        if not isinstance(found, type(like)):
            raise ValueError(f"the store's keys are like {like!r}")
        return found
    except ValueError as error:
        raise TopologyError(
            f"{text!r} is no key of this store: {error}. Write numbers plainly, bytes in hex, and"
            " other keys as JSON."
        ) from None
