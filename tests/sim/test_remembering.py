"""Deduplication and timers under a seed: whatever happens to workers, nothing is forgotten.

    PENSTOCK_SEED=17 pytest tests/sim/test_remembering.py

repeats one world. Without it the seeds are new ones each time; a failure names its seed.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.sim import sabotage_remembering
from tests.sim.judging_remembering import judge
from tests.sim.remembering import RememberingWorld
from tests.sim.sabotage import Patch
from tests.sim.test_worlds import LAST_EVENTS, seeds
from tests.sim.world import Plan

WORLDS = 30
MANY_WORLDS = 3_000
NOTICED_WITHIN = 60


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("penstock")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)


def live(seed: int) -> RememberingWorld:
    """Let a world live and judge it; what goes wrong is told with seed and story."""
    plan = replace(Plan.of(seed), guarantee="exactly_once")
    world = RememberingWorld(plan)
    try:
        world.run()
        judge(world)
    except Exception as error:
        story = "\n".join(world.events[-LAST_EVENTS:])
        error.add_note(f"PENSTOCK_SEED={seed}, {plan}; it ended like this:\n{story}")
        raise
    finally:
        world.end()
    return world


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
    for seed in range(NOTICED_WITHIN):
        try:
            live(seed)
        except AssertionError:
            return
        except Exception:  # noqa: BLE001 - it breaks in other ways too; a wrong result is meant
            continue
    pytest.fail(f"{NOTICED_WITHIN} worlds have not noticed it")
