"""Console: the rows of each batch as a table on stdout, in the layout of Spark's console sink.

Where Spark prints the number of the batch alone, a line says which partitions of which worker the
rows are of: with several workers each has its own. What cannot be shown as it is, such as control
characters in a key, is escaped: a topic may be anybody's.
"""

import dataclasses
import datetime
import logging
import os
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import msgspec

from penstock.operators.deliver import OutputMode, Row
from penstock.windows import Windowed

log = logging.getLogger("penstock")

RULE = "-" * 43
LONGEST = 20  # characters of a cell, where cells are cut
NARROWEST = 3  # characters of a column


class Console:
    """Print what each batch has committed.

    Args:
        name: what is shown.
        mode: the output mode.
        num_rows: how many rows of a batch at most.
        truncate: whether cells are cut after 20 characters.
        stream: where to; stdout as it is at the time, if left out.
    """

    def __init__(
        self,
        name: str,
        mode: OutputMode,
        num_rows: int = 20,
        *,
        truncate: bool = True,
        stream: TextIO | None = None,
    ) -> None:
        self.most = num_rows + 1
        self._title = f"{name} {mode}".lstrip()
        self._num_rows = num_rows
        self._truncate = truncate
        self._stream = stream

    def take(self, batch: int, partitions: Sequence[int], rows: Sequence[Row]) -> None:
        """Print a batch.

        Args:
            batch: its number.
            partitions: which ones the rows are of.
            rows: as many as are printed, and one more if there are more.
        """
        shown = f"{self._title}: {shown_partitions(partitions)} of worker {os.getpid()}"
        self._print(
            f"{RULE}\nBatch: {batch}\n{shown}\n{RULE}\n"
            f"{table(rows, self._num_rows, truncate=self._truncate)}\n\n"
        )

    def _print(self, text: str) -> None:
        """Print, or say once that it cannot be: the batch is committed, and goes on."""
        out = self._stream or sys.stdout
        encoding = getattr(out, "encoding", None) or "utf-8"
        try:
            out.write(text.encode(encoding, "backslashreplace").decode(encoding))
            out.flush()
        except (OSError, ValueError) as error:  # ValueError: it was closed
            log.warning("The console cannot be written to: %s. Nothing more is shown.", error)
            self._print = _nothing  # type: ignore[method-assign]


def _nothing(text: str) -> None:
    """Take what nobody reads."""


def table(rows: Sequence[Row], num_rows: int, *, truncate: bool) -> str:
    """Return rows as a table with borders.

    >>> print(table([Row(None, "dog", 2), Row(None, "owl", None)], 20, truncate=True))
    +---+-----+
    |key|value|
    +---+-----+
    |dog|    2|
    |owl| NULL|
    +---+-----+
    """
    columns = _columns(rows[:num_rows])
    lines = [list(columns), *(list(row) for row in zip(*columns.values(), strict=True))]
    cells = [[_cut(cell) if truncate else cell for cell in line] for line in lines]
    widths = [max(NARROWEST, *map(_width, column)) for column in zip(*cells, strict=True)]
    border = "+" + "+".join("-" * width for width in widths) + "+"
    head, *body = [_line(line, widths, right=truncate) for line in cells]
    noun = "row" if num_rows == 1 else "rows"
    more = [f"only showing top {num_rows} {noun}"] if len(rows) > num_rows else []
    return "\n".join([border, head, border, *body, border, *more])


def shown_partitions(partitions: Sequence[int]) -> str:
    """Name partitions, those in a row by the first and the last.

    >>> shown_partitions([0, 1, 2, 5])
    'partitions 0-2, 5'
    """
    runs: list[list[int]] = []
    for number in sorted(set(partitions)):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    listed = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
    return f"partition{'s' if len(set(partitions)) > 1 else ''} {listed}"


def _columns(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return the cells by column: those of the keys, then those of the values' fields."""
    fields = [_fields(row.value) for row in rows]
    names = dict.fromkeys(name for of in fields if of is not None for name in of)
    found: dict[str, list[str]] = {}
    if any(isinstance(row.key, Windowed) for row in rows):
        found["window"] = [_cell((row.key.start, row.key.end), _window) for row in rows]
        found["key"] = [_cell(row.key.key) for row in rows]
    elif any(row.key is not None for row in rows):
        found["key"] = [_cell(row.key) for row in rows]
    mixed = any(of is None and row.value is not None for of, row in zip(fields, rows, strict=True))
    if mixed or not names:
        return found | {"value": [_cell(row.value) for row in rows]}
    for name in names:
        shown = f"value.{name}" if name in found else name
        found[shown] = [_cell((of or {}).get(name)) for of in fields]
    return found


def _fields(value: Any) -> Mapping[str, Any] | None:
    """Return the fields of a value, None where it has none."""
    if isinstance(value, dict):
        return {str(name): of for name, of in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.asdict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return None


def _cell(value: Any, show: Any = None) -> str:
    text = (show or _text)(value)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _text(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return f"[{value.hex(' ').upper()}]"
    if isinstance(value, str | int | float):
        return str(value)
    try:
        return msgspec.json.encode(value).decode()
    except TypeError:
        return str(value)


def _window(of: tuple[int, int]) -> str:
    return "{" + ", ".join(map(_moment, of)) + "}"


def _moment(at: int) -> str:
    """Show a time as Spark does, in UTC; as it is where no calendar has it."""
    try:
        moment = datetime.datetime.fromtimestamp(at / 1000, datetime.UTC).replace(tzinfo=None)
    except (OverflowError, ValueError):
        return str(at)
    return moment.isoformat(" ", "milliseconds" if at % 1000 else "seconds")


def _cut(cell: str) -> str:
    return cell if len(cell) <= LONGEST else cell[: LONGEST - 3] + "..."


def _line(cells: Sequence[str], widths: Sequence[int], *, right: bool) -> str:
    padded = [
        " " * (width - _width(cell)) + cell if right else cell + " " * (width - _width(cell))
        for cell, width in zip(cells, widths, strict=True)
    ]
    return "|" + "|".join(padded) + "|"


def _width(cell: str) -> int:
    """How many places a cell takes: East Asian characters take two."""
    if cell.isascii():
        return len(cell)
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in cell)
