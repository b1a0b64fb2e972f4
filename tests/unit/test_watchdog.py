"""The watchdog: it ends a stalled process, names the function, and counts looks, not time."""

import signal
import subprocess
import sys
import threading
import time

import pytest

from penstock.runtime.exits import Exit
from penstock.runtime.watchdog import LOOKS, Stall, Watchdog

LIMIT_MS = 1_000
STALLED = "has made no step for"

PROGRAM = """
import re, sys, time
from penstock.runtime.watchdog import Watchdog

def slow(seconds):
    time.sleep(seconds) if seconds else re.match("(a+)+$", "a" * 60 + "b")

limit_ms, steps, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
with Watchdog(limit_ms) as watchdog:
    for _ in range(steps):
        watchdog.alive()
        print("step", flush=True)
        slow(seconds)
print("done", flush=True)
"""


@pytest.mark.parametrize(
    ("events", "stalled"),
    [  # s: a step, .: a look
        ("s...", False),
        ("s....", True),
        ("s..s..s..", False),
        ("s...s...", False),
        ("s...s....", True),
        ("....", True),  # not one step: it hangs from the beginning
        ("s.s.s.s.s.s", False),
    ],
)
def test_looks_without_a_step_are_counted(events, stalled):
    """The first look after a step finds it; three in a row after that are a stall."""
    stall = Stall(3)
    assert any([stall.step() if event == "s" else stall.look() for event in events]) is stalled


def test_it_names_the_function_that_hangs_and_shows_all_stacks():
    """The last words are the cause; before them stands where every thread was."""
    said, ended, hanging = [], threading.Event(), threading.Event()

    def exit_now(code, *messages):
        said.extend([code, *messages])
        ended.set()

    def hangs():
        hanging.wait(30)

    with Watchdog(50, exit_now=exit_now):
        threading.Thread(target=lambda: ended.wait(30) and hanging.set()).start()
        hangs()
    code, stacks, cause = said
    assert code == Exit.WATCHDOG
    assert "in hangs" in stacks
    assert "Thread MainThread:" in stacks
    assert "penstock-watchdog" not in stacks  # it only looks
    assert f"{STALLED} 50 ms (max_poll_interval_ms)" in cause
    assert "Exit code 3" in cause


def test_it_is_over_with_its_context():
    """What comes after the loop may take as long as it likes."""
    said = []
    with Watchdog(20, exit_now=lambda *args: said.append(args)) as watchdog:
        watchdog.alive()
    watchdog._thread.join(30)
    assert not watchdog._thread.is_alive()
    assert said == []


def run(steps, seconds):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(LIMIT_MS), str(steps), str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_function_that_sleeps_ends_the_process():
    """Exit code 3, with the function's name, file and line in the last line."""
    process = run(1, 600)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == Exit.WATCHDOG
    last = said.rstrip().splitlines()[-1]
    assert STALLED in last
    assert "slow" in said


def test_a_function_that_comes_back_does_not():
    """The negative control: the same program within the limit."""
    process = run(3, LIMIT_MS / 1000 / 4)
    out = process.communicate(timeout=60)[0]
    assert (process.returncode, out.split()[-1]) == (0, "done")


def test_time_under_sigstop_does_not_count():
    """Stopped for twice the limit, between two looks or at any other time."""
    process = run(2, LIMIT_MS / 1000 / 4)
    assert process.stdout.readline() == "step\n"
    process.send_signal(signal.SIGSTOP)
    time.sleep(2 * LIMIT_MS / 1000)
    process.send_signal(signal.SIGCONT)
    out = process.communicate(timeout=60)[0]
    assert (process.returncode, out.split()[-1]) == (0, "done")


def test_a_stall_is_found_out_soon_after_the_limit():
    """So many looks in the limit, each of them counted once."""
    stall = Stall(LOOKS)
    stall.step()
    assert [stall.look() for _ in range(LOOKS + 1)] == [False] * LOOKS + [True]


def test_a_function_that_never_lets_go_of_pythons_lock_ends_too():
    """No thread of Python's gets to run then; the stack is shown all the same."""
    process = run(1, 0)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == -signal.SIGVTALRM
    assert "in slow" in said


def test_the_timer_is_gone_with_the_watchdog():
    """Nobody is killed by it who computes afterwards."""
    with Watchdog(60_000):
        assert signal.getitimer(signal.ITIMER_VIRTUAL)[0] > 0
    assert signal.getitimer(signal.ITIMER_VIRTUAL)[0] == 0
