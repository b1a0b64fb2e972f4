"""`make lint` on a tree with a fault for each of its checks: all of them run and are named."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.installed import ROOT, configuration

FAULTS = {
    "streams/durations.py": "\n\ndef broken() -> int:\n    return ''\n",
    "streams/errors.py": "\nimport penstock.durations\n",
    "streams/version.py": "UGLY = [ 1 ]\n",
    "tests/typing/programs.py": "\nORDERS.nope()\n",
    "docker-compose.yml": "\nnonsense: true\n",
}
CHECKS = {
    "ruff check",
    "ruff format",
    "import contracts",
    "mypy, package",
    "mypy, programs",
    "pyright",
    "docker-compose.yml",
}


def test_every_check_that_fails_is_named(tmp_path: Path) -> None:
    tree = copy_tree(tmp_path)
    for file, fault in FAULTS.items():
        with (tree / file).open("a") as opened:
            opened.write(fault)
    tools = Path(sys.executable).parent.parent
    done = subprocess.run(
        [tree / ".ci" / "lint", tools], cwd=tree, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    failed = {line.removeprefix("lint failed: ") for line in done.stderr.splitlines()}
    assert failed == CHECKS, done.stdout
    assert "streams/durations.py:" in done.stdout


def copy_tree(target: Path) -> Path:
    mapped = configuration()["tool"]["setuptools"]["package-dir"].values()
    folders = {folder.split("/")[0] for folder in mapped} | {".ci", "examples", "tests/typing"}
    for folder in folders:
        shutil.copytree(
            ROOT / folder, target / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    for file in ("pyproject.toml", "README.md", "LICENSE", "docker-compose.yml"):
        shutil.copy(ROOT / file, target)
    return target
