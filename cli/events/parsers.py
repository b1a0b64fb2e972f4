"""What a line of a file means: JSON, CSV or text, with or without a declared type.

A parser is given one line after the other. It returns an event where one is complete, None where
not (a blank line, a header, a quoted text with line breaks), and raises ValueError with what is
wrong.
"""

import csv
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import msgspec
import msgspec.inspect

from penstock.cli.events.formats import Format
from penstock.cli.events.model_loading import Model
from penstock.errors import TopologyError


class Parsed(NamedTuple):
    """An event: the value, and its bytes where they are in the line."""

    value: Any
    data: bytes | None = None


class Parser(Protocol):
    """Read lines."""

    def parse(self, line: bytes) -> Parsed | None:
        """Read a line. Raises ValueError where it is wrong."""
        ...

    def pending(self) -> str:
        """Say what is not complete at the end of the file, "" if all is."""
        ...


def parser_of(form: Format, model: Model | None) -> Parser:
    """Return what reads a format.

    Raises:
        TopologyError: if text is to be read as a model.
    """
    if form is Format.TEXT:
        if model is not None:
            raise TopologyError("Lines of text have no fields, so --model says nothing of them.")
        return _Text()
    if form is Format.CSV:
        return _Csv(model)
    return _Json(model)


class _Text:
    def parse(self, line: bytes) -> Parsed | None:
        return Parsed(line.decode(), line)

    def pending(self) -> str:
        return ""


class _Json:
    def __init__(self, model: Model | None) -> None:
        self._typed = model is not None
        kind: Any = Any if model is None else model.type
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(kind).decode

    def parse(self, line: bytes) -> Parsed | None:
        line = line.strip()
        if not line:
            return None
        try:
            value = self._decode(line)
        except msgspec.ValidationError as error:
            raise ValueError(f"does not fit the model: {error}") from None
        except ValueError as error:  # what is no JSON, or no UTF-8
            raise ValueError(f"is no JSON: {error}") from None
        return Parsed(value, None if self._typed else line)

    def pending(self) -> str:
        return ""


class _Csv:
    """Rows under a header.

    A quote that is open at the end of a line says that the row goes on: doubled ones, which stand
    for themselves, leave their number even.
    """

    def __init__(self, model: Model | None) -> None:
        self._type: Any = None if model is None else model.type
        info = None if model is None else msgspec.inspect.type_info(model.type)
        self._known = {of.encode_name: of.type for of in getattr(info, "fields", ())}
        self._name = "" if model is None else model.name
        self._header: list[str] = []
        self._open: list[bytes] = []

    def parse(self, line: bytes) -> Parsed | None:
        self._open.append(line)
        if sum(part.count(b'"') for part in self._open) % 2:
            return None
        text, self._open = b"\n".join(self._open), []
        if not text.strip():
            return None
        row = self._split(text)
        if not self._header:
            self._header = self._checked(row)
            return None
        if len(row) != len(self._header):
            raise ValueError(f"has {len(row)} fields, and the header has {len(self._header)}")
        return Parsed(self._value(dict(zip(self._header, row, strict=True))))

    def pending(self) -> str:
        return "a quote is not closed" if self._open else ""

    def _split(self, text: bytes) -> list[str]:
        try:
            (row,) = csv.reader([text.decode()], strict=True)
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"is no CSV: {error}") from None
        return row

    def _checked(self, header: list[str]) -> list[str]:
        twice = [name for name in header if header.count(name) > 1]
        if twice:
            raise ValueError(f"is the header, and names {twice[0]!r} twice")
        unknown = [name for name in header if self._known and name not in self._known]
        if unknown:
            raise ValueError(
                f"is the header, and {self._name} has no field {unknown[0]!r}; its fields are"
                f" {', '.join(self._known)}"
            )
        return header

    def _value(self, row: dict[str, Any]) -> Any:
        if self._type is None:
            return row
        for name in [name for name, text in row.items() if not text]:
            self._clear(row, name)
        try:
            return msgspec.convert(row, self._type, strict=False)
        except msgspec.ValidationError as error:
            raise ValueError(f"does not fit the model: {error}") from None

    def _clear(self, row: dict[str, Any], name: str) -> None:
        """Let an empty cell be what its field has for it: text, None, or its default."""
        part = self._known.get(name)
        kinds: list[type] = [type(one) for one in getattr(part, "types", (part,))]
        if msgspec.inspect.StrType in kinds or part is None:
            return
        if msgspec.inspect.NoneType in kinds:
            row[name] = None
        else:
            del row[name]
