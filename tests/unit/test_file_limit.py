"""The limit of open files, in processes of their own: it cannot be taken back."""

import subprocess
import sys
from pathlib import Path

RAISED = """
import resource
from penstock.runtime.file_limit import raise_file_limit
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
print(raise_file_limit(), resource.getrlimit(resource.RLIMIT_NOFILE))
"""

FEW = """
import resource, sys
from pathlib import Path
from penstock.errors import StateError
from penstock.state.directories import lock_store
from penstock.state.rocksdb import DamagedStore, RocksMemory, RocksStore
memory, root = RocksMemory(8 * 1024 * 1024), Path(sys.argv[1])
first = [RocksStore(root / "first", memory)]
resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
try:
    for number in range(60):
        if sys.argv[2] == "locks":
            first.append(lock_store(root / str(number), lambda: False))
        else:
            first.append(RocksStore(root / str(number), memory))
except StateError as error:
    print(type(error).__name__, error)
"""


def python(program: str, *arguments: str) -> str:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_it_is_raised_to_what_this_process_may_have() -> None:
    assert python(RAISED.format(soft=100, hard=500)) == "500 (500, 500)\n"


def test_one_that_is_high_enough_is_left_alone() -> None:
    assert python(RAISED.format(soft=500, hard=500)) == "500 (500, 500)\n"


def test_a_store_that_cannot_be_opened_for_want_of_files_says_so(tmp_path: Path) -> None:
    """It is not damaged, and no other process has it open."""
    said = python(FEW, str(tmp_path), "stores")
    assert said.startswith("StateError The store in"), said
    assert "this process may open no more files; raise its limit (ulimit -n" in said
    assert "another process" not in said


def test_a_lock_that_cannot_be_taken_for_want_of_files_says_so(tmp_path: Path) -> None:
    said = python(FEW, str(tmp_path), "locks")
    assert "cannot be opened: Too many open files. Raise this process's limit" in said, said
