"""What binds a worker to its supervisor: the worker ends with it, and tells it why it ends."""

import socket
import subprocess
import sys
import threading

import pytest

from penstock.runtime.ending import Ending
from penstock.runtime.exits import Exit
from penstock.runtime.parent import MOST_WORDS, Ends, Parent, Serves, understood

PROGRAM = """
import sys, time
from penstock.runtime.parent import Parent
parent = Parent(int(sys.argv[1]))
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def bound():
    """A worker's end, the supervisor's, and how the process was ended."""
    ours, theirs = socket.socketpair()
    ends = []
    parent = Parent(theirs.detach(), exit_now=lambda *args: ends.append(args))
    yield parent, ours, ends
    ours.close()
    parent._thread.join(30)


def test_a_cause_arrives_and_is_cut_where_it_would_block(bound):
    """Nobody reads before the worker has ended."""
    parent, ours, _ = bound
    parent.serves(8_321, "sesame")
    assert parent.tell("no\nbroker \ud800")
    assert parent.tell("\x01" * 10 * MOST_WORDS)
    with ours.makefile("rb") as lines:
        told = [understood(lines.readline()) for _ in range(3)]
    assert told == [
        Serves(port=8_321, token="sesame"),
        Ends(cause="no\nbroker ?"),
        Ends(cause="\x01" * MOST_WORDS),
    ]
    assert "sesame" not in repr(told)
    ours.close()
    assert not parent.tell("nobody hears it")


def test_a_line_that_the_end_has_cut_off_says_nothing():
    assert understood(b'{"type":"ends","cau') is None


def test_a_run_stops_in_order_with_the_supervisor(bound):
    """The other end is closed, whatever has closed it."""
    parent, ours, ends = bound
    stopped = threading.Event()
    ending = Ending(stopped.set, 60_000)
    with parent.stops(ending):
        ours.close()
        assert stopped.wait(30)
    ending.ended()
    assert ends == []


def test_a_run_that_is_over_ends_by_itself(bound):
    """Its last words are not cut off."""
    parent, ours, ends = bound
    stops = []
    with parent.stops(Ending(lambda: stops.append(1), 60_000)):
        pass
    ours.close()
    parent._thread.join(30)
    assert (stops, ends) == ([], [])


def test_a_worker_that_does_not_run_yet_ends_too():
    """Its file may take for ever to be imported."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdout=subprocess.PIPE,
        )
    assert process.stdout.readline() == b"ready\n"
    ours.close()
    assert process.wait(30) == Exit.STOPPED
    process.stdout.close()
