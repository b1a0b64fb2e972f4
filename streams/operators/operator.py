"""What an operator is: columns in, columns out.

A stateless operator is an immutable value and serves all tasks at once. A stateful one is
declared with its store and opened once per task. The engine calls `process` for each chunk,
and at flush hands on the changes of the store where the operator was opened to coalesce.
"""

from typing import ClassVar, Literal, Protocol, TypeAlias

from penstock.operators.chunk import Chunk
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
    """A step with a store, as declared."""

    @property
    def store(self) -> StoreDefinition:
        """The store that it owns."""
        ...

    def open(self, overlay: Overlay, *, coalesce: bool) -> "OpenOperator":
        """Bind the step to the store of one task."""
        ...


class OpenOperator(Protocol):
    """A step with a store, at work in a task.

    Attributes:
        dropped: records that it could not take, until the task counts them.
        late: windows that records came too late for, until the task counts them.
    """

    dropped: int
    late: int

    def process(self, chunk: Chunk, clock: int) -> Chunk | None:
        """Update the store; return each update where updates must not be coalesced.

        Args:
            chunk: the records.
            clock: operator time before them, in milliseconds, -1 for none.
        """
        ...

    def updates(self, changes: Changes) -> Chunk:
        """Return what a batch has changed in the store, as records."""
        ...

    def discard(self) -> None:
        """Forget what the batch has left beside the store: it was aborted."""
        ...

    def close(self, clock: int) -> Chunk | None:
        """Return what operator time has closed, and delete it from the store."""
        ...


NOTHING: frozenset[Column] = frozenset()
EVERYTHING: frozenset[Column] = frozenset(("headers", "offsets"))
