"""Types are real: programs pass both checkers, and each misuse is caught on its line.

`misuse.py` marks the lines that have to fail: `# E` under both checkers, `# E mypy` or
`# E pyright` under one of them, where the other infers less.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import penstock as ps
from tests.installed import ROOT, configuration, install
from tests.typing import programs

FOLDER = Path(__file__).parent
FILES = ("programs.py", "misuse.py")
MARK = re.compile(r"# E( mypy| pyright)?\b")

Failures = dict[str, dict[int, str]]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module", params=["mypy", "pyright"])
def checked(
    request: pytest.FixtureRequest, site: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Failures]:
    """What a checker says: its name, and the failing lines of each file."""
    check = mypy if request.param == "mypy" else pyright
    return request.param, check(site, tmp_path_factory.mktemp(request.param))


def mypy(site: Path, work: Path) -> Failures:
    config = ["--config-file", ROOT / "pyproject.toml", "--cache-dir", work, "--no-pretty"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *config, "--follow-imports=silent", *FILES],
        cwd=FOLDER,
        env={**os.environ, "MYPYPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "checked 2 source files" in done.stdout, done.stdout + done.stderr
    found: Failures = {file: {} for file in FILES}
    for file, line, text in re.findall(r"^([^:\n]+):(\d+): error: (.*)$", done.stdout, re.M):
        found.setdefault(file, {})[int(line)] = text
    return found


def pyright(site: Path, work: Path) -> Failures:
    for file in FILES:
        shutil.copy(FOLDER / file, work)
    settings = {**configuration()["tool"]["pyright"], "extraPaths": [str(site)]}
    (work / "pyrightconfig.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--project", work,
         "--pythonpath", sys.executable],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    report = json.loads(done.stdout)
    # It ends with 0 where it finds no file at all.
    assert report["summary"]["filesAnalyzed"] == len(FILES), report["summary"]
    found: Failures = {file: {} for file in FILES}
    for problem in report["generalDiagnostics"]:
        if problem["severity"] == "error":
            lines = found.setdefault(Path(problem["file"]).name, {})
            lines[problem["range"]["start"]["line"] + 1] = problem["message"]
    return found


def marked(checker: str) -> set[int]:
    lines = (FOLDER / "misuse.py").read_text().splitlines()
    marks = {number: MARK.search(line) for number, line in enumerate(lines, 1) if line[:3] != '"""'}
    return {n for n, mark in marks.items() if mark and (mark[1] or checker).strip() == checker}


def test_programs_pass(checked: tuple[str, Failures]) -> None:
    _, failures = checked
    assert failures["programs.py"] == {}


def test_each_misuse_is_caught_and_nothing_else(checked: tuple[str, Failures]) -> None:
    checker, failures = checked
    expected = marked(checker)
    assert len(expected) > 60
    assert set(failures) == set(FILES)
    assert failures["misuse.py"].keys() == expected, failures["misuse.py"]


@pytest.mark.parametrize("program", programs.APPLICATIONS, ids=lambda program: program.__name__)
def test_programs_can_be_declared(program: Callable[[], ps.App]) -> None:
    assert program().topology().nodes


def test_the_driver_has_the_types_that_it_promises() -> None:
    programs.drive()
