"""How a run is ended from outside: in order, in time, or at once, whatever the main thread does."""

import signal
import subprocess
import sys
import threading
from signal import SIGINT, SIGTERM

import pytest

from penstock.errors import TopologyError
from penstock.runtime.ending import Ending
from penstock.runtime.exits import Exit
from penstock.runtime.signals import Signals

PROGRAM = """
import logging, sys, threading, time
from penstock.runtime.ending import Ending, stopped_by_signals

logging.basicConfig(level="INFO", format="%(message)s")
stopped = threading.Event()
ending = Ending(stopped.set, int(sys.argv[2]))
with stopped_by_signals(ending):
    print("ready", flush=True)
    {"order": stopped.wait, "hangs": lambda: time.sleep(600)}[sys.argv[1]]()
print("done", flush=True)
"""

# A thread of another kind holds the interpreter's main thread inside of one call of C, as the
# Kafka client does: handlers of Python's own would run only after it. It waits for a mutex that it
# has itself; a sleep in C would end with the first signal.
IN_C = PROGRAM.replace("time.sleep(600)", "deadlock()").replace(
    "logging.basicConfig",
    """
import ctypes

def deadlock():
    mutex = ctypes.create_string_buffer(128)
    for _ in range(2):
        ctypes.CDLL(None).pthread_mutex_lock(mutex)

logging.basicConfig""",
)


@pytest.fixture
def run():
    """Programs that are ended by signals; none is left behind."""
    started = []

    def start(kind, timeout_ms=60_000, program=PROGRAM):
        command = [sys.executable, "-c", program, kind, str(timeout_ms)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [SIGINT, SIGTERM])
def test_the_first_signal_stops_in_order(run, number):
    """The run ends by itself, and what follows it too."""
    process = run("order")
    process.send_signal(number)
    out, said = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "done\n")
    assert f"{number.name}: stopping" in said


@pytest.mark.parametrize("program", [PROGRAM, IN_C], ids=["in Python", "in C"])
def test_a_stop_is_bounded(run, program):
    """A run that hangs is ended with a code of its own; the last line says what is lost."""
    process = run("hangs", 200, program)
    process.send_signal(SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == Exit.ABANDONED
    assert "within 200 ms (stop_timeout_ms)" in said.rstrip().splitlines()[-1]


@pytest.mark.parametrize("program", [PROGRAM, IN_C], ids=["in Python", "in C"])
def test_a_second_signal_ends_at_once(run, program):
    """With the code that shells know; the two may differ."""
    process = run("hangs", 60_000, program)
    process.send_signal(SIGTERM)
    while "SIGTERM" not in process.stderr.readline():
        pass
    process.send_signal(SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + SIGINT
    assert "SIGINT, the second signal" in said.rstrip().splitlines()[-1]


def test_two_reasons_are_one_stop():
    """A supervisor that ends and a signal that comes with it are no second signal."""
    stops, ends = [], []
    ending = Ending(lambda: stops.append(1), 60_000, exit_now=lambda *args: ends.append(args))
    ending.ask("the supervisor has ended")
    ending.on_signal(SIGTERM)
    assert (len(stops), ends) == (1, [])
    ending.on_signal(SIGTERM)
    ending.ended()
    assert (len(stops), ends[0][0]) == (1, 143)


def test_a_run_that_has_ended_is_not_abandoned():
    """The limit is over with it."""
    ends = []
    ending = Ending(lambda: None, 50, exit_now=lambda *args: ends.append(args))
    ending.ask("stop")
    ending.ended()
    ending._timer.join(30)
    assert ends == []


def test_signals_are_as_before_afterwards():
    """Handlers and the interpreter's wake-up are put back."""
    before = signal.getsignal(SIGTERM)
    with Signals(SIGTERM) as signals:
        signal.raise_signal(SIGTERM)
        assert signals.wait(30) == [SIGTERM]
        assert signals.wait(0) == []
    assert signals.wait() is None
    signals.close()
    assert signal.getsignal(SIGTERM) is before
    assert signal.set_wakeup_fd(-1) == -1


def test_other_threads_are_told_what_to_use():
    """Only the main thread hears signals."""
    caught = []

    def enter():
        try:
            with Signals(SIGTERM):
                pass
        except TopologyError as error:
            caught.append(str(error))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join(30)
    assert "app.start()" in caught[0]
