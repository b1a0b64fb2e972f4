"""Whole applications under a seed: whatever happens to their workers, the results are exact.

    PENSTOCK_SEEDS=17..17 pytest tests/sim

repeats one world. Without it the seeds are new ones each time; a failure names its seed.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

import pytest

from penstock.engine.transaction import TRANSITIONS, Event, State, Transaction
from penstock.testing.sim import Fate
from tests.sim import invariants, sabotage
from tests.sim.judging import judge
from tests.sim.mishaps import RATES
from tests.sim.plans import Plan
from tests.sim.seeds import Kind, check_noticed, check_worlds, in_parts, live
from tests.sim.world import World

pytestmark = pytest.mark.usefixtures("quiet")

WORLDS = 500
NOTICED_WITHIN = 200


def judge_all(world: World) -> None:
    """Judge what is left as a whole, and by each invariant."""
    judge(world)
    if world.plan.guarantee == "exactly_once":
        for check in invariants.ALL:
            check(world)


def lossless_plan(seed: int) -> Plan:
    """Draw a plan with at least once."""
    return replace(Plan.of(seed), guarantee="at_least_once")


WORDS = Kind(Plan.of, World, judge_all)
LOSSLESS = Kind(lossless_plan, World, judge_all)


@in_parts(WORLDS)
def test_results_are_exact(part: Sequence[int] | int) -> None:
    """Crashes, stalls, lost and late answers between any two calls change nothing."""
    check_worlds(WORDS, part)


@pytest.mark.parametrize("broken", sabotage.SABOTAGES, ids=lambda broken: broken.__name__)
def test_a_broken_build_is_noticed(broken: sabotage.Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rule of exactly once matters to some world: the results are wrong without it."""
    broken(monkeypatch)
    check_noticed(
        LOSSLESS if broken is sabotage.offsets_before_the_flush else WORDS, NOTICED_WITHIN
    )


def test_everything_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each transition of the table, and each kind of mishap, comes up in a few worlds."""
    missing = set(TRANSITIONS)
    stories: list[str] = []
    on = Transaction.on

    def noted(self: Transaction, event: Event) -> object:
        missing.discard((self.state, event))
        return on(self, event)

    monkeypatch.setattr(Transaction, "on", noted)
    for seed in range(WORLDS):
        stories += live(WORDS, seed).events
        if seed > WORLDS // 10 and not missing:
            break
    assert missing <= UNREACHED
    for mishap in (*RATES, "as a whole", "replaced", *Fate.__members__.keys() - {"DONE"}):
        assert any(mishap in event for event in stories), mishap


# In the table for what a real client may still do.
UNREACHED: set[tuple[State, Event]] = set()


def test_a_seed_repeats() -> None:
    """In another process too, where strings hash differently."""
    code = (
        "from tests.sim.plans import Plan\nfrom tests.sim.world import World\n"
        "world = World(Plan.of(9)); world.run(); print(*world.events, sep='\\n')"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(told) == 1
    assert "die at" in told.pop()
