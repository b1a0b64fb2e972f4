"""Worlds by their seeds: which ones live, how they are judged, and whether one notices a fault.

PENSTOCK_SEEDS says which: `5000` so many new ones, `17..40` those, `17,23` these two. Without it
there are as many new ones as CI has time for. A failure names its seed, and the least that has to
happen in that world for it to go wrong.
"""

import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import pytest

from tests.sim.mishaps import Mishap, Told, shown
from tests.sim.plans import Plan
from tests.sim.shortening import SHORTEN_S, Schedule, shorten
from tests.sim.world import World

PART = 20  # worlds of one test: a part of them, so that several processes can share them
LAST_EVENTS = 40

W = TypeVar("W", bound=World)


@dataclass(frozen=True)
class Kind(Generic[W]):
    """One application under simulation.

    Attributes:
        plan: draws the plan of a world from its seed.
        make: makes a world.
        judge: raises an AssertionError unless all is exact in the end.
    """

    plan: Callable[[int], Plan]
    make: Callable[[Plan], W]
    judge: Callable[[W], None]


def parts(worlds: int) -> list[Sequence[int] | int]:
    """Return what each of several tests lives through: seeds, or how many new ones.

    Args:
        worlds: how many there are unless one asks for others.
    """
    asked = os.environ.get("PENSTOCK_SEEDS", str(worlds))
    if asked.isdigit():
        count = int(asked)
        return [min(PART, count - first) for first in range(0, count, PART)]
    every: Sequence[int] = [int(seed) for seed in asked.split(",")] if ".." not in asked else ()
    if not every:
        first_seed, last_seed = map(int, asked.split(".."))
        every = range(first_seed, last_seed + 1)
    return [every[first : first + PART] for first in range(0, len(every), PART)]


def in_parts(worlds: int) -> pytest.MarkDecorator:
    """Make several tests of one, with an argument `part` for `check_worlds`."""
    found = parts(worlds)
    return pytest.mark.parametrize("part", found, ids=[f"part{n}" for n in range(len(found))])


def check_worlds(kind: Kind[W], part: Sequence[int] | int) -> None:
    """Let worlds live and judge them; what goes wrong is told with its shortest schedule."""
    if isinstance(part, int):
        first = secrets.randbelow(1_000_000_000)
        part = range(first, first + part)
    for seed in part:
        try:
            live(kind, seed)
        except Exception as error:
            error.add_note(_advice(kind, seed, error))
            raise


def live(kind: Kind[W], seed: int) -> W:
    """Let a world live and judge it; what goes wrong is told with its seed and its story."""
    world = kind.make(kind.plan(seed))
    try:
        world.run()
        kind.judge(world)
    except Exception as error:
        story = "\n".join(world.events[-LAST_EVENTS:])
        error.add_note(f"seed {seed}, {world.plan}; it ended like this:\n{story}")
        raise
    finally:
        world.end()
    return world


def shortest(kind: Kind[W], seed: int, failure: type[BaseException]) -> Schedule:
    """Find the least that has to happen for a world to go wrong.

    Args:
        kind: the application.
        seed: that of the world.
        failure: how it goes wrong.
    """
    plan = kind.plan(seed)
    world = kind.make(plan)
    with suppress(Exception):
        world.run()
    world.end()

    def happens(schedule: Schedule) -> Sequence[Mishap] | None:
        again = kind.make(replace(plan, moves=schedule.moves, shuffle=schedule.shuffle))
        again.mishaps = Told(schedule.mishaps)
        try:
            again.run()
            kind.judge(again)
        except failure:
            return again.mishaps.happened
        except Exception:  # noqa: BLE001 - it goes wrong in another way: that is another story
            return None
        finally:
            again.end()
        return None

    return shorten(happens, Schedule(plan.moves, world.mishaps.happened), most_s=SHORTEN_S)


def check_noticed(kind: Kind[W], worlds: int, match: str = "") -> None:
    """Check that something that is broken shows in the results of one of some worlds.

    Args:
        kind: the application.
        worlds: how many at most.
        match: a part of what the failure has to say.
    """
    for seed in range(worlds):
        try:
            live(kind, seed)
        except AssertionError as found:
            if match in str(found):
                return
        except Exception:  # noqa: BLE001 - it breaks in other ways too; a wrong result is meant
            continue
    pytest.fail(f"{worlds} worlds have not noticed it")


def _advice(kind: Kind[W], seed: int, error: BaseException) -> str:
    found = shortest(kind, seed, type(error))
    return (
        f"Repeat it with `make sim SEEDS={seed}..{seed}`. It goes wrong with {found.moves} moves"
        f" (shuffle {found.shuffle}) and {len(found.mishaps)} mishaps:\n{shown(found.mishaps)}"
    )
