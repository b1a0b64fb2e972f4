"""Mishaps: what may befall a world, drawn from its seed, or told again from a list.

Each mishap has a place: so many calls of that name by the workers of a slot, or so many moves of
the world. Chances are drawn from a stream of their own: a list of all mishaps that happened makes
the same world once more, and a shorter list makes one that is much like it.
"""

import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeAlias

from penstock.testing.sim import Fate

Kind: TypeAlias = Literal["die", "stall", "lose", "refuse", "delay", "jump"]
Favourite: TypeAlias = tuple[Kind, str] | None

RATES: dict[Kind, float] = {
    "die": 0.006, "stall": 0.005, "lose": 0.08, "refuse": 0.01, "delay": 0.02, "jump": 0.004,
}  # fmt: skip
SELDOM = {"produce": 0.1}  # there are many of them
FAVOUR = 20
MOST = 0.4
DECISIVE = ("commit_transaction", "poll", "send_offsets_to_transaction")
MOVE = "move"
WRITING = ("open", "store_flush", "write")  # where a full or broken disk shows
# What may be lost: the request alone, where doing it and not saying so would be the same.
ASKING = ("committed", "describe_configs", "describe_consumer_groups", "flush", "list_offsets")
DOING = ("create_topics", "delete_records", "init_transactions")
ENDING = ("abort_transaction", "commit_transaction", "send_offsets_to_transaction")
LOSABLE = (
    dict.fromkeys(ASKING, (Fate.LOST_REQUEST,))
    | dict.fromkeys(DOING, (Fate.LOST_REQUEST, Fate.LOST_ANSWER))
    | dict.fromkeys(ENDING, (Fate.LOST_REQUEST, Fate.LOST_ANSWER, Fate.LATE))
)
FAVOURITES: list[tuple[Kind, str]] = [("stall", what) for what in DECISIVE]
FAVOURITES += [("die", what) for what in (*DECISIVE, "incremental_unassign", "write")]
FAVOURITES += [("lose", what) for what in (*ENDING, "flush", "init_transactions")]
ZOMBIE_S = (3.2, 7.8)  # longer than a session, shorter than a transaction
FULL_S = (0.5, 6.0)
LASTING_S = (2.0, 12.0)  # longer than a transaction, too
DELAY_S = (0.1, 4.0)
HOUR_S = 3_600.0
JUMPS_S = (-20 * HOUR_S, -3 * HOUR_S, -90.0, -2.0, 0.0, 5.0, 7 * HOUR_S, 400 * 24 * HOUR_S)


class Place(NamedTuple):
    """Where something happens: how often somebody has called something by then."""

    who: str
    call: str
    number: int


@dataclass(frozen=True)
class Mishap:
    """What happens at a place.

    Attributes:
        fate: what becomes of the call, of "lose".
        seconds: how long a stall, a full disk, a delay or a loss lasts, or how far a clock is off.
        whole: whether a stall stops the process's threads too.
        replaced: whether another process begins under the same identity meanwhile.
    """

    place: Place
    kind: Kind
    fate: Fate | None = None
    seconds: float = 0.0
    whole: bool = False
    replaced: bool = False

    def __str__(self) -> str:
        name, more = self.place, [f" {self.seconds:.2f} s"] if self.seconds else []
        more += [f" {self.fate.name}"] if self.fate else []
        more += [" as a whole"] * self.whole + [", replaced"] * self.replaced
        return f"{self.kind}{''.join(more)} at {name.call} {name.number} of {name.who}"


class Mishaps(Protocol):
    """Say what happens where."""

    happened: list[Mishap]

    def at(self, place: Place, kinds: Collection[Kind]) -> Mishap | None:
        """Return what happens at a place, if anything does.

        Args:
            place: where.
            kinds: what can happen there now.
        """
        ...


class Chances:
    """Draw what happens.

    Args:
        draw: the chance.
        favourite: a mishap, and the call at which it is far more likely than elsewhere.

    Attributes:
        happened: all that has.
    """

    def __init__(self, draw: random.Random, favourite: Favourite) -> None:
        self._draw = draw
        self._favourite = favourite
        self.happened: list[Mishap] = []

    def at(self, place: Place, kinds: Collection[Kind]) -> Mishap | None:
        """Draw what happens at a place, and note it."""
        for kind, rate in RATES.items():
            if kind in kinds and self._hits(kind, rate, place.call):
                found = self._draw_one(place, kind)
                self.happened.append(found)
                return found
        return None

    def _hits(self, kind: Kind, rate: float, call: str) -> bool:
        favour = FAVOUR if self._favourite == (kind, call) else 1
        return self._draw.random() < min(MOST, rate * SELDOM.get(call, 1) * favour)

    def _draw_one(self, place: Place, kind: Kind) -> Mishap:
        draw = self._draw
        if kind == "stall":
            zombie_s = draw.uniform(*ZOMBIE_S)
            seconds = draw.choice((0.05, 1.0, zombie_s, zombie_s, zombie_s, zombie_s, 9.0, 14.0))
            whole = draw.random() < 0.65
            replaced = whole and draw.random() < 0.2
            return Mishap(place, kind, seconds=seconds, whole=whole, replaced=replaced)
        if kind == "lose":
            fate = draw.choice(LOSABLE[place.call])
            lasting_s = draw.uniform(*LASTING_S) if draw.random() < 0.1 else 0.0
            return Mishap(place, kind, fate, lasting_s)
        if kind == "refuse":
            full_s = draw.uniform(*FULL_S) if draw.random() < 0.3 else 0.0
            return Mishap(place, kind, seconds=full_s)
        if kind == "delay":
            return Mishap(place, kind, seconds=draw.uniform(*DELAY_S))
        return Mishap(place, kind, seconds=draw.choice(JUMPS_S) if kind == "jump" else 0.0)


class Told:
    """Let those mishaps happen that one is told.

    Args:
        mishaps: all of them.

    Attributes:
        happened: those that did: a place may not come up any more.
    """

    def __init__(self, mishaps: Iterable[Mishap]) -> None:
        self._mishaps = {mishap.place: mishap for mishap in mishaps}
        self.happened: list[Mishap] = []

    def at(self, place: Place, kinds: Collection[Kind]) -> Mishap | None:
        """Return what is told of a place."""
        found = self._mishaps.get(place)
        if found is None or found.kind not in kinds:
            return None
        self.happened.append(found)
        return found


def shown(mishaps: Sequence[Mishap]) -> str:
    """Show mishaps, one per line."""
    return "\n".join(f"  {mishap}" for mishap in mishaps) or "  none"
