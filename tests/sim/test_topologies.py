"""Drawn applications under a seed: each leaves what a clean run of it leaves.

    PENSTOCK_SEEDS=17..17 pytest tests/sim/test_topologies.py

repeats one world. Without it the seeds are new ones each time; a failure names its seed.
"""

from collections import Counter
from collections.abc import Sequence

import pytest

from tests.sim import sabotage_topologies
from tests.sim.judging_topologies import judge
from tests.sim.plans import exact_plan
from tests.sim.sabotage import Patch
from tests.sim.seeds import Kind, check_noticed, check_worlds, in_parts
from tests.sim.topologies import Drawn, DrawnWorld

pytestmark = pytest.mark.usefixtures("quiet")

WORLDS = 300
NOTICED_WITHIN = 80
TOPOLOGIES = Kind(exact_plan, DrawnWorld, judge)


@in_parts(WORLDS)
def test_drawn_applications_are_exact(part: Sequence[int] | int) -> None:
    """Crashes, stalls, rebalances, lost and late answers between any two calls change nothing."""
    check_worlds(TOPOLOGIES, part)


@pytest.mark.parametrize(
    "broken", sabotage_topologies.SABOTAGES, ids=lambda broken: broken.__name__
)
def test_a_broken_build_is_noticed(broken: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clean run of the broken build is no excuse for it."""
    broken(monkeypatch)
    check_noticed(TOPOLOGIES, NOTICED_WITHIN)


def test_all_kinds_of_ends_and_steps_are_drawn() -> None:
    drawn = [Drawn(exact_plan(seed)) for seed in range(120)]
    ends = Counter(end.what.split(" of ")[0] for one in drawn for end in one.ends)
    steps = Counter(step.split(" of ")[0] for one in drawn for step in one.steps)
    assert set(steps) == {"map", "filter", "branch", "merge"}
    assert len(ends) == 13
    assert min(ends.values()) >= 3
