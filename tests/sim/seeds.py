"""Worlds by their seeds: which ones live, how they are judged, and whether one notices a fault.

PENSTOCK_SEED repeats one world. Without it the seeds are new ones each time; a failure names its
seed.
"""

import os
import secrets
from collections.abc import Callable, Sequence
from typing import TypeVar

import pytest

from tests.sim.world import World

LAST_EVENTS = 40

W = TypeVar("W", bound=World)


def seeds(count: int) -> Sequence[int]:
    """Return so many seeds, or the one that was asked for."""
    text = os.environ.get("PENSTOCK_SEED")
    if text:
        return [int(text)]
    first = secrets.randbelow(1_000_000_000)
    print(f"{count} worlds from PENSTOCK_SEED={first} on")
    return range(first, first + count)


def live_and_judge(seed: int, world: W, judge: Callable[[W], None]) -> W:
    """Let a world live and judge it; what goes wrong is told with seed and story."""
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


def check_noticed(live: Callable[[int], object], worlds: int) -> None:
    """Check that something that is broken shows in the results of one of some worlds.

    Args:
        live: lets the world of a seed live, and judges it.
        worlds: how many at most.
    """
    for seed in range(worlds):
        try:
            live(seed)
        except AssertionError:
            return
        except Exception:  # noqa: BLE001 - it breaks in other ways too; a wrong result is meant
            continue
    pytest.fail(f"{worlds} worlds have not noticed it")
