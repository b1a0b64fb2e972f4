"""Deduplication and timers under a seed: whatever happens to workers, nothing is forgotten.

    PENSTOCK_SEED=17 pytest tests/sim/test_remembering.py

repeats one world. Without it the seeds are new ones each time; a failure names its seed.
"""

from dataclasses import replace

import pytest

from tests.sim import sabotage_remembering
from tests.sim.judging_remembering import judge
from tests.sim.remembering import RememberingWorld
from tests.sim.sabotage import Patch
from tests.sim.seeds import check_noticed, live_and_judge, seeds
from tests.sim.world import Plan

pytestmark = pytest.mark.usefixtures("quiet")

WORLDS = 30
MANY_WORLDS = 3_000
NOTICED_WITHIN = 60


def live(seed: int) -> RememberingWorld:
    """Let a world live and judge it."""
    plan = replace(Plan.of(seed), guarantee="exactly_once")
    return live_and_judge(seed, RememberingWorld(plan), judge)


def test_what_is_remembered_is_exact() -> None:
    """Crashes, stalls, rebalances, lost and late answers between any two calls change nothing."""
    for seed in seeds(WORLDS):
        live(seed)


@pytest.mark.full
def test_what_is_remembered_is_exact_in_many_worlds() -> None:
    """The same, for as long as one likes to wait."""
    for seed in seeds(MANY_WORLDS):
        live(seed)


@pytest.mark.parametrize(
    "broken", sabotage_remembering.SABOTAGES, ids=lambda broken: broken.__name__
)
def test_a_broken_build_is_noticed(broken: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rule of memory matters to some world: the results are wrong without it."""
    broken(monkeypatch)
    check_noticed(live, NOTICED_WITHIN)
