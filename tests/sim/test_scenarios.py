"""Mishaps that took many worlds to come up, told step by step."""

from collections.abc import Callable

import pytest

from penstock.testing.sim import Fate, Process
from tests.sim import applications, sabotage
from tests.sim.judging import judge
from tests.sim.world import Plan, World

SESSION_S = 3.1  # a little longer than it lasts; twice that is shorter than a transaction


class Told(World):
    """A world of two workers and one partition, in which only the told mishap happens."""

    def __init__(self) -> None:
        super().__init__(
            Plan(
                1,
                workers=2,
                partitions=1,
                emit="commit",
                guarantee="exactly_once",
                one_disk=False,
                moves=0,
                favourite=None,
            )
        )
        self.mishaps: list[tuple[str, Callable[[Process], None]]] = []

    def _happens(self, process: Process, what: str) -> Fate:
        if self.mishaps and what == self.mishaps[0][0]:
            self.mishaps.pop(0)[1](process)
        return Fate.DONE


def lost_and_found() -> Told:
    """A worker stalls in a batch; another does it instead, and goes; the first has it back.

    It hears of the loss and of the new assignment within one fetch.
    """

    def mishap(process: Process) -> None:
        process.stopped = True
        world.broker.advance(SESSION_S)
        while (applications.LINES, 0) in world.lag():
            world.step(second)
            world.broker.advance(0.05)
        world.leave(second)
        world.broker.advance(SESSION_S)
        process.stopped = False

    world = Told()
    first, second = world.slots
    for _ in range(40):
        world.step(first)
        world.broker.advance(0.02)
    world.feeder.write_some()
    # The first one brings the records, the second one stands in the open batch.
    world.mishaps = [("poll", lambda _: None), ("poll", mishap)]
    while world.mishaps:
        world.step(first)
        world.broker.advance(0.02)
    for _ in range(10):
        world.step(first)
        world.broker.advance(0.02)
    world.settle()
    return world


def test_what_comes_back_goes_on_where_others_have_left_it() -> None:
    judge(lost_and_found())


def test_rewinding_it_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker once did that."""
    sabotage.what_was_given_up_is_rewound(monkeypatch)
    with pytest.raises(AssertionError):
        judge(lost_and_found())
