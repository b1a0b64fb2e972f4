"""What an operator is: columns in, columns out.

A stateless operator is an immutable value and serves all tasks at once. A stateful one is
declared with its store and opened once per task. The engine calls `process` for each chunk,
and at flush hands on the changes of the store where the operator was opened to coalesce.
"""

from collections.abc import Callable
from typing import ClassVar, Literal, Protocol, TypeAlias

from penstock.operators.chunk import Chunk
from penstock.operators.time import OperatorTime
from penstock.state.definition import StoreDefinition
from penstock.state.overlay import Changes, Overlay

Column: TypeAlias = Literal["headers", "offsets"]


class Operator(Protocol):
    """A stateless step."""

    reads: ClassVar[frozenset[Column]]

    def process(self, chunk: Chunk) -> Chunk | None:
        """Return the records to hand on, None for none."""
        ...


class Stateful(Protocol):
    """A step with a store, as declared.

    One with several has `stores` too, and `store` is their first. One that goes by event time
    has `timed`, and what it opens is a `Closing` too.
    """

    @property
    def store(self) -> StoreDefinition:
        """The store that it owns; its operator time is kept under this name."""
        ...

    def open(self, *overlays: Overlay, coalesce: bool) -> "OpenOperator":
        """Bind the step to the stores of one task."""
        ...


class OpenOperator(Protocol):
    """A step with a store, at work in a task.

    Attributes:
        dropped: records that it could not take, until the task counts them.
        late: windows that records came too late for, until the task counts them. A step that
            has any has a `LateCount` as `late_count` too.
    """

    dropped: int
    late: int

    def process(self, chunk: Chunk, time: OperatorTime) -> Chunk | None:
        """Update the store; return each update where updates must not be coalesced.

        Args:
            chunk: the records.
            time: operator time around them.
        """
        ...

    def updates(self, changes: Changes) -> Chunk:
        """Return what a batch has changed in the store, as records."""
        ...

    def discard(self) -> None:
        """Forget what the batch has left beside the store: it was aborted."""
        ...


class Keeping(Protocol):
    """A table, beside what `OpenOperator` says."""

    def contents(self, most: int) -> Chunk:
        """Return what is in the store as records, the first ones in the order of its keys.

        What the batch has changed has to be flushed before.

        Args:
            most: how many keys to look at.
        """
        ...


class Closing(Protocol):
    """A step with a store that does something as time goes on, beside what `OpenOperator` says.

    Attributes:
        wake_ms: when the wall clock has something for it to do, None for never.
    """

    wake_ms: int | None

    def is_due(self, clock: int) -> bool:
        """Whether there is something to close at an operator time.

        The changes of the batch have been flushed before.
        """
        ...

    def held_ms(self) -> int | None:
        """How old what it has not handed on yet may be, in event time; None for nothing.

        The changes of the batch have been flushed before.
        """
        ...

    def close(self, clock: int, now_ms: int, limit: int) -> tuple[Chunk | None, bool]:
        """Do what time has come for, and delete what is closed from the store.

        The changes of the batch have been flushed before.

        Args:
            clock: operator time in milliseconds, -1 for none.
            now_ms: the wall clock.
            limit: how many results to return at most, about.

        Returns:
            what to hand on, and whether all is done.
        """
        ...


class Firing(Protocol):
    """A `Closing` step that does something in front of a record, which is not of that record."""

    def tell_time_by(self, now_ms: Callable[[], int]) -> None:
        """Take what tells the wall clock's milliseconds."""
        ...

    def fire(self, time: int) -> Chunk | None:
        """Do what an event time has come for, before a record is processed alone."""
        ...

    def rollback(self) -> None:
        """Have in memory again what the stores have: they were rolled back."""
        ...


NOTHING: frozenset[Column] = frozenset()
EVERYTHING: frozenset[Column] = frozenset(("headers", "offsets"))
