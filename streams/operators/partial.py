"""Partial matches: what an event does to one that has begun. Nothing here keeps anything.

Rule 1: a partial match stands at the step that took its last event, and goes on from there only.
        Within reach are the step itself while it takes more, and, once it has enough, the next
        one and those behind it up to the first that is not optional.
Rule 2: what must not come is asked first. It counts from the first event of the step in front of
        it until a step behind it takes an event. Seen where the partial match stands, it ends it;
        seen behind an optional step, it bars the way past that one.
Rule 3: an event goes to the furthest step within reach whose condition it satisfies, so that a
        match is complete as soon as it can be. One that satisfies none is passed over; then a step
        that has to be next is out of reach, until another event is taken.

The automaton is SASE's with the strategy skip-till-next-match (Agrawal et al., SIGMOD 2008).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import msgspec

Outcome: TypeAlias = Literal["passed", "noted", "taken", "complete", "dead"]


@dataclass(frozen=True)
class Condition:
    """What an event has to satisfy.

    Attributes:
        name: what it is called.
        f: a function of the value.
        looks_back: whether it takes the match so far as well.
    """

    name: str
    f: Callable[..., object]
    looks_back: bool = False


@dataclass(frozen=True)
class Step:
    """A step of a pattern.

    Attributes:
        condition: what its events satisfy.
        least: how many events it needs, 0 where it is optional.
        most: how many it takes, None for any number.
        strict: whether its first event has to follow the last one of the step before.
        never: what must not come behind it.
    """

    condition: Condition
    least: int = 1
    most: int | None = 1
    strict: bool = False
    never: tuple[Condition, ...] = ()

    @property
    def name(self) -> str:
        """What it is called."""
        return self.condition.name

    def takes_more(self, filled: int) -> bool:
        """Whether it takes another event where it has some."""
        return self.most is None or filled < self.most


class Partial(msgspec.Struct, array_like=True):
    """A match that has begun.

    Steps are named, so that it stays what it is where others are put into the pattern.

    Attributes:
        start: event time of its first event.
        taken: the numbers of the events that each step has taken, in the order of the steps.
        barred: the step behind which there is no way on, "" for none.
        passed: whether a step that has to be next has missed its event.
    """

    start: int
    taken: dict[str, list[int]]
    barred: str = ""
    passed: bool = False

    @property
    def first(self) -> int:
        """The number of its first event."""
        return next(iter(self.taken.values()))[0]

    @property
    def last(self) -> int:
        """The number of its last event."""
        return self.taken[next(reversed(self.taken))][-1]

    def numbers(self) -> Iterator[int]:
        """Go through the numbers of all its events."""
        for some in self.taken.values():
            yield from some


# Whether the event that has come satisfies a condition.
Ask: TypeAlias = Callable[[Condition, Partial], object]


class Plan:
    """The steps of a pattern, as a partial match goes through them.

    >>> hot, low = Condition("hot", lambda n: n > 90), Condition("low", lambda n: n < 9)
    >>> plan = Plan([Step(hot), Step(low)])
    >>> partial, _ = plan.begin(1_000, number=0)
    >>> for number, value in [(1, 50), (2, 5)]:
    ...     plan.advance(partial, number, lambda condition, _: condition.f(value))
    'passed'
    'complete'
    >>> partial.taken
    {'hot': [0], 'low': [2]}

    Args:
        steps: in their order.
        within_ms: how long a match may take, None for ever.
        timeouts: whether those that take longer are told.
    """

    def __init__(
        self, steps: Sequence[Step], within_ms: int | None = None, *, timeouts: bool = False
    ) -> None:
        self.steps = tuple(steps)
        self.within_ms = within_ms
        self.timeouts = timeouts
        self._places = {step.name: place for place, step in enumerate(steps)}
        self._gaps = [self._gaps_behind(place) for place in range(len(steps))]

    def begin(self, start: int, number: int) -> tuple[Partial, Outcome]:
        """Begin with an event that satisfies the first condition."""
        partial = Partial(start, {self.steps[0].name: [number]})
        return partial, self._outcome(partial, 0)

    def advance(self, partial: Partial, number: int, ask: Ask) -> Outcome:
        """Show an event to a partial match, which takes it if it can.

        Args:
            partial: is changed.
            number: of the event.
            ask: whether it satisfies a condition.
        """
        at, filled = self._stand(partial)
        step, barred = self.steps[at], partial.barred
        gaps, ahead = self._gaps[at] if filled >= step.least else ([at], [])
        bar = self._bar(partial, gaps, ask)
        if bar == at:
            return "dead"
        for place in reversed(ahead):
            missed = partial.passed and self.steps[place].strict
            if place <= bar and not missed and ask(self.steps[place].condition, partial):
                partial.taken[self.steps[place].name] = [number]
                partial.barred, partial.passed = "", False
                return self._outcome(partial, place)
        if step.takes_more(filled) and ask(step.condition, partial):
            partial.taken[step.name].append(number)
            partial.passed = False
            return self._outcome(partial, at)
        if not partial.passed and any(self.steps[place].strict for place in ahead):
            partial.passed = True
            stuck = not step.takes_more(filled) and all(self.steps[place].strict for place in ahead)
            return "dead" if stuck else "noted"
        return "noted" if partial.barred != barred else "passed"

    def deadline(self, partial: Partial) -> int | None:
        """Return the last event time that belongs to a partial match, None if there is none."""
        return None if self.within_ms is None else partial.start + self.within_ms

    def is_over(self, partial: Partial, time: int) -> bool:
        """Whether a partial match has nothing to do any more with what happens at a time."""
        return self.within_ms is not None and partial.start + self.within_ms < time

    def ends_well(self, partial: Partial) -> bool:
        """Whether a partial match is complete now that its time is over."""
        at, filled = self._stand(partial)
        last = len(self.steps) - 1
        enough = filled >= self.steps[at].least and self._gaps[at][0][-1] == last
        return enough and not partial.barred and bool(self.steps[last].never)

    def knows(self, partial: Partial) -> bool:
        """Whether all steps of a partial match are still part of the pattern."""
        return partial.taken.keys() <= self._places.keys()

    def _stand(self, partial: Partial) -> tuple[int, int]:
        """Return the step that took the last event, and how many it has."""
        name = next(reversed(partial.taken))
        return self._places[name], len(partial.taken[name])

    def _gaps_behind(self, at: int) -> tuple[list[int], list[int]]:
        """Return behind which steps the next event may come, and which steps may take it.

        The first of them is the one that stands there and has enough, the others are skipped.
        """
        gaps = [at]
        for place in range(at + 1, len(self.steps)):
            if self.steps[place].least:
                break
            gaps.append(place)
        return gaps, [gap + 1 for gap in gaps if gap + 1 < len(self.steps)]

    def _bar(self, partial: Partial, gaps: list[int], ask: Ask) -> int:
        """Return the first step behind which there is no way on, having asked what bars it."""
        bar = self._places.get(partial.barred, len(self.steps))
        for gap in gaps:
            if gap >= bar:
                break
            if any(ask(never, partial) for never in self.steps[gap].never):
                partial.barred = self.steps[gap].name
                return gap
        return bar

    def _outcome(self, partial: Partial, at: int) -> Outcome:
        step = self.steps[at]
        enough = len(partial.taken[step.name]) >= step.least
        return "complete" if enough and at == len(self.steps) - 1 and not step.never else "taken"
