"""The demo counts exactly, and its check finds a build that does not."""

import os
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.kafka

TIMEOUT_S = 120
VERDICT = re.compile(r"(\d+) events, (\d+) lost, (\d+) doubled, recovery [\d.]+ s")


def demo(**environment: str) -> tuple[int, list[int]]:
    """Run the demo; return its exit code, and how many events were there, lost and doubled."""
    command = [sys.executable, "-m", "penstock.cli", "demo", "--seconds", "5"]
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    found = VERDICT.search(done.stdout)
    assert found, done.stdout + done.stderr
    return done.returncode, [int(number) for number in found.groups()]


def test_the_demo_counts_every_event_once() -> None:
    code, (events, lost, doubled) = demo()
    assert (code, lost, doubled) == (0, 0, 0)
    assert events > 10_000


def test_a_demo_that_is_broken_on_purpose_says_so() -> None:
    code, (_, lost, doubled) = demo(PENSTOCK_DEMO_BREAK="1")
    assert code == 1
    assert lost + doubled > 0
