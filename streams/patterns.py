"""Patterns: events of a key that follow each other, or that stay away, within some time.

    from penstock import patterns

    fault = (
        patterns.begin(Reading)
        .then("hot", lambda r: r.celsius > 90)
        .then("hotter", lambda r, so_far: r.celsius > so_far["hot"].celsius + 5)
        .one_or_more("shaking", lambda r: r.vibration > 5)
        .without("reset", lambda r: r.reset)
        .within("5m")
    )
    readings.match(fault, name="faults").map(report).to("faults")

What matches, for each key by itself:

Order. Events are taken in the order in which they come, whatever their timestamps are.
Begin. Every event that satisfies the first condition begins a match of its own, also one that a
    match that is open has taken.
Go on. An open match takes the next event that satisfies a condition within its reach: that of the
    step where it stands, as long as that takes more, or of the next one, or of one behind it where
    all between are optional. Of several it is the furthest, so that matches end early. Events
    that satisfy none are passed over; `next` passes none over.
Never. `without` counts from the first event of the step in front of it until a step behind it
    takes an event, and is asked before that step. It ends the match without a word; where optional
    steps stand in front of it, the match can still go on by those. At the end of a pattern it
    counts until time is up: only then is the match complete.
Time. An event whose timestamp is more than `within` behind that of the first one belongs to the
    match no more. Once event time has passed that point the match is over: it is complete if
    nothing but `without` was missing, else it is forgotten, or handed on as `timed_out`. One that
    begins so late that event time has passed its end is decided at once.
End. Of several that are complete with one event, the one that began first is handed on. No event
    is in two matches: all that began up to the last event of a match end with it. One that is
    over in vain takes no other with it.

A match that event time has not passed is open, and its events are in the state: they are stored
once, however many matches share them.
"""

import inspect
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, is_typeddict, overload

from typing_extensions import TypeVar

from penstock.durations import Duration, milliseconds
from penstock.errors import TopologyError
from penstock.operators.match import Event as Event
from penstock.operators.match import Match as Match
from penstock.operators.matching import matcher
from penstock.operators.partial import Condition, Plan, Step
from penstock.operators.processor import Processor
from penstock.serde.types import UNKNOWN, DataType, hinted
from penstock.topology.node import Node

__all__ = ["Event", "Match", "Pattern", "begin"]

V = TypeVar("V")
V_in = TypeVar("V_in", contravariant=True)

_TWO = 2


class Declared(NamedTuple):
    """What a pattern says.

    Attributes:
        of: type of the events.
        steps: in their order.
        within_ms: how long a match may take, None for ever.
        timeouts: whether those that take longer are handed on.
    """

    of: Any
    steps: tuple[Step, ...] = ()
    within_ms: int | None = None
    timeouts: bool = False


class Pattern(Generic[V_in]):
    """Steps that events go through; each method returns a pattern that has one more.

    Conditions are functions of the value, or of the value and the `Match` so far. They may be asked
    again for an event, so they should say the same each time.
    """

    def __init__(self, declared: Declared) -> None:
        self.declared = declared

    @overload
    def then(self, name: str, condition: Callable[[V_in], object]) -> "Pattern[V_in]": ...
    @overload
    def then(
        self, name: str, condition: Callable[[V_in, "Match[V_in]"], object]
    ) -> "Pattern[V_in]": ...
    def then(self, name: str, condition: Callable[..., object]) -> "Pattern[V_in]":
        """Wait for an event; those in between that do not satisfy its condition are passed over.

        Args:
            name: of the step, as a `Match` has it.
            condition: a function of the value, or of the value and the match so far.

        Raises:
            TopologyError: if the name is taken or empty, or the first condition looks back.
        """
        return self._and("then", name, condition)

    @overload
    def next(self, name: str, condition: Callable[[V_in], object]) -> "Pattern[V_in]": ...
    @overload
    def next(
        self, name: str, condition: Callable[[V_in, "Match[V_in]"], object]
    ) -> "Pattern[V_in]": ...
    def next(self, name: str, condition: Callable[..., object]) -> "Pattern[V_in]":
        """Want the very next event of the key, behind the last one that was taken.

        Args:
            name: as for `then`.
            condition: as for `then`.

        Raises:
            TopologyError: as `then` does, or if nothing is in front of it.
        """
        return self._and("next", name, condition, strict=True)

    @overload
    def one_or_more(self, name: str, condition: Callable[[V_in], object]) -> "Pattern[V_in]": ...
    @overload
    def one_or_more(
        self, name: str, condition: Callable[[V_in, "Match[V_in]"], object]
    ) -> "Pattern[V_in]": ...
    def one_or_more(self, name: str, condition: Callable[..., object]) -> "Pattern[V_in]":
        """Take an event, and all that satisfy its condition until a step behind it takes one.

        Args:
            name: as for `then`.
            condition: as for `then`.

        Raises:
            TopologyError: as `then` does.
        """
        return self._and("one_or_more", name, condition, most=None)

    @overload
    def times(
        self, name: str, condition: Callable[[V_in], object], *, count: int
    ) -> "Pattern[V_in]": ...
    @overload
    def times(
        self, name: str, condition: Callable[[V_in, "Match[V_in]"], object], *, count: int
    ) -> "Pattern[V_in]": ...
    def times(self, name: str, condition: Callable[..., object], *, count: int) -> "Pattern[V_in]":
        """Wait for so many events; those in between are passed over.

        Args:
            name: as for `then`.
            condition: as for `then`.
            count: how many.

        Raises:
            TopologyError: as `then` does, or if the count is not positive.
        """
        if count < 1:
            raise TopologyError(
                f"times({name!r}, count={count}) waits for nothing. Use 1 or more.",
                operator="match",
            )
        return self._and("times", name, condition, least=count, most=count)

    @overload
    def optional(self, name: str, condition: Callable[[V_in], object]) -> "Pattern[V_in]": ...
    @overload
    def optional(
        self, name: str, condition: Callable[[V_in, "Match[V_in]"], object]
    ) -> "Pattern[V_in]": ...
    def optional(self, name: str, condition: Callable[..., object]) -> "Pattern[V_in]":
        """Take an event if one comes before a step behind it takes one.

        Args:
            name: as for `then`.
            condition: as for `then`.

        Raises:
            TopologyError: as `then` does, or if nothing is in front of it.
        """
        return self._and("optional", name, condition, least=0)

    @overload
    def without(self, name: str, condition: Callable[[V_in], object]) -> "Pattern[V_in]": ...
    @overload
    def without(
        self, name: str, condition: Callable[[V_in, "Match[V_in]"], object]
    ) -> "Pattern[V_in]": ...
    def without(self, name: str, condition: Callable[..., object]) -> "Pattern[V_in]":
        """End the match where an event comes, from the step in front of this to the one behind.

        At the end of a pattern it counts until `within` is over; only then it is a match.

        Args:
            name: of what must not come; it differs from those of the steps.
            condition: as for `then`.

        Raises:
            TopologyError: as `then` does, or if nothing is in front of it.
        """
        never = self._condition("without", name, condition)
        if not self.declared.steps:
            raise _nothing_before("without", name)
        *steps, last = self.declared.steps
        behind = Step(last.condition, last.least, last.most, last.strict, (*last.never, never))
        return Pattern(self.declared._replace(steps=(*steps, behind)))

    def within(self, duration: Duration, *, timeouts: bool = False) -> "Pattern[V_in]":
        """Say how long a match may take, by event time from its first event on.

        Args:
            duration: an event that is exactly so far behind the first one still belongs to it.
            timeouts: whether a match that has begun and is not complete by then is handed on, as
                one that is `timed_out`. One that `without` or `next` has ended is not.

        Raises:
            TopologyError: if the duration is nothing, or has been said before.
        """
        if self.declared.within_ms is not None:
            raise TopologyError(
                f"within({duration!r}) comes twice. Leave one out: it is for all steps.",
                operator="match",
            )
        within_ms = milliseconds(duration)
        if within_ms < 1:
            raise TopologyError(
                f"within({duration!r}) leaves no time for a second event. Use 1 ms or more.",
                operator="match",
            )
        return Pattern(self.declared._replace(within_ms=within_ms, timeouts=timeouts))

    def _and(
        self,
        kind: str,
        name: str,
        condition: Callable[..., object],
        *,
        least: int = 1,
        most: int | None = 1,
        strict: bool = False,
    ) -> "Pattern[V_in]":
        wanted = self._condition(kind, name, condition)
        if not self.declared.steps and (strict or least == 0):
            raise _nothing_before(kind, name)
        if not self.declared.steps and wanted.looks_back:
            raise TopologyError(
                f"{kind}({name!r}) is the first step, and its condition looks at the match so far:"
                " there is none. Give it a function of the value alone.",
                operator="match",
            )
        step = Step(wanted, least, most, strict)
        return Pattern(self.declared._replace(steps=(*self.declared.steps, step)))

    def _condition(self, kind: str, name: str, f: Callable[..., object]) -> Condition:
        if not name:
            raise TopologyError(
                f"{kind}({name!r}) has no name. Give it one, for Match and for messages.",
                operator="match",
            )
        taken = [of.name for step in self.declared.steps for of in (step.condition, *step.never)]
        if name in taken:
            raise TopologyError(
                f"{kind}({name!r}): there is a step of that name. Call one of them else.",
                operator="match",
            )
        return Condition(name, f, _looks_back(f))


def begin(of: type[V]) -> Pattern[V]:
    """Begin a pattern of events of a type; add steps to it, and hand it to `Stream.match`.

    >>> import penstock as ps
    >>> from penstock.patterns import begin
    >>> from penstock.testing import TestDriver
    >>> app = ps.App("doors")
    >>> left_open = (
    ...     begin(str)
    ...     .then("opened", lambda door: door == "open")
    ...     .without("shut", lambda door: door == "shut")
    ...     .within("30s")
    ... )
    >>> doors = app.stream("doors", key=str, value=str)
    >>> doors.match(left_open, name="left-open").map(lambda m: m.end, value=int).to("alarms")
    >>> with TestDriver(app) as driver:
    ...     for at, door in ((0, "open"), (20_000, "shut"), (40_000, "open"), (90_000, "shut")):
    ...         driver.topic("doors").send(door, key="cellar", at=at)
    ...     driver.topic("alarms").read()
    [('cellar', 70000)]

    Args:
        of: type of the stream's values.
    """
    return Pattern(Declared(of))


def declare_match(
    node: Node, pattern: Pattern[Any], name: str, max_events: int
) -> tuple[type[Processor[Any, Any, Match[Any]]], DataType]:
    """Return the processor that looks for a pattern behind a step, and the type of its matches.

    Args:
        node: the step.
        pattern: what was declared.
        name: of the process.
        max_events: how many events of a key are stored at most.

    Raises:
        TopologyError: if it says nothing or never ends, or its events cannot be stored.
    """
    of, steps, within_ms, timeouts = pattern.declared
    _check_end(steps, within_ms, name)
    if max_events < 1:
        raise TopologyError(
            f"match {name!r}: max_events={max_events} keeps none. Use 1 or more.", operator="match"
        )
    if node.value.serde is None:
        raise TopologyError(
            f"The type of the values in which match {name!r} looks for a pattern is not known, and"
            f" it stores them. Pass value= to {node.kind}, or annotate what its function returns.",
            operator="match",
        )
    known = node.value.type
    if (
        isinstance(known, type)
        and isinstance(of, type)
        and not (is_typeddict(of) or issubclass(known, of))
    ):
        raise TopologyError(
            f"The pattern {name!r} is one of {of.__name__}, and the values of {node.kind} are"
            f" {known.__name__}. Declare it with patterns.begin({known.__name__}).",
            operator="match",
        )
    plan = Plan(steps, within_ms, timeouts=timeouts)
    made = matcher(plan, name, node.value.serde, max_events)
    matched: Any = Match
    return made, UNKNOWN if known is None else hinted(matched[known])


def _check_end(steps: tuple[Step, ...], within_ms: int | None, name: str) -> None:
    """Hold against a pattern that it never begins or ends."""
    if not steps:
        raise TopologyError(
            f"The pattern {name!r} is empty. Add steps: patterns.begin(...).then('hot', ...).",
            operator="match",
        )
    last = steps[-1]
    if last.never and within_ms is None:
        raise TopologyError(
            f"The pattern {name!r} ends with without({last.never[-1].name!r}), which is decided"
            " when time is up, and has no time. Add within('5m') to it.",
            operator="match",
        )
    if not last.never and (last.least == 0 or last.most is None):
        said = f"optional({last.name!r})" if last.least == 0 else f"one_or_more({last.name!r})"
        instead = "leave it out" if last.least == 0 else "use then or times"
        raise TopologyError(
            f"The pattern {name!r} ends with {said}, and nothing says for how long it waits."
            f" Add without(...) and within(...), which end it, or {instead}.",
            operator="match",
        )


def _looks_back(f: Callable[..., object]) -> bool:
    """Whether a function wants the match so far: it has two arguments that it cannot do without."""
    try:
        given = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):  # some that are built in
        return False
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    wanted = [of for of in given if of.kind in places and of.default is of.empty]
    return len(wanted) >= _TWO


def _nothing_before(kind: str, name: str) -> TopologyError:
    return TopologyError(
        f"{kind}({name!r}) is the first step, and needs one in front of it. Put then,"
        " one_or_more or times there.",
        operator="match",
    )
