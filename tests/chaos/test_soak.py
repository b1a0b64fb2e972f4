"""A worker under load for ten minutes: its memory, files and threads do not grow.

It commits several times a second, closes windows, fires timers, flushes its stores, and gives tasks
to another worker and takes them back. PENSTOCK_SOAK_S says for how long.
"""

import faulthandler
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from tests.chaos.team import Team
from tests.kafka.conftest import ApplicationFactory, TopicFactory
from tests.kafka.feeding import Load, endless_words
from tests.kafka.usage import ALLOWED, MIB, Usage, grown, leaking, per_second, shown, usage
from tests.kafka.workers import QUICK

SOAK_S = float(os.environ.get("PENSTOCK_SOAK_S") or 600)
PER_SECOND = 500
WARM_UP = 0.25  # of the time; until then caches fill
TURN_S = 20.0
END_S = 120.0
TASKS = 8  # four partitions of the input, and of the repartition topic
LEAK_S = 3.0
STATE = {"memory_bytes": 16 * MIB, "flush_interval_ms": 2_000}


class Soak(Team):
    """A team that does a little of all, with a load that it can easily bear."""

    outputs = ("upper", "counts", "seconds", "visits")

    def load(self, first: int = 0) -> Load:
        words = endless_words(first=first)
        return Load(self.first.servers, {self.first.inputs[0]: words}, PER_SECOND)


@pytest.fixture
def patience() -> Iterator[None]:
    """Let a test last as long as it does: hangs are found out later."""
    faulthandler.cancel_dump_traceback_later()
    faulthandler.dump_traceback_later(SOAK_S + 2 * END_S, exit=True, file=sys.__stderr__)
    yield
    faulthandler.cancel_dump_traceback_later()


def watch(pid: int, seconds: float, every_s: float = 1.0) -> Iterator[Usage]:
    """Look at a process from time to time, for so long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield usage(pid)
        time.sleep(every_s)


@pytest.mark.kafka
@pytest.mark.chaos
@pytest.mark.full
def test_a_worker_stays_as_large_as_it_is(patience: None, application: ApplicationFactory) -> None:
    """While another one joins and leaves; all that both do is exact in the end."""
    options = {"kafka": QUICK, "state": STATE, "worker": {"leave": True}}
    team = Soak(application, 2, name="soak", **options)
    lasting, guest = team.workers
    samples: list[Usage] = []
    with team.load():
        lasting.start().wait_for("runs from")
        began, turn_s = time.monotonic(), min(TURN_S, SOAK_S / 12)
        while time.monotonic() < began + SOAK_S:
            # Like is compared with like: it has all tasks, and their stores.
            lasting.wait_until(lambda: len(lasting.tasks()) == TASKS, "it has all tasks")
            samples += watch(lasting.pid, turn_s)
            guest.start().wait_for("runs from")
            time.sleep(turn_s / 4)
            guest.stop()
    warm = [of for of in samples if of.at_s - began > WARM_UP * SOAK_S]
    print(f"{team.said('Given back')} times given back; from the start: {shown(samples)}")
    print(f"warm: {shown(warm)}")
    team.end()
    assert not leaking(warm), grown(warm)


@pytest.mark.kafka
@pytest.mark.chaos
def test_a_leak_shows_within_seconds(topic: TopicFactory, application: ApplicationFactory) -> None:
    """The control: a worker that keeps something of each commit."""
    app = application("map", topic("in"), topic("out"), sabotage="leak")
    with Load(app.servers, {app.inputs[0]: endless_words()}, PER_SECOND):
        app.start().wait_for_progress()
        samples = list(watch(app.pid, LEAK_S, every_s=0.2))
    print(shown(samples))
    assert leaking(samples) == ALLOWED.keys() - {"tables"}


# The checker


def samples(memory: Callable[[float], float], files: Sequence[int] = (50,)) -> list[Usage]:
    """One each second for ten minutes, with the noise of a worker."""
    draw = random.Random(1)
    return [
        Usage(at, round(memory(at) + draw.gauss(0, MIB)), files[at % len(files)], 0, 20)
        for at in range(600)
    ]


@pytest.mark.parametrize("per_hour", [0, 20, -50])
def test_noise_and_a_few_caches_are_no_leak(per_hour: int) -> None:
    """Nor are files that come and go."""
    found = samples(lambda at: 80 * MIB + at * per_hour * MIB / 3600, files=(50, 58, 51))
    assert not leaking(found), grown(found)
    assert per_second(found, "memory") * 3600 / MIB == pytest.approx(per_hour, abs=5)


def test_what_grows_steadily_is_a_leak() -> None:
    """Be it 100 MiB an hour, which no look at the first and the last sample tells from noise."""
    found = samples(lambda at: 80 * MIB + at * 100 * MIB / 3600)
    assert leaking(found) == {"memory"}
    grows = [of._replace(files=50 + n // 60, threads=20 + n // 100) for n, of in enumerate(found)]
    assert leaking(grows) == {"memory", "files", "threads"}
    assert leaking([of._replace(tables=n // 5) for n, of in enumerate(found)]) >= {"tables"}


def test_what_is_said_has_the_slopes() -> None:
    found = shown(samples(lambda _: 0))
    assert "50 -> 50 files (+0.0/h), 0 -> 0 tables (+0.0/h), 20 -> 20 threads (+0.0/h)" in found
