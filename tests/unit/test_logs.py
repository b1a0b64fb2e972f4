"""The log: a line for people, an object for programs, and nothing left behind."""

import io
import json
import logging
import re

import pytest

from penstock.errors import DataError
from penstock.runtime.logs import LogFormat, configured

log = logging.getLogger("penstock")


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self):
        return True


def written(format, say, stream=None, application=None):
    """The lines that a worker has written."""
    stream = stream or io.StringIO()
    with configured(format, "worker-1", stream=stream) as lines:
        lines.application = application
        say()
    return stream.getvalue().splitlines()


def in_json(say, **options):
    """The one object that a worker has written."""
    (line,) = written(LogFormat.JSON, say, **options)
    return json.loads(line)


def test_a_line_has_time_level_worker_and_message():
    """To the millisecond, in columns."""
    (line,) = written(LogFormat.HUMAN, lambda: log.info("Task %s runs.", "views/0"))
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} INFO     worker-1  Task views/0 runs\.", line)


def test_levels_are_coloured_on_a_terminal_only(monkeypatch):
    """NO_COLOR is heeded (no-color.org)."""
    monkeypatch.delenv("NO_COLOR", raising=False)

    def say():
        log.error("x")

    assert "\x1b[31mERROR" in written(LogFormat.HUMAN, say, Terminal())[0]
    assert "\x1b" not in written(LogFormat.HUMAN, say)[0]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in written(LogFormat.HUMAN, say, Terminal())[0]


def test_an_object_has_exactly_these_fields():
    """Time in UTC with milliseconds; what is not known is left out."""
    found = in_json(lambda: log.warning("of %d", 3), application="shop")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("time"))
    assert found == {
        "level": "warning",
        "logger": "penstock",
        "message": "of 3",
        "application": "shop",
        "worker": "worker-1",
    }
    assert "application" not in in_json(lambda: log.warning("x"))


def test_an_error_has_its_coordinates():
    """Be it an argument of the message or the exception; those that are not known are left out."""
    error = DataError("bad record", topic="views", partition=3, offset=17, operator="map")

    def raised():
        try:
            raise error
        except DataError:
            log.exception("failed")

    for say in (raised, lambda: log.error("%s", error)):
        found = in_json(say)
        assert {name: found[name] for name in ("error", "topic", "partition", "offset")} == {
            "error": "DataError",
            "topic": "views",
            "partition": 3,
            "offset": 17,
        }
        assert found["operator"] == "map"
        assert "store" not in found


def test_an_object_is_one_line_whatever_is_said():
    """Line breaks, tracebacks, other scripts, and arguments that are no text."""

    def say():
        try:
            raise ValueError("one\ntwo")
        except ValueError:
            log.exception("a\nb ü %s", {"key": object})

    found = in_json(say)
    assert found["message"].startswith("a\nb ü {'key'")
    assert found["exception"].splitlines()[-2:] == ["ValueError: one", "two"]


def test_a_traceback_stands_below_its_line():
    """People get it as Python prints it."""

    def say():
        try:
            raise ValueError("x")
        except ValueError:
            log.exception("failed")

    lines = written(LogFormat.HUMAN, say)
    assert lines[0].endswith("failed")
    assert lines[-1] == "ValueError: x"


@pytest.mark.parametrize("format", LogFormat)
def test_other_loggers_are_heard_from_info_on(format):
    """A user's own functions log through it too."""

    def say():
        logging.getLogger("shop").info("heard")
        logging.getLogger("shop").debug("not heard")

    assert len(written(format, say)) == 1


def test_logging_is_afterwards_as_it_was():
    """The command line runs inside of other programs' tests."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    written(LogFormat.JSON, lambda: None)
    assert (root.handlers, root.level) == before
