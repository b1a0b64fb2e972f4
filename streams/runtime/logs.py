"""The log of the command line's workers: lines for people, or one JSON object per line.

A library leaves logging to its user, so `app.run()` in a script configures nothing. What a
JSON line holds:

    time         ISO 8601, UTC, milliseconds
    level        debug, info, warning, error, critical
    logger       "penstock", "penstock.kafka", or your own
    message      for people
    application  its id, once it is loaded
    worker       which of the processes says it
    exception    a traceback, where there is one

and the coordinates of a PenstockError, where there is one and they are known: error (its
class), topic, partition, offset, store, operator.
"""

import datetime
import json
import logging
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, TextIO

from penstock.errors import PenstockError
from penstock.runtime.exits import kind_of

_COORDINATES = ("topic", "partition", "offset", "store", "operator")
_COLOURS = {"WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}


class LogFormat(StrEnum):
    """Who reads the log."""

    HUMAN = "human"
    JSON = "json"


@contextmanager
def configured(
    format: LogFormat, worker: str, *, stream: TextIO | None = None
) -> Generator["Lines"]:
    """Write the log of the process to stderr while the context lasts, from INFO on.

    Args:
        format: lines for people, or JSON.
        worker: the name of this process in the log.
        stream: where to, instead of stderr.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    coloured = handler.stream.isatty() and "NO_COLOR" not in os.environ
    lines = JsonLines(worker) if format is LogFormat.JSON else HumanLines(worker, coloured=coloured)
    handler.setFormatter(lines)
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        root.handlers[:] = before
        root.setLevel(level)


class Lines(logging.Formatter):
    """What both formats know.

    Attributes:
        worker: the name of this process.
        application: its application's id, once it is loaded.
    """

    def __init__(self, worker: str) -> None:
        super().__init__()
        self.worker = worker
        self.application: str | None = None


class HumanLines(Lines):
    """Time, level, worker, message; the level in colour on a terminal."""

    def __init__(self, worker: str, *, coloured: bool) -> None:
        super().__init__(worker)
        self._coloured = coloured

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line without its traceback."""
        time = f"{self.formatTime(record, '%H:%M:%S')}.{int(record.msecs):03d}"
        level, colour = f"{record.levelname:<8}", _COLOURS.get(record.levelname)
        if self._coloured and colour:
            level = f"\x1b[{colour}m{level}\x1b[0m"
        return f"{time} {level} {self.worker}  {record.message}"


class JsonLines(Lines):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields: dict[str, Any] = {
            "time": _iso(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "application": self.application,
            "worker": self.worker,
            **_coordinates(record),
        }
        if record.exc_info and record.exc_info[0]:
            fields["exception"] = self.formatException(record.exc_info)
        known = {name: value for name, value in fields.items() if value is not None}
        return json.dumps(known, ensure_ascii=False, default=str)


def _iso(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _coordinates(record: logging.LogRecord) -> dict[str, Any]:
    """Take what a PenstockError knows, be it an argument of the message or its exception."""
    candidates = [*(record.args if isinstance(record.args, tuple) else ())]
    if record.exc_info:
        candidates.append(record.exc_info[1])
    error = next((c for c in candidates if isinstance(c, PenstockError)), None)
    if error is None:
        return {}
    return {"error": kind_of(error), **{name: getattr(error, name) for name in _COORDINATES}}
