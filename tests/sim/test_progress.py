"""What workers tell of themselves is true, whatever happens to them."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest

from tests.sim.plans import Plan, exact_plan
from tests.sim.seeds import Kind, check_worlds, in_parts
from tests.sim.telling import TellingWorld, judge_progress

pytestmark = pytest.mark.usefixtures("quiet")

WORLDS = 60
WELL = 15


def judge_some(world: TellingWorld) -> None:
    """Hold what was told against what is there; something was."""
    assert sum(map(len, world.told.values()))
    judge_progress(world, whole=False)


def well_plan(seed: int) -> Plan:
    """Plan a world in which nobody dies, but all are restarted in order."""
    return replace(exact_plan(seed), rolls=True)


ILL = Kind(exact_plan, TellingWorld, judge_some)
WELL_ONES = Kind(well_plan, partial(TellingWorld, ill=False), partial(judge_progress, whole=True))


@in_parts(WORLDS)
def test_what_is_told_is_true(part: Sequence[int] | int) -> None:
    """No offset is told twice, by whichever run, and the rows between offsets are those there.

    What the dead had not told yet is missing.
    """
    check_worlds(ILL, part)


@in_parts(WELL)
def test_where_nobody_dies_all_is_told(part: Sequence[int] | int) -> None:
    """Rebalances and restarts in order lose nothing: sums over all records are the topics."""
    check_worlds(WELL_ONES, part)
