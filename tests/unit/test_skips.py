"""CI fails on a skipped test, unless `.ci/allowed-skips` names it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.installed import ROOT

REPORT = """<testsuites><testsuite>
<testcase classname="tests.unit.test_a" name="test_one" />
<testcase classname="tests.unit.test_a" name="test_two[1]"><skipped message="no java" /></testcase>
</testsuite></testsuites>"""


def check(folder: Path, report: str, allowed: str) -> tuple[int, str]:
    (folder / "report.xml").write_text(report)
    (folder / "allowed").write_text(allowed)
    command = [sys.executable, ROOT / ".ci" / "check_skips.py", "report.xml", "allowed"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_a_skip_that_nobody_allows_fails(tmp_path: Path) -> None:
    code, said = check(tmp_path, REPORT, "# nothing\ntests.unit.test_b::*\n")
    assert code == 1
    assert "SKIPPED, which is not allowed: tests.unit.test_a::test_two[1]: no java" in said


@pytest.mark.parametrize("pattern", ["tests.unit.test_a::test_two*", "*::test_two?1?  # reason"])
def test_a_skip_that_is_allowed_is_named(tmp_path: Path, pattern: str) -> None:
    code, said = check(tmp_path, REPORT, pattern)
    assert code == 0
    assert "skipped: tests.unit.test_a::test_two[1]: no java" in said


def test_no_test_at_all_fails(tmp_path: Path) -> None:
    code, said = check(tmp_path, "<testsuites><testsuite /></testsuites>", "")
    assert (code, said.split(",")[0]) == (1, "0 tests ran")
