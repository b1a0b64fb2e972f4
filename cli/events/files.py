"""Events that stand in a file, one on a line, or come over standard input."""

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from penstock.cli.events.keys import text_of
from penstock.cli.events.lines import Lines
from penstock.cli.events.model_loading import Model
from penstock.cli.events.models import Fields
from penstock.cli.events.parsers import Parsed, Parser
from penstock.cli.events.protocol import Due, Key, Rows
from penstock.errors import DataError, PenstockError, TopologyError
from penstock.operators.fields import compile_path
from penstock.serde.types import Serde, data_type

_ROW_BYTES = 1_000  # not known before they are read


class FileEvents:
    """Read events until there are no more.

    A line that is wrong ends them: what stands before it is handed over first.

    Args:
        lines: where they stand.
        parser: what a line means.
        model: what they are; None for JSON without a declared type, and for text.
        fields: which of them are key and event time.

    Raises:
        TopologyError: if the model has no such field.
    """

    def __init__(
        self,
        lines: Lines,
        parser: Parser,
        *,
        model: Model | None = None,
        fields: Fields = Fields(),  # noqa: B008 - frozen
    ) -> None:
        self._lines = lines
        self._parser = parser
        self._serde: Serde[Any] | None = None if model is None else model.serde
        self.decode: Callable[[bytes], Any] = model.serde.decode if model else bytes.decode
        declared = dict if model is None else model.type
        self._key = None if fields.key is None else _key_of(fields.key, declared, model)
        named = fields.timestamp or (model.timestamp if model else None)
        self._time = None if named is None else _EventTime(named, declared, fields, model)
        self.row_bytes = _ROW_BYTES
        self._error: PenstockError | None = None

    @property
    def ended(self) -> bool:
        """Whether the last line is read."""
        return self._lines.ended and self._error is None

    def take(self, due: Due) -> Rows:
        """Read events, as many as are there.

        Raises:
            DataError: if the next line is wrong, naming it.
        """
        values: list[bytes] = []
        keys: list[Key] = []
        times: list[int] = []
        while len(values) < len(due.times) and self._error is None:
            try:
                line = self._lines.next(wait=not values)
                if line is None:
                    self._check_end()
                    break
                self._add(line, due, values, keys, times)
            except PenstockError as error:
                self._error = error
        if self._error is not None and not values:
            raise self._error
        return Rows(values, None if self._key is None else keys, times)

    def _add(
        self,
        line: tuple[int, bytes],
        due: Due,
        values: list[bytes],
        keys: list[Key],
        times: list[int],
    ) -> None:
        number, text = line
        row = len(values)
        try:
            parsed = self._parser.parse(text)
            if parsed is None:
                return
            key = None if self._key is None else self._key(parsed.value)
            back = due.back[row] if due.back else 0
            at = due.times[row] - back
            if self._time is not None:
                parsed, at = self._time.moved(parsed, back)
            data = self._encoded(parsed)
        except Exception as error:
            raise DataError(
                f"Line {number} of {self._lines.name} {_reason(error)}. Correct it; what stands"
                " before it has been sent."
            ) from error
        values.append(data)
        keys.append(key)
        times.append(at)

    def _encoded(self, parsed: Parsed) -> bytes:
        if parsed.data is not None:
            return parsed.data
        if self._serde is not None:
            return self._serde.encode(parsed.value)
        return msgspec.json.encode(parsed.value)

    def _check_end(self) -> None:
        if self._lines.ended and (missing := self._parser.pending()):
            raise DataError(
                f"{self._lines.name} ends, and {missing}. Correct it; what stands before it has"
                " been sent."
            )


def _reason(error: Exception) -> str:
    """Say what is wrong with a line, as the end of a sentence that it begins."""
    if isinstance(error, KeyError):
        return f"has no field {error.args[0]!r}"
    if isinstance(error, UnicodeDecodeError):
        return f"is no UTF-8: {error}"
    return str(error) if type(error) is ValueError else f"cannot be sent: {error}"


def _key_of(path: str, declared: Any, model: Model | None) -> Callable[[Any], Key]:
    get, found = compile_path(path, declared)
    serde = model.keys.serde if model else None
    if serde is None and found is not None:
        serde = data_type(found, key=True).serde
    encode = text_of if serde is None else serde.encode

    def key(value: Any) -> Key:
        found = _field(get, value, path)
        return None if found is None else encode(found)

    return key


def _field(get: Callable[[Any], Any], value: Any, path: str) -> Any:
    try:
        return get(value)
    except TypeError:  # a number has no fields
        raise KeyError(path) from None


class _EventTime:
    """The field that says when an event happened.

    Args:
        name: of the field, at the top of the event.
        declared: the type of the events.
        fields: its unit, where that is said.
        model: its unit otherwise.
    """

    def __init__(self, name: str, declared: Any, fields: Fields, model: Model | None) -> None:
        if "." in name:
            raise TopologyError(
                f"--timestamp {name} is inside of a field. Event times of a file are read from a"
                " field at the top."
            )
        self._get, _ = compile_path(name, declared)
        self._name = name
        self._unit = fields.unit or (model.unit if model else "ms")

    def moved(self, parsed: Parsed, back_ms: int) -> tuple[Parsed, int]:
        """Return the event so much earlier, and when it happened.

        Raises:
            ValueError: if the field holds no time.
        """
        found = _field(self._get, parsed.value, self._name)
        at = _milliseconds(found, self._unit) - back_ms
        if not back_ms:
            return parsed, at
        value = _with(parsed.value, self._name, _as_found(at, found, self._unit))
        return Parsed(value), at


_PER_S = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def _milliseconds(found: Any, unit: str) -> int:
    if isinstance(found, str) and found.lstrip("-").isdigit():  # a number in CSV
        found = int(found)
    if isinstance(found, int | float) and not isinstance(found, bool):
        return int(found * 1_000 // _PER_S.get(unit, 1_000))
    try:
        at = found if isinstance(found, datetime) else datetime.fromisoformat(str(found))
    except ValueError:
        raise ValueError(
            f"has no event time: {found!r} is neither a number (--unit s, ms, us or ns) nor a"
            " time in ISO 8601"
        ) from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1_000)


def _as_found(at_ms: int, found: Any, unit: str) -> Any:
    """Write a time as the one that stood there."""
    if isinstance(found, str) and found.lstrip("-").isdigit():
        return str(_as_found(at_ms, int(found), unit))
    if isinstance(found, int | float):
        number = at_ms * _PER_S.get(unit, 1_000)
        return number // 1_000 if isinstance(found, int) else number / 1_000
    at = datetime.fromtimestamp(at_ms / 1_000, UTC)
    if isinstance(found, datetime):
        return at if found.tzinfo else at.replace(tzinfo=None)
    return at.isoformat(timespec="milliseconds")


def _with(value: Any, name: str, field: Any) -> Any:
    """Return a value with another field."""
    if isinstance(value, dict):
        fields: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
        return {**fields, name: field}
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(value, **{name: field})
    return dataclasses.replace(value, **{name: field})
