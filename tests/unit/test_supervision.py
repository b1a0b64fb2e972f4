"""Supervision on a virtual clock: tables of events, and what is commanded."""

import random
import signal
from signal import SIGINT, SIGKILL, SIGTERM

import pytest

from penstock.runtime.exits import Exit
from penstock.runtime.supervision import (
    AT_ONCE_S,
    FIRST_PAUSE_S,
    HEALTHY_S,
    KILL_AFTER_S,
    MOST_PAUSE_S,
    Phase,
    Say,
    Send,
    Start,
    Supervision,
)

BROKER, DATA = int(Exit.BROKER), int(Exit.DATA)


class Drill:
    """A supervision with a clock; words are kept apart from commands."""

    def __init__(self, workers=2, **options):
        self.supervision = Supervision(workers, **options)
        self.now = 0.0
        self.said = []
        assert self._heard(self.supervision.begin(0.0)) == [Start(n) for n in range(workers)]

    def after(self, seconds):
        """Let time pass, and return what is commanded then."""
        self.now += seconds
        return self._heard(self.supervision.passed(self.now))

    def ends(self, worker, status, cause=""):
        return self._heard(self.supervision.ended(worker, status, cause, self.now))

    def signal(self, number):
        return self._heard(self.supervision.signalled(number, self.now))

    def pause(self):
        """Return how long until something is due, and let it pass."""
        seconds = self.supervision.next_due() - self.now
        assert self.after(seconds * 0.99) == []
        assert self.after(seconds * 0.02) == [Start(0)]
        return seconds

    @property
    def over(self):
        """The exit code, None before the end."""
        ended = self.supervision.phase is Phase.ENDED
        assert not ended or self.supervision.next_due() is None
        return int(self.supervision.exit_code) if ended else None

    def _heard(self, commands):
        self.said += [command.text for command in commands if isinstance(command, Say)]
        return [command for command in commands if not isinstance(command, Say)]


def test_a_worker_is_started_again_after_pauses_that_double():
    """0.2 s, 0.4 s, ... and never more than 30 s."""
    drill = Drill(1, restarts=12)
    pauses = []
    for _ in range(12):
        assert drill.ends(0, BROKER, "no broker") == []
        pauses.append(round(drill.pause(), 6))
    assert pauses[:4] == [FIRST_PAUSE_S, 0.4, 0.8, 1.6]
    assert pauses[-1] == MOST_PAUSE_S
    assert pauses == sorted(pauses)


def test_each_restart_says_why_and_which_it_is():
    """Worker, way of its end, pause, count; the cause is what the worker itself has said."""
    drill = Drill()
    drill.ends(1, -SIGKILL)
    assert drill.said == [
        "Worker 1 has ended (killed by SIGKILL). It is started again in 0.2 s: restart 1 of 10 in a row."
    ]
    drill.ends(0, BROKER, "no broker")
    assert "(exit code 7, BrokerError). It is" in drill.said[1]


@pytest.mark.parametrize("status", [BROKER, 1, 3, 8, 9, -SIGKILL, -signal.SIGSEGV, 0])
def test_whatever_a_restart_may_mend_is_started_again(status):
    """Also a worker that somebody has stopped from outside."""
    drill = Drill()
    assert drill.ends(1, status) == []
    assert drill.after(FIRST_PAUSE_S) == [Start(1)]
    assert drill.over is None


@pytest.mark.parametrize("status", [2, 5, DATA])
def test_what_no_restart_mends_is_given_up_at_once(status):
    """The others are stopped in order, and the exit code is that of the failure."""
    drill = Drill(3)
    assert drill.ends(1, status, "record 3 is bad") == [Send(0, SIGTERM), Send(2, SIGTERM)]
    assert drill.ends(0, 0) == []
    assert drill.over is None
    drill.ends(2, 0)
    assert drill.over == status
    assert drill.supervision.verdict.startswith("Worker 1 has failed and no restart mends that")
    assert drill.supervision.verdict.endswith("record 3 is bad")


def test_a_worker_that_fails_again_and_again_is_given_up():
    """After the named number of restarts, with the last cause."""
    drill = Drill(2, restarts=2)
    for number in range(2):
        assert drill.ends(0, BROKER, f"cause {number}") == []
        drill.pause()
    assert drill.ends(0, BROKER, "cause 2") == [Send(1, SIGTERM)]
    drill.ends(1, 0)
    assert drill.over == BROKER
    assert drill.supervision.verdict == (
        "Worker 0 has failed 3 times in a row, at last with exit code 7, BrokerError: cause 2"
    )


def test_a_worker_that_was_killed_ends_all_with_the_shells_code():
    """137 is what a kill by SIGKILL is elsewhere too."""
    drill = Drill(1, restarts=0)
    drill.ends(0, -SIGKILL)
    assert drill.over == 137
    assert drill.supervision.verdict == "Worker 0 has failed with killed by SIGKILL"


def test_failures_far_apart_are_none_in_a_row():
    """A worker that has run for a minute begins anew."""
    drill = Drill(1, restarts=1)
    for _ in range(5):
        drill.after(HEALTHY_S + 1)
        assert drill.ends(0, BROKER) == []
        assert drill.pause() == pytest.approx(FIRST_PAUSE_S)


def test_failures_of_two_workers_are_not_added():
    """Each has its own count."""
    drill = Drill(2, restarts=1)
    drill.ends(0, BROKER)
    drill.ends(1, BROKER)
    assert drill.after(FIRST_PAUSE_S) == [Start(0), Start(1)]
    assert drill.over is None


@pytest.mark.parametrize("number", [SIGINT, SIGTERM])
def test_a_signal_stops_all_in_order(number):
    """It is passed on as it came; the code is 0 when all have ended by 0."""
    drill = Drill()
    assert drill.signal(number) == [Send(0, number), Send(1, number)]
    drill.ends(1, 0)
    assert drill.over is None
    drill.ends(0, 0)
    assert drill.over == 0
    assert drill.supervision.verdict == "All workers have stopped in order."


def test_nothing_is_started_while_stopping():
    """A pause that runs is over, and a worker that fails while it stops stays down."""
    drill = Drill()
    drill.ends(0, BROKER)
    assert drill.signal(SIGTERM) == [Send(1, SIGTERM)]
    assert drill.after(FIRST_PAUSE_S * 2) == []
    drill.ends(1, BROKER, "no broker")
    assert drill.over == BROKER
    assert drill.supervision.verdict == (
        "Worker 1 did not stop in order, exit code 7, BrokerError: no broker"
    )


def test_a_stop_with_no_worker_up_ends_at_once():
    """All wait for their next start."""
    drill = Drill(1)
    drill.ends(0, BROKER)
    assert drill.signal(SIGTERM) == []
    assert drill.over == 0


def test_a_worker_that_had_not_begun_stops_in_order():
    """It dies of the very signal that asks it to stop, before it listens to it."""
    drill = Drill(1)
    drill.signal(SIGTERM)
    drill.ends(0, -SIGTERM)
    assert drill.over == 0


def test_what_does_not_stop_in_time_is_killed():
    """All of it within ten seconds."""
    assert KILL_AFTER_S < 10
    drill = Drill()
    drill.signal(SIGTERM)
    drill.ends(0, 0)
    assert drill.after(KILL_AFTER_S - 0.1) == []
    assert drill.after(0.1) == [Send(1, SIGKILL)]
    drill.ends(1, -SIGKILL)
    assert drill.over == Exit.ABANDONED
    assert "Worker 1 did not stop within 9.5 s" in drill.supervision.verdict


def test_a_second_signal_ends_all_at_once():
    """It is passed on, and who does not heed it is killed soon."""
    drill = Drill()
    drill.signal(SIGTERM)
    drill.after(1)
    assert drill.signal(SIGINT) == [Send(0, SIGINT), Send(1, SIGINT)]
    drill.ends(0, 128 + SIGINT)
    assert drill.after(AT_ONCE_S) == [Send(1, SIGKILL)]
    drill.ends(1, -SIGKILL)
    assert drill.over == 128 + SIGINT
    assert "SIGINT, the second signal" in drill.supervision.verdict


def test_a_first_signal_while_giving_up_changes_nothing():
    """The workers are stopping already; for them it would be the second one."""
    drill = Drill()
    assert drill.ends(0, DATA, "bad") == [Send(1, SIGTERM)]
    assert drill.signal(SIGINT) == []
    drill.ends(1, 0)
    assert drill.over == DATA


@pytest.mark.parametrize("seed", range(200))
def test_whatever_happens_it_ends_and_starts_nothing_twice(seed):
    """Random events: no worker is started while it runs, and a stop is always over in time."""
    draw = random.Random(seed)
    drill = Drill(draw.randint(1, 4), restarts=draw.randint(0, 3))
    up = set(range(len(drill.supervision._workers)))

    def obey(commands):
        for command in commands:
            if isinstance(command, Start):
                assert command.worker not in up
                up.add(command.worker)
            else:
                assert command.worker in up

    def end(worker):
        up.discard(worker)
        obey(drill.ends(worker, draw.choice([0, 1, 5, 6, 7, 8, -9, -15])))

    for _ in range(draw.randint(0, 40)):
        event = draw.random()
        if event < 0.4 and up:
            end(draw.choice(sorted(up)))
        elif event < 0.97:
            obey(drill.after(draw.expovariate(0.2)))
        else:
            obey(drill.signal(draw.choice([SIGINT, SIGTERM])))
        if drill.over is not None:
            break
    if drill.over is None:
        obey(drill.signal(SIGTERM))
        for worker in sorted(up):
            end(worker)
    assert drill.over is not None
    assert not up
