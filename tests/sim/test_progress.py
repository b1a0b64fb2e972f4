"""What workers tell of themselves is true, whatever happens to them."""

from dataclasses import replace

from tests.sim.telling import TellingWorld, judge_progress
from tests.sim.test_worlds import LAST_EVENTS, seeds
from tests.sim.world import Plan

WORLDS = 60
WELL = 15


def live(seed: int, *, ill: bool) -> TellingWorld:
    """Let a world live, and hold what was told against what is there."""
    plan = replace(Plan.of(seed), guarantee="exactly_once", rolls=not ill)
    world = TellingWorld(plan, ill=ill)
    try:
        world.run()
        judge_progress(world, whole=not ill)
    except Exception as error:
        story = "\n".join(world.events[-LAST_EVENTS:])
        error.add_note(f"PENSTOCK_SEED={seed}, {plan}; it ended like this:\n{story}")
        raise
    finally:
        world.end()
    return world


def test_what_is_told_is_true() -> None:
    """No offset is told twice, by whichever run, and the rows between offsets are those there.

    What the dead had not told yet is missing.
    """
    told = 0
    for seed in seeds(WORLDS):
        told += sum(map(len, live(seed, ill=True).told.values()))
    assert told > WORLDS


def test_where_nobody_dies_all_is_told() -> None:
    """Rebalances and restarts in order lose nothing: sums over all records are the topics."""
    for seed in seeds(WELL):
        live(seed, ill=False)
