"""Memory: the committed rows of a stream or a table in a list, for notebooks and tests."""

import threading
from collections.abc import Sequence
from itertools import islice
from typing import Any, Generic

from typing_extensions import TypeVar

from penstock.operators.deliver import OutputMode, Row

K_co = TypeVar("K_co", covariant=True)
V_co = TypeVar("V_co", covariant=True)


class Memory(Generic[K_co, V_co]):
    """The rows that an application has committed in this process since it was started.

    With "append" they are all records, in the order of their batches. With "update" it is the last
    row of each key that has changed, without those that were deleted. With "complete" it is the
    whole table as of the last batch that has changed it, of this worker's partitions.

    Made by `to_memory()`. What another worker of the application commits is not here.

    Args:
        mode: the output mode.
        max_rows: how many rows to keep.
    """

    def __init__(self, mode: OutputMode, max_rows: int) -> None:
        self.most = max_rows
        self._mode: OutputMode = mode
        self._lock = threading.Lock()
        self._rows: dict[Any, tuple[Any, Any]] = {}
        self._taken = 0

    def rows(self) -> list[tuple[K_co, V_co]]:
        """Return keys and values, as a list that nobody changes any more."""
        with self._lock:
            return list(self._rows.values())

    def take(self, batch: int, partitions: Sequence[int], rows: Sequence[Row]) -> None:
        """Take what a batch has committed; the application calls it.

        Args:
            batch: the number of the batch.
            partitions: which ones the rows are of.
            rows: those of the batch, or all of a table.
        """
        with self._lock:
            if self._mode == "complete":
                self._rows = {}
            for row in rows:
                self._put(row)
            excess = len(self._rows) - self.most
            for key in list(islice(self._rows, max(0, excess))):
                del self._rows[key]

    def _put(self, row: Row) -> None:
        if self._mode == "update" and row.identity is not None:
            self._rows.pop(row.identity, None)
            if row.value is not None:
                self._rows[row.identity] = (row.key, row.value)
            return
        self._taken += 1
        self._rows[self._taken] = (row.key, row.value)
