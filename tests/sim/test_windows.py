"""Windows and sessions under a seed: whatever happens to workers, each is exact.

    PENSTOCK_SEEDS=17..17 pytest tests/sim/test_windows.py

repeats one world. Without it the seeds are new ones each time; a failure names its seed.
"""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from penstock.runtime.cost import RecordCost
from penstock.testing.sim.clock import EPOCH_MS
from penstock.testing.sim.producer import SimProducer
from tests.sim import sabotage_windows
from tests.sim.judging import read
from tests.sim.judging_windows import judge, key_of
from tests.sim.plans import Plan, exact_plan
from tests.sim.sabotage import Patch
from tests.sim.seeds import Kind, check_noticed, check_worlds, in_parts
from tests.sim.windows import EVENTS, REGROUPED, WindowsWorld

pytestmark = pytest.mark.usefixtures("quiet")

WORLDS = 60
NOTICED_WITHIN = 60
WINDOWS = Kind(exact_plan, WindowsWorld, judge)


@in_parts(WORLDS)
def test_windows_are_exact(part: Sequence[int] | int) -> None:
    """Crashes, stalls, rebalances, lost and late answers between any two calls change nothing."""
    check_worlds(WINDOWS, part)


@pytest.mark.parametrize("broken", sabotage_windows.SABOTAGES, ids=lambda broken: broken.__name__)
def test_a_broken_build_is_noticed(broken: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rule of time matters to some world: the results are wrong without it."""
    broken(monkeypatch)
    check_noticed(WINDOWS, NOTICED_WITHIN)


def crowded_out() -> set[str]:
    """Let a worker catch up with many records, and look what is closed before it has done so.

    Returns:
        the letters of the windows that are closed though no record comes for them any more.
    """
    plan = replace(Plan.of(1), workers=1, partitions=2, guarantee="exactly_once", favourite=None)
    world = WindowsWorld(plan)
    world.ill = False
    producer = SimProducer(world.broker, world.broker.process("writer"), {})
    for number in range(1_500):
        letter = "abcd"[number % 4] if number < 40 else "a"
        for partition in range(2):
            at = EPOCH_MS + number * 20
            producer.produce(EVENTS, letter, f"k{partition}", partition, timestamp=at)
    producer.flush()
    (slot,) = world.slots
    while world.lag().keys() >= {(EVENTS, 0), (EVENTS, 1)}:
        world.step(slot)
        world.broker.advance(0.05)
    found = {key_of(record).key for record in read(world.broker, REGROUPED)}
    world.end()
    return found - {"a"}


def test_windows_close_though_records_come_for_others_without_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(RecordCost, "records", lambda _: 20)
    assert crowded_out() == set("bcd")


def test_to_wait_for_a_pause_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker once did that."""
    monkeypatch.setattr(RecordCost, "records", lambda _: 20)
    sabotage_windows.who_has_no_records_waits(monkeypatch)
    assert crowded_out() < set("bcd")
