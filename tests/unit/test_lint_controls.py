"""Ruff and the import contracts fail on what they are there for: a broken tree for each.

The checkers of types have theirs in `tests/typing`, and so has `make lint` as a whole.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.installed import ROOT, install

BIN = Path(sys.executable).parent


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize(
    "line",
    [
        "import state",
        "import state.overlay",
        "from serde import json",
        "from topics.admin import Admin",
        "from cli import main",
        "import streams",
        "import pickle",
    ],
)
def test_ruff_refuses_bare_imports_and_pickle(line: str) -> None:
    done = ruff(f'"""A module."""\n\n{line}\n')
    assert done.returncode == 1
    assert "TID251" in done.stdout


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("import pickle\n\npickle.loads(data)", "S301"),
        ("import marshal\n\nmarshal.loads(data)", "S302"),
        ("eval(data)", "S307"),
        ("exec(data)", "S102"),
        ("import yaml\n\nyaml.load(data)", "S506"),
        ("import shelve\n\nshelve.open(data)", "S301"),
        ("import subprocess\n\nsubprocess.run(data, shell=True)", "S602"),
        ("import os\n\nos.system(data)", "S605"),
        ("import tempfile\n\ntempfile.mktemp()", "S306"),
    ],
)
def test_ruff_refuses_to_run_data(line: str, rule: str) -> None:
    done = ruff(f'"""A module."""\n\n{line}\n')
    assert done.returncode == 1
    assert rule in done.stdout


def test_ruff_refuses_the_clock() -> None:
    done = ruff('"""A module."""\n\nimport time\n\nNOW = time.time()\n')
    assert done.returncode == 1
    assert "TID251" in done.stdout


def test_ruff_takes_the_package() -> None:
    done = ruff('"""A module."""\n\nfrom penstock.state import overlay\n\nprint(overlay)\n')
    assert done.returncode == 0, done.stdout


def ruff(source: str) -> subprocess.CompletedProcess[str]:
    name = ROOT / "streams" / "engine" / "control.py"
    return run(BIN / "ruff", "check", "--stdin-filename", name, "-", input=source, cwd=ROOT)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return install(tmp_path)


def test_the_package_keeps_the_import_contracts(site: Path) -> None:
    done = contracts(site)
    assert done.returncode == 0, done.stdout
    assert "2 kept, 0 broken" in done.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("engine/batch.py", "import confluent_kafka"),
        ("engine/task.py", "import time"),
        ("operators/count.py", "from threading import Lock"),
        ("topology/graph.py", "import penstock.state.rocksdb"),
        ("state/overlay.py", "import logging"),
        ("engine/batch.py", "import penstock.runtime.clock"),
        ("operators/count.py", "import penstock.engine.batch"),
        ("state/store.py", "import penstock.operators.chunk"),
        ("serde/types.py", "import penstock.state.store"),
        ("topics/topic.py", "import penstock.state.store"),
        ("errors.py", "import penstock.durations"),
        ("runtime/run.py", "import penstock.cli.main"),
        ("app.py", "import penstock.testing.driver"),
    ],
)
def test_an_import_against_the_direction_breaks_a_contract(
    site: Path, module: str, line: str
) -> None:
    with (site / "penstock" / module).open("a") as file:
        file.write(f"\n{line}\n")
    done = contracts(site)
    assert done.returncode == 1
    assert "BROKEN" in done.stdout


def test_a_module_without_a_layer_breaks_the_contract(site: Path) -> None:
    (site / "penstock" / "helpers.py").write_text('"""Has no layer."""\n')
    done = contracts(site)
    assert done.returncode == 1
    assert "penstock.helpers" in done.stdout + done.stderr


def contracts(site: Path) -> subprocess.CompletedProcess[str]:
    return run(
        BIN / "lint-imports", "--no-cache", "--no-logo", "--config", ROOT / "pyproject.toml",
        cwd=site, env={**os.environ, "PYTHONPATH": str(site)},
    )  # fmt: skip
