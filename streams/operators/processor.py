"""Processor: a class of the user's that keeps state and timers by key. What it is given is here.

    class Fraud(ps.Processor[str, Payment, Alert]):
        small = ps.ValueState(int)

        def process(self, ctx, value):
            ...

Nothing here runs: `processing` calls it, `states` holds what it declares.
"""

import random
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple

from typing_extensions import TypeVar

from penstock.errors import TopologyError

K_co = TypeVar("K_co", covariant=True)
K_in = TypeVar("K_in", contravariant=True)
V_in = TypeVar("V_in", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


class Timer(NamedTuple):
    """A timer that fires.

    Attributes:
        name: what it was set under.
        at: when it was set for, in milliseconds since the epoch.
        clock: "event" for event time, "wall" for the clock on the wall.
    """

    name: str
    at: int
    clock: Literal["event", "wall"] = "event"


class Context(Generic[K_co]):
    """What a processor is told of the record or the timer that it is called for.

    One object serves all calls: what is wanted later has to be taken out of it.

    Attributes:
        timestamp: event time of the record in milliseconds since the epoch; of a timer, the time
            that it was set for, and for one of the wall clock `stream_time`. What is handed on
            has this timestamp.
        stream_time: the largest event time so far, this record's included. Behind a repartition
            topic it is how far all have come who write there, -1 until that is known: set timers
            by `timestamp`.
    """

    __slots__ = ("_key", "stream_time", "timestamp")

    timestamp: int
    stream_time: int

    def __init__(self) -> None:
        self._key: K_co = None  # type: ignore[assignment]
        self.timestamp = self.stream_time = -1

    @property
    def key(self) -> K_co:
        """The key of the record or the timer."""
        return self._key

    @property
    def now(self) -> int:
        """The wall clock in milliseconds since the epoch; in a test, that of the driver."""
        raise NotImplementedError

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """Pairs of name and bytes of the record; a timer has none."""
        raise NotImplementedError

    @property
    def random(self) -> random.Random:
        """Random numbers that are the same where the record, or the timer, is processed again."""
        raise NotImplementedError

    def set_timer(self, name: str, *, at: int, clock: Literal["event", "wall"] = "event") -> None:
        """Have `on_timer` called for this key at a time; a timer that is set again is moved.

        One of event time fires before the first record whose time has reached `at`, in the order
        of their times; one that is due already, right after this call of the processor. One of
        the wall clock fires between two batches.

        Args:
            name: distinguishes the timers of a key.
            at: milliseconds since the epoch.
            clock: "event" goes by `stream_time`, "wall" by `now`.

        Raises:
            TopologyError: if the processor has no on_timer, or this is called outside of it.
            TypeError: if the name is no text, or the time no whole number.
            ValueError: if the time is too far away, or there is no such clock.
        """
        raise NotImplementedError

    def cancel_timer(self, name: str) -> None:
        """Forget a timer of this key; one that is not set is none.

        Args:
            name: what it was set under.

        Raises:
            TopologyError: as `set_timer` does.
        """
        raise NotImplementedError


class Kept:
    """State that a class declares: it is written by its own methods, and never assigned."""


class Processor(Generic[K_in, V_in, R_co]):
    """What is done with each record of a key, with state and timers of that key.

    State is declared as class attributes: `ValueState`, `ListState`, `MapState`. It is logged and
    committed with the records; what is kept on the instance instead is lost with the worker, and
    not undone with a batch that is aborted. Each task makes an instance of its own.

    >>> import penstock as ps
    >>> from penstock.testing import TestDriver
    >>> class Number(ps.Processor[str, str, str]):
    ...     seen = ps.ValueState(int)
    ...     def process(self, ctx, value):
    ...         self.seen.set((self.seen.get() or 0) + 1)
    ...         yield f"{self.seen.get()} {value}"
    >>> app = ps.App("numbers")
    >>> app.stream("in", key=str, value=str).process(Number, name="number").to("out")
    >>> with TestDriver(app) as driver:
    ...     for word in "abc":
    ...         driver.topic("in").send(word, key="k")
    ...     driver.topic("out").read()
    [('k', '1 a'), ('k', '2 b'), ('k', '3 c')]
    """

    def process(self, ctx: Context[K_in], value: V_in) -> Iterable[R_co]:
        """Take one record; return what is to be handed on, or yield it.

        An exception goes by the policy of the record's input; its state and timers are undone.

        Args:
            ctx: the key, the times and the timers.
            value: the value; None only where the stream has deletions of a table.
        """
        raise NotImplementedError

    def on_timer(self, ctx: Context[K_in], timer: Timer) -> Iterable[R_co]:
        """Do what a timer was set for; return what is to be handed on, or yield it.

        An exception is no record's fault: it stops the application, whatever the policy.

        Args:
            ctx: as for `process`, under the timer's key.
            timer: its name and time.
        """
        return ()

    def on_initial(self, ctx: Context[K_in], value: Any) -> None:
        """Begin a key: set up its state from what a table has for it.

        It is called once for each key, over restarts too, right before the first record or timer
        of the key, where the table passed as `initial=` has a value then. A key without a value
        has begun all the same. An exception is one of that record or timer, and the key has not
        begun.

        Args:
            ctx: as for `process`, of the record or timer that comes then.
            value: what the table has for the key; a copy where it can be changed.
        """

    if not TYPE_CHECKING:  # checkers would take any attribute for one that may be set

        def __setattr__(self, name: str, value: Any) -> None:
            if isinstance(getattr(type(self), name, None), Kept):
                raise TopologyError(
                    f"self.{name} is state, and was assigned: it would be no state any more."
                    f" Write it by its methods, such as self.{name}.set(value).",
                    operator="process",
                )
            object.__setattr__(self, name, value)
