"""Whole applications under a seed: whatever happens to their workers, the results are exact.

    PENSTOCK_SEED=17 pytest tests/sim

repeats one world. Without it the seeds are new ones each time; a failure names its seed.
"""

import logging
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence

import pytest

from penstock.engine.transaction import TRANSITIONS, Event, State, Transaction
from tests.sim import sabotage
from tests.sim.judging import judge
from tests.sim.world import Plan, World

WORLDS = 300
MANY_WORLDS = 5_000
NOTICED_WITHIN = 200
LAST_EVENTS = 40


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Workers that are killed a thousand times have much to say."""
    logger = logging.getLogger("penstock")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)


def seeds(count: int) -> Sequence[int]:
    text = os.environ.get("PENSTOCK_SEED")
    if text:
        return [int(text)]
    first = secrets.randbelow(1_000_000_000)
    print(f"{count} worlds from PENSTOCK_SEED={first} on")
    return range(first, first + count)


def live(seed: int) -> World:
    """Let a world live and judge it; what goes wrong is told with seed and story."""
    world = World(Plan.of(seed))
    try:
        world.run()
        judge(world)
    except Exception as error:
        story = "\n".join(world.events[-LAST_EVENTS:])
        error.add_note(f"PENSTOCK_SEED={seed}, {world.plan}; it ended like this:\n{story}")
        raise
    finally:
        world.end()
    return world


def test_results_are_exact() -> None:
    """Crashes, stalls, lost and late answers between any two calls change nothing."""
    for seed in seeds(WORLDS):
        live(seed)


@pytest.mark.full
def test_results_are_exact_in_many_worlds() -> None:
    """The same, for as long as one likes to wait."""
    for seed in seeds(MANY_WORLDS):
        live(seed)


@pytest.mark.parametrize("broken", sabotage.SABOTAGES, ids=lambda broken: broken.__name__)
def test_a_broken_build_is_noticed(broken: sabotage.Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rule of exactly once matters to some world: the results are wrong without it."""
    broken(monkeypatch)
    for seed in range(NOTICED_WITHIN):
        try:
            live(seed)
        except AssertionError:
            return
        except Exception:  # noqa: BLE001 - it breaks in other ways too; a wrong result is meant
            continue
    pytest.fail(f"{NOTICED_WITHIN} worlds have not noticed it")


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
        stories += live(seed).events
        if seed > WORLDS // 10 and not missing:
            break
    assert missing <= UNREACHED
    for mishap in ("dies", "stalls", "as a whole", "LATE", "LOST_REQUEST", "LOST_ANSWER"):
        assert any(mishap in event for event in stories), mishap


# In the table for what a real client may still do.
UNREACHED: set[tuple[State, Event]] = set()


def test_a_seed_repeats() -> None:
    """In another process too, where strings hash differently."""
    code = (
        "from tests.sim.world import Plan, World\n"
        "world = World(Plan.of(8)); world.run(); print(*world.events, sep='\\n')"
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
    assert "dies" in told.pop()
