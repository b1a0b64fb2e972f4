"""Deliver: hand rows to something in this process, once the batch that made them is committed.

A sink in Kafka is part of the transaction; a console or a list in memory cannot be. So the rows of
a batch wait in the task. With its commit they are handed over, with its abort they are forgotten: a
row that is shown is committed, and one that is committed when the process dies is never shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from penstock.operators.chunk import Chunk
from penstock.operators.operator import NOTHING
from penstock.serde.types import Serde

OutputMode: TypeAlias = Literal["append", "update", "complete"]


class Row(NamedTuple):
    """A record, or a row of a table; a value of None is a deletion.

    Attributes:
        identity: the bytes of the key, None where nobody asks for them.
    """

    identity: bytes | None
    key: Any
    value: Any


class Output(Protocol):
    """What takes rows.

    Attributes:
        most: how many rows of one batch it has use for, per task and chunk; what is beyond them
            need not be kept.
    """

    most: int

    def take(self, batch: int, partitions: Sequence[int], rows: Sequence[Row]) -> None:
        """Take what a batch has committed.

        Args:
            batch: the number of the batch in this run.
            partitions: which ones of this worker the rows are of.
            rows: in the order in which they came; of a whole table in the order of the keys.
        """
        ...


@dataclass(frozen=True)
class Deliver:
    """Gather rows for an output.

    Attributes:
        output: what takes them.
        mode: "complete" hands over the whole table with each batch that has changed it, the
            others what has come.
        key: serde of the keys, where the output has to tell them apart.

    >>> class Three:
    ...     most = 3
    >>> chunk = Chunk([1, 2, 3, 4], [0] * 4, keys="abcd")
    >>> [(row.key, row.value) for row in Deliver(Three(), "append").gather(chunk)]
    [('a', 1), ('b', 2), ('c', 3)]
    """

    output: Output
    mode: OutputMode
    key: Serde[Any] | None = None
    reads = NOTHING

    @property
    def kind(self) -> str:
        """What the progress calls the output: "console", "memory"."""
        return type(self.output).__name__.lower()

    def gather(self, chunk: Chunk) -> list[Row]:
        """Return the rows of a chunk; none where the whole table is read after the commit."""
        return [] if self.mode == "complete" else self.rows(chunk)[: self.output.most]

    def rows(self, chunk: Chunk) -> list[Row]:
        """Return a chunk as rows."""
        keys = chunk.keys
        identities: Sequence[bytes | None] = [None] * len(chunk)
        if self.key is not None:
            identities = chunk.encoded_keys(self.key)
        return list(map(Row, identities, keys, chunk.values))
