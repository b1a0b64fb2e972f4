"""Plans: how a world is made, drawn from its seed."""

import random
from dataclasses import dataclass, replace

from penstock.runtime.settings import GroupProtocol, Guarantee
from penstock.topology.node import Emit
from tests.sim.mishaps import FAVOURITES, Favourite


@dataclass(frozen=True)
class Plan:
    """How a world is made, all of it drawn from its seed.

    Attributes:
        seed: what everything is drawn from.
        workers: how many there are.
        partitions: how many each input has.
        emit: that of the counts.
        guarantee: that of the application.
        one_disk: whether the workers share a host.
        moves: how much happens before all is well.
        favourite: a mishap, and the call at which it is far more likely than elsewhere.
        protocol: that of the group.
        rolls: whether all workers are restarted one after another in the end.
        jumps: whether wall clocks jump.
        strange: whether there are records of strange times.
        shuffle: another order of what happens, and other records, in the same plan.
    """

    seed: int
    workers: int
    partitions: int
    emit: Emit
    guarantee: Guarantee
    one_disk: bool
    moves: int
    favourite: Favourite = None
    protocol: GroupProtocol = "classic"
    rolls: bool = False
    jumps: bool = False
    strange: bool = False
    shuffle: int = 0

    @classmethod
    def of(cls, seed: int) -> "Plan":
        draw = random.Random(seed)
        return cls(
            seed,
            workers=draw.choice((1, 2, 2, 3)),
            partitions=draw.choice((1, 2, 3)),
            emit=draw.choice(("commit", "every_update")),
            guarantee="exactly_once" if draw.random() < 0.85 else "at_least_once",
            one_disk=draw.random() < 0.3,
            moves=draw.choice((100, 300, 800)),
            favourite=draw.choice((None, *FAVOURITES)),
            protocol=draw.choice(("classic", "consumer")),
            rolls=draw.random() < 0.3,
            jumps=draw.random() < 0.3,
            strange=draw.random() < 0.3,
        )


def exact_plan(seed: int) -> Plan:
    """Draw a plan with exactly once."""
    return replace(Plan.of(seed), guarantee="exactly_once")
