"""Matching: the processor that looks for a pattern, key by key.

Rule 1: events are shown in the order in which they come, to the partial matches in the order in
        which they began. The first that is complete is handed on, and ends all that are open.
Rule 2: every event that satisfies the first condition and ends no match begins one.
Rule 3: what time decides is decided by a timer of the key, one millisecond behind the end of the
        partial match that is over first. Events behind that end do nothing to it.
Rule 4: an event is stored once, however many partial matches have taken it, and only while one
        that is open has.
"""

import struct
from collections.abc import Iterable, Mapping
from typing import Any, cast

from penstock.errors import DataError
from penstock.operators.match import Event, Match
from penstock.operators.partial import Condition, Partial, Plan
from penstock.operators.processor import Context, Processor, Timer
from penstock.operators.states import MapState, ValueState
from penstock.serde.types import Serde, format_of

TIMER = "within"
_TIME = struct.Struct(">q")


class EventSerde:
    """An event in its store: its time, and its value as the stream's serde writes it.

    Args:
        value: that serde.
    """

    immutable = False

    def __init__(self, value: Serde[Any]) -> None:
        self._value = value
        self.format = f"event {format_of(value)}"

    def encode(self, event: Event[Any], /) -> bytes:
        """Return the bytes of an event."""
        return _TIME.pack(event.timestamp) + self._value.encode(event.value)

    def decode(self, data: bytes, /) -> Event[Any]:
        """Return the event of bytes."""
        return Event(self._value.decode(data[_TIME.size :]), _TIME.unpack_from(data)[0])


class Recall:
    """The events of a key, read where they are wanted, while one call of the processor lasts."""

    def __init__(self, stored: MapState[int, Any]) -> None:
        self._stored = stored
        self._known: dict[int, Event[Any]] = {}

    def add(self, number: int, event: Event[Any]) -> None:
        """Have an event that is not stored yet."""
        self._known[number] = event

    def match(self, partial: Partial, end: int | None = None, *, late: bool = False) -> Match[Any]:
        """Return a partial match with its events.

        Args:
            partial: which one.
            end: when it ends, None for the time of its last event.
            late: whether its time was up.
        """
        events = {name: [self._event(n) for n in some] for name, some in partial.taken.items()}
        last = events[next(reversed(events))][-1].timestamp
        return Match(events, partial.start, last if end is None else end, late)

    def _event(self, number: int) -> Event[Any]:
        if number not in self._known:
            self._known[number] = self._stored[number]
        return self._known[number]


class Matching(Processor[Any, Any, Match[Any]]):
    """Looks for a pattern; `matcher` makes classes of it, with their own stores."""

    plan: Plan
    shown: str
    max_events: int
    open: ValueState[list[Partial]]
    events: MapState[int, Event[Any]]

    def process(self, ctx: Context[Any], value: Any) -> Iterable[Match[Any]]:
        """Show a record to all that is open."""
        if value is None:  # a deletion is no event
            return ()
        before, plan, time = self._open(ctx), self.plan, ctx.timestamp
        number = 1 + max((partial.last for partial in before), default=-1)
        recall = Recall(self.events)

        def ask(condition: Condition, partial: Partial) -> object:
            if condition.looks_back:
                return condition.f(value, recall.match(partial))
            return condition.f(value)

        recall.add(number, Event(value, time))
        left: list[Partial] = []
        dead: list[Partial] = []
        moved = False
        for partial in before:
            outcome = "passed" if plan.is_over(partial, time) else plan.advance(
                partial, number, ask
            )  # fmt: skip
            if outcome == "complete":
                return [self._complete(ctx, before, partial, recall)]
            (dead if outcome == "dead" else left).append(partial)
            moved = moved or outcome in ("noted", "taken")
        if plan.steps[0].condition.f(value):
            partial, outcome = plan.begin(time, number)
            if outcome == "complete":
                return [self._complete(ctx, before, partial, recall)]
            left.append(partial)
            moved = True
        if moved or dead:
            self._store(number, Event(value, time), left)
            self._keep(ctx, left, dead)
        return ()

    def _complete(
        self, ctx: Context[Any], before: list[Partial], partial: Partial, recall: Recall
    ) -> Match[Any]:
        """End a match by the event that has come, and with it all that this event concerns."""
        time = ctx.timestamp
        found = recall.match(partial)
        left = [other for other in before if self.plan.is_over(other, time)]
        dead = [other for other in before if not self.plan.is_over(other, time)]
        if dead:
            self._keep(ctx, left, dead)
        return found

    def _open(self, ctx: Context[Any]) -> list[Partial]:
        """Return what is open, without what the pattern has no steps for any more."""
        found = self.open.get() or []
        lost = [partial for partial in found if not self.plan.knows(partial)]
        if lost:
            found = [partial for partial in found if self.plan.knows(partial)]
            self._keep(ctx, found, lost)
        return found

    def _store(self, number: int, event: Event[Any], left: list[Partial]) -> None:
        """Store an event if it was taken.

        Raises:
            DataError: if the key has too many.
        """
        if not any(partial.last == number for partial in left):
            return
        if len(self.events) >= self.max_events:
            raise DataError(
                f"{self.shown} has {self.max_events} events of one key in matches that are open,"
                " and this one would be one more. Make its first condition narrower or within"
                " shorter, or raise max_events of match.",
                operator="process",
            )
        self.events.set(number, event)

    def _keep(self, ctx: Context[Any], left: list[Partial], dead: list[Partial]) -> None:
        """Keep what is left, with the events that it has taken, and the timer."""
        if not left:
            self.events.clear()
            self.open.clear()
            if self.plan.within_ms is not None:
                ctx.cancel_timer(TIMER)
            return
        if dead:
            wanted = {number for partial in left for number in partial.numbers()}
            for number in {number for partial in dead for number in partial.numbers()} - wanted:
                self.events.delete(number)
        self.open.set(left)
        if self.plan.within_ms is not None:
            first = min(partial.start for partial in left)
            ctx.set_timer(TIMER, at=first + self.plan.within_ms + 1)


class TimedMatching(Matching):
    """Looks for a pattern that is given some time."""

    def on_timer(self, ctx: Context[Any], timer: Timer) -> Iterable[Match[Any]]:
        """Decide what is over."""
        before, plan = self._open(ctx), self.plan
        over = [partial for partial in before if plan.is_over(partial, timer.at)]
        left = [partial for partial in before if not plan.is_over(partial, timer.at)]
        ended, recall = -1, Recall(self.events)
        found: list[Match[Any]] = []
        for partial in over:
            well = plan.ends_well(partial)
            if partial.first <= ended or not (well or plan.timeouts):
                continue
            found.append(recall.match(partial, plan.deadline(partial), late=not well))
            if well:
                ended = partial.last
        dead = over + [partial for partial in left if partial.first <= ended]
        left = [partial for partial in left if partial.first > ended]
        self._keep(ctx, left, dead)
        return found


def matcher(
    plan: Plan, name: str, value: Serde[Any], max_events: int
) -> type[Processor[Any, Any, Match[Any]]]:
    """Make the processor of a pattern.

    Args:
        plan: the pattern.
        name: of the process, for messages.
        value: serde of the events.
        max_events: how many events of a key are stored at most.
    """
    kept: Any = EventSerde(value)
    members: Mapping[str, Any] = {
        "plan": plan,
        "shown": f"The pattern {name!r}",
        "max_events": max_events,
        "open": ValueState(list[Partial]),
        "events": MapState(int, kept),
    }
    base = Matching if plan.within_ms is None else TimedMatching
    made = type("Matcher", (base,), dict(members))
    return cast("type[Processor[Any, Any, Match[Any]]]", made)
