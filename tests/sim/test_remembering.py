"""Deduplication and timers under a seed: whatever happens to workers, nothing is forgotten.

    PENSTOCK_SEEDS=17..17 pytest tests/sim/test_remembering.py

repeats one world. Without it the seeds are new ones each time; a failure names its seed.
"""

from collections.abc import Sequence

import pytest

from tests.sim import sabotage_remembering
from tests.sim.judging_remembering import judge
from tests.sim.plans import exact_plan
from tests.sim.remembering import RememberingWorld
from tests.sim.sabotage import Patch
from tests.sim.seeds import Kind, check_noticed, check_worlds, in_parts

pytestmark = pytest.mark.usefixtures("quiet")

WORLDS = 140
NOTICED_WITHIN = 60
REMEMBERING = Kind(exact_plan, RememberingWorld, judge)


@in_parts(WORLDS)
def test_what_is_remembered_is_exact(part: Sequence[int] | int) -> None:
    """Crashes, stalls, rebalances, lost and late answers between any two calls change nothing."""
    check_worlds(REMEMBERING, part)


@pytest.mark.parametrize(
    "broken", sabotage_remembering.SABOTAGES, ids=lambda broken: broken.__name__
)
def test_a_broken_build_is_noticed(broken: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rule of memory matters to some world: the results are wrong without it."""
    broken(monkeypatch)
    check_noticed(REMEMBERING, NOTICED_WITHIN)
