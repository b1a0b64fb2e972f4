"""The shell completes commands, options and their values: bash for real, the others by protocol."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
SOURCE = 'eval "$(_PENSTOCK_COMPLETE=source_bash penstock)"; '
ASK = (
    'COMP_WORDS=({words}); COMP_CWORD={at}; _penstock_completion penstock; echo "${{COMPREPLY[@]}}"'
)


def shell(script: str, **environment: str) -> list[str]:
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("penstock des", ["describe"]),
        ("penstock dead-letters re", ["redrive"]),
        ("penstock reset --loc", ["--local-state"]),
        ("penstock consume views --value-type j", ["json"]),
        ("penstock describe shop.py --format m", ["mermaid"]),
        ("penstock sta", ["status", "state"]),
        ("penstock state ex", ["export"]),
        ("penstock state scan shop totals --pre", ["--prefix"]),
        ("penstock progress shop --inst", ["--instance"]),
        ("penstock nonsense", []),
    ],
)
def test_bash_completes(words, found):
    """As bash asks when Tab is pressed."""
    assert shell(SOURCE + ASK.format(words=words, at=len(words.split()) - 1)) == found


def test_what_is_installed_completes(tmp_path):
    """--install-completion finds out which shell it was called from."""
    shell("penstock --install-completion; true", HOME=str(tmp_path))
    installed = tmp_path / ".bash_completions" / "penstock.sh"
    assert str(installed) in (tmp_path / ".bashrc").read_text()
    assert shell(f"source {installed}; " + ASK.format(words="penstock top", at=1)) == ["topics"]


@pytest.mark.parametrize("name", ["zsh", "fish"])
def test_other_shells_have_a_script_and_are_answered(name):
    script = " ".join(shell("penstock", _PENSTOCK_COMPLETE=f"source_{name}"))
    assert f"_PENSTOCK_COMPLETE=complete_{name}" in script
    asked = {"_PENSTOCK_COMPLETE": f"complete_{name}", "_TYPER_COMPLETE_ARGS": "penstock des"}
    asked["_TYPER_COMPLETE_FISH_ACTION"] = "get-args"
    assert "describe" in " ".join(shell("penstock", **asked))
