"""A world that goes wrong is told with the little that has to happen for it, and no more."""

from collections.abc import Iterator, Sequence
from contextlib import suppress

import pytest

from penstock.errors import BrokerError, StateError
from tests.sim import sabotage
from tests.sim.judging import judge
from tests.sim.mishaps import Mishap, Place, Told
from tests.sim.plans import exact_plan
from tests.sim.seeds import Kind, check_worlds, live, parts, shortest
from tests.sim.shortening import Schedule, shorten
from tests.sim.world import World

pytestmark = pytest.mark.usefixtures("quiet")

WORDS = Kind(exact_plan, World, judge)
MOST_SEEDS = 40
FEW, MANY = 3, 12
EVERY = [Mishap(Place("slot-0", "poll", number), "die") for number in range(50)]


def blames(*needed: int, moves: int) -> Schedule:
    """Shorten what goes wrong where some mishaps and so many moves come together."""

    def happens(schedule: Schedule) -> Sequence[Mishap] | None:
        there = {*schedule.mishaps}.issuperset(EVERY[n] for n in needed)
        return schedule.mishaps if there and schedule.moves >= moves else None

    return shorten(happens, Schedule(800, EVERY), most_s=60)


@pytest.mark.parametrize("needed", [(), (7,), (0, 49), (3, 4, 31)])
def test_only_what_is_needed_is_left(needed: tuple[int, ...]) -> None:
    found = blames(*needed, moves=123)
    assert found.moves == 123
    assert list(found.mishaps) == [EVERY[n] for n in needed]


def test_the_schedule_of_a_broken_build_is_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    """One lost answer of a commit is enough where its outcome is guessed."""
    monkeypatch.setattr("tests.sim.seeds.SHORTEN_S", 10.0)
    sabotage.unknown_is_taken_for_aborted(monkeypatch)
    schedules = (shortest(WORDS, seed, AssertionError) for seed in failing_seeds())
    found = next(found for found in schedules if len(found.mishaps) <= FEW)
    assert any(of.kind == "lose" and of.place.call == "commit_transaction" for of in found.mishaps)


def failing_seeds() -> Iterator[int]:
    """Find worlds that go wrong, with many mishaps in them."""
    for seed in range(MOST_SEEDS):
        world = World(exact_plan(seed))
        with suppress(BrokerError, StateError):  # it breaks in other ways, too
            try:
                world.run()
                judge(world)
            except AssertionError:
                if len(world.mishaps.happened) > MANY:
                    yield seed
            finally:
                world.end()


def test_a_failure_tells_how_to_repeat_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.sim.seeds.SHORTEN_S", 1.0)
    sabotage.not_rewound(monkeypatch)
    with pytest.raises(AssertionError) as failure:
        check_worlds(WORDS, range(MOST_SEEDS))
    notes = "\n".join(failure.value.__notes__)
    assert "make sim SEEDS=" in notes
    assert "mishaps:\n" in notes


def test_the_same_mishaps_make_the_same_world() -> None:
    first = live(WORDS, 8)
    again = World(exact_plan(8))
    again.mishaps = Told(first.mishaps.happened)
    again.run()
    again.end()
    assert again.mishaps.happened == first.mishaps.happened
    assert again.events == first.events


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("50", [20, 20, 10]),
        ("17..40", [range(17, 37), range(37, 41)]),
        ("17..17", [range(17, 18)]),
        ("3,9", [[3, 9]]),
    ],
)
def test_one_can_say_which_worlds(
    asked: str, found: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_SEEDS", asked)
    assert parts(1) == found
