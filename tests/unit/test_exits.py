"""Exit codes: one table, and nothing in it that its documentation does not say."""

import re
import signal
from pathlib import Path

import pytest

from penstock import errors
from penstock.runtime import exits
from penstock.runtime.exits import (
    Exit,
    code_of,
    code_of_status,
    describe,
    kind_of,
    restart_may_mend,
)

GUIDE = Path(__file__).parents[2] / "docs" / "running.md"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.TopologyError("x"), 5),
        (errors.DataError("x"), 6),
        (errors.BrokerError("x"), 7),
        (errors.StateError("x"), 8),
        (errors.BugError("x"), 9),
        (ZeroDivisionError("x"), 1),
    ],
)
def test_each_kind_of_error_has_its_code(error, code):
    """What is to blame can be told from the code."""
    assert code_of(error) == code


def test_a_subclass_has_the_code_of_its_root():
    """Errors inside of Penstock are finer than the five roots; their codes are not."""

    class Fenced(errors.BrokerError):
        pass

    assert code_of(Fenced("x")) == Exit.BROKER
    assert (kind_of(Fenced("x")), kind_of(KeyError("x"))) == ("BrokerError", "KeyError")


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0, "exit code 0, stopped in order"),
        (1, "exit code 1, an error that is not Penstock's"),
        (7, "exit code 7, BrokerError"),
        (99, "exit code 99"),
        (130, "exit code 130, ended at once by SIGINT"),
        (-signal.SIGKILL, "killed by SIGKILL"),
    ],
)
def test_an_end_is_described(status, text):
    """A status is said in words, be it a code or a signal."""
    assert describe(status) == text


def test_a_killed_child_counts_as_shells_count_it():
    """The supervisor ends with a code, its children with a status."""
    assert (code_of_status(-9), code_of_status(7)) == (137, 7)


def test_no_restart_mends_wrong_code_and_wrong_records():
    """Everything else may be better next time."""
    hopeless = {code for code in Exit if not restart_may_mend(code)}
    assert hopeless == {Exit.USAGE, Exit.TOPOLOGY, Exit.DATA}
    assert restart_may_mend(-signal.SIGKILL)


@pytest.mark.parametrize("text", [exits.__doc__, GUIDE.read_text()], ids=["module", "guide"])
def test_every_code_is_documented(text):
    """The table stands in the module and in the guide, and both have all of it."""
    found = {int(code) for code in re.findall(r"^(?:\| | {4})`?(\d+)`? ", text, re.MULTILINE)}
    assert found == {*Exit, 128}
