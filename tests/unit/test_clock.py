"""The wall clock, read in one place."""

import re
import time
from pathlib import Path

import penstock
from penstock.runtime.clock import now_ms

PURE = ("engine", "operators", "topology")


def test_the_clock_tells_milliseconds():
    """Whole milliseconds since the epoch, between two readings of the system's clock."""
    before = time.time_ns()
    found = now_ms()
    after = time.time_ns()
    assert type(found) is int
    assert before // 1_000_000 <= found <= after // 1_000_000


def test_nobody_else_reads_it():
    """The engine is told the time: no module of it imports a clock."""
    root = Path(penstock.__file__).parent
    for folder in PURE:
        for file in (root / folder).glob("*.py"):
            assert not re.search(r"^\s*(import|from) time\b", file.read_text(), re.M), file
