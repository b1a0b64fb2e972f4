"""`.ci/setup` on machines that lack something: it says what, and what to do."""

import os
import subprocess
import sys
from pathlib import Path

from tests.installed import ROOT


def set_up(venv: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "PYTHON"))}
    return subprocess.run(
        [ROOT / ".ci" / "setup", venv],
        cwd=ROOT,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def python(folder: Path, refuses: str) -> str:
    """Make a python that fails where its code has this text."""
    script = folder / "python3"
    script.write_text(
        f'#!/bin/sh\ncase "$*" in *"{refuses}"*) exit 1;; esac\nexec {sys.executable} "$@"\n'
    )
    script.chmod(0o755)
    return str(script)


def test_without_python_it_says_so(tmp_path: Path) -> None:
    done = set_up(tmp_path / "venv", PYTHON="python3.0")
    assert done.returncode == 1
    assert "There is no python3.0" in done.stderr


def test_an_old_python_is_refused(tmp_path: Path) -> None:
    done = set_up(tmp_path / "venv", PYTHON=python(tmp_path, "version_info"))
    assert done.returncode == 1
    assert "needs Python 3.11 or newer" in done.stderr


def test_without_venv_it_names_the_package(tmp_path: Path) -> None:
    done = set_up(tmp_path / "venv", PYTHON=python(tmp_path, "import venv"))
    assert done.returncode == 1
    assert "apt-get install python3-venv" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_without_the_index_it_says_what_to_check(tmp_path: Path) -> None:
    done = set_up(
        tmp_path / "venv",
        PYTHON=sys.executable,
        PIP_CONFIG_FILE=os.devnull,
        PIP_INDEX_URL="http://127.0.0.1:9/simple",
        PIP_NO_CACHE_DIR="1",
        PIP_RETRIES="0",
    )
    assert done.returncode == 1
    assert "Check the network and pip's configuration" in done.stderr
