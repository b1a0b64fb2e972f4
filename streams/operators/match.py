"""Match: the events of a key that a pattern was looking for, by the names of its steps."""

from typing import Generic

import msgspec
from typing_extensions import TypeVar

V_co = TypeVar("V_co", covariant=True)


class Event(msgspec.Struct, Generic[V_co], frozen=True):
    """A record that is part of a match.

    Attributes:
        value: of the record.
        timestamp: its event time in milliseconds since the epoch.
    """

    value: V_co
    timestamp: int


class Match(msgspec.Struct, Generic[V_co], frozen=True):
    """What a pattern has found, or what it has found so far.

    >>> from penstock.patterns import Event, Match
    >>> found = Match({"hot": [Event(91, 10), Event(95, 20)]}, 10, 20)
    >>> found["hot"], found.all("hot"), "hot" in found, "alarm" in found
    (91, [91, 95], True, False)

    Attributes:
        events: those of each step, in the order in which they came; a step that took none is not
            there.
        start: event time of the first event.
        end: event time of the last one; where time has decided, when it was up: `start` and the
            pattern's `within`.
        timed_out: whether time was up before all steps had their events.
    """

    events: dict[str, list[Event[V_co]]]
    start: int
    end: int
    timed_out: bool = False

    def __getitem__(self, name: str) -> V_co:
        """Return the value of a step's first event.

        Args:
            name: of the step.

        Raises:
            KeyError: if the step has taken none.
        """
        return self.events[name][0].value

    def __contains__(self, name: object) -> bool:
        return name in self.events

    def all(self, name: str) -> list[V_co]:
        """Return the values of a step's events, in the order in which they came.

        Args:
            name: of the step.
        """
        return [event.value for event in self.events.get(name, ())]
