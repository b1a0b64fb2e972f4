"""How commands show things: tables, times, bytes of unknown kind, and that they are busy.

Progress goes to stderr, and only where that is a terminal. Nothing that comes from a record
reaches the terminal before `printable` has seen it: data may hold escape sequences.
"""

import datetime
import json
import sys
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.status import Status

_WIDE = 1_000  # columns where the output is no terminal: nothing is cut or folded
_waiting: ContextVar["Status | None"] = ContextVar("penstock_waiting", default=None)


@contextmanager
def waiting(what: str) -> Generator[None]:
    """Show that something takes its time; a wait within another one takes its place."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.text import Text

    outer, text = _waiting.get(), Text(printable(what))
    if outer is not None:
        before = outer.status
        outer.update(text)
        yield
        outer.update(before)
        return
    with Console(stderr=True).status(text) as status:
        token = _waiting.set(status)
        try:
            yield
        finally:
            _waiting.reset(token)


@contextmanager
def progress_bar(what: str, total: int | None) -> Generator[Callable[[int], None]]:
    """Show how many of the records are done, and at which rate."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:,} records, {task.fields[rate]:,.0f}/s"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task, start_s = progress.add_task(what, total=total, rate=0.0), time.monotonic()
        yield lambda done: progress.update(
            task, completed=done, rate=done / max(time.monotonic() - start_s, 0.001)
        )


@contextmanager
def status_line() -> Generator[Callable[[str], None]]:
    """Show what goes on in a line that the next one replaces, and that leaves nothing behind.

    It may be used between lines of output: show "" before them.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return

    def show(text: str) -> None:
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()

    try:
        yield show
    finally:
        show("")


def print_table(titles: Sequence[str], rows: Iterable[Sequence[str | int | None]]) -> None:
    """Print rows under titles; numbers are aligned, and None is a dash."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = list(rows)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, title in enumerate(titles):
        numeric = any(isinstance(row[number], int) for row in rows)
        table.add_column(title, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(cell)) for cell in row))
    console = Console(highlight=False)
    (console if console.is_terminal else Console(highlight=False, width=_WIDE)).print(table)


def _cell(cell: str | int | None) -> str:
    if cell is None:
        return "-"
    return f"{cell:,}" if isinstance(cell, int) else printable(cell)


def shown(data: bytes | None) -> str:
    r"""Show bytes on one line: as text where they are that, else in hex with their length.

    What has a zero in it is no text, though it may be UTF-8: most numbers of eight bytes are both.

    >>> shown(b"ann"), shown(b"\xff"), shown((8_292_154).to_bytes(8, "big"))
    ('ann', '0xff (1 bytes)', '0x00000000007e873a (8 bytes)')
    """
    if data is None:
        return "null"
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    return f"0x{data.hex()} ({len(data):,} bytes)" if "\0" in text else printable(text)


def printable(text: str) -> str:
    r"""Escape whatever would not stay in its place on a line: control and format characters.

    >>> printable("a\x1b[31mb\n")
    'a\\x1b[31mb\\n'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def as_json(name: str, data: bytes | None) -> dict[str, str | None]:
    """Return bytes as a field of an object: text, or under `<name>_hex` what is not UTF-8."""
    if data is None:
        return {name: None}
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_hex": data.hex()}


def json_line(value: Any) -> str:
    r"""Return JSON on one line, of ASCII only where it would else hold control characters.

    >>> json_line({"a": "ä\x9b"})
    '{"a": "\\u00e4\\u009b"}'
    """
    import msgspec

    text = msgspec.json.encode(value).decode()
    return text if text.isascii() else json.dumps(json.loads(text))


def utc(time_ms: int | None) -> str:
    """Show a time in UTC, with its milliseconds.

    >>> utc(1_700_000_000_123)
    '2023-11-14T22:13:20.123Z'
    """
    if time_ms is None:
        return "-"
    try:
        at = datetime.datetime.fromtimestamp(time_ms / 1000, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"
    return at.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def duration(seconds: float | None) -> str:
    """Show how long something takes, in the two largest units that it has.

    >>> duration(0), duration(0.25), duration(3_725), duration(None)
    ('0 s', '0.2 s', '1 h 2 min', 'never')
    """
    if seconds is None:
        return "never"
    if seconds < 60:
        return f"{seconds:.1f} s" if 0 < seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"
