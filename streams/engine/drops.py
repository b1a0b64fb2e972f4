"""What a task has dropped, counted: no policy lets these records go, and no step fails on them.

Rule 1: a count is of its chunk until the chunk has finished, and of its batch from then on. What
        is run again is not counted twice.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from penstock.topology.node import Node


class Drops:
    """Records without key or value, windows that records were too late for, and duplicates.

    Args:
        opened: the steps of the task that count, at work.

    Attributes:
        nulls: records of the chunk whose value is null, where the input's step drops them.
        late: how often records of the batch were too late for a window, by store.
    """

    def __init__(self, opened: Mapping[Node, Any]) -> None:
        self._opened = opened
        self.nulls = 0
        self._dropped = 0
        self.late: Counter[str] = Counter()
        self._duplicates: Counter[str] = Counter()

    def accept(self) -> None:
        """Count what the chunk has dropped: it has finished."""
        dropped, late, duplicates = self._take_chunk()
        self._dropped += dropped
        self.late += late
        self._duplicates += duplicates

    def rollback(self) -> None:
        """Forget what the chunk has dropped."""
        self._take_chunk()

    def discard(self) -> None:
        """Forget what the batch has dropped."""
        self._take_chunk()
        self._dropped, self.late, self._duplicates = 0, Counter(), Counter()

    def take_dropped(self) -> int:
        """Return how many records had no key or value, and begin anew."""
        dropped, self._dropped = self._dropped, 0
        return dropped

    def take_late(self) -> Counter[str]:
        """Return how often records were too late for a window, by store, and begin anew."""
        late, self.late = self.late, Counter()
        return late

    def take_duplicates(self) -> Counter[str]:
        """Return how many records were duplicates, by store, and begin anew."""
        duplicates, self._duplicates = self._duplicates, Counter()
        return duplicates

    def _take_chunk(self) -> tuple[int, Counter[str], Counter[str]]:
        dropped, self.nulls = self.nulls, 0
        late, duplicates = Counter[str](), Counter[str]()
        for node, operator in self._opened.items():
            dropped += operator.dropped
            if operator.late:
                late[node.clock] = operator.late
            if hasattr(operator, "duplicates"):
                duplicates[node.clock] = operator.duplicates
                operator.duplicates = 0
            operator.dropped = operator.late = 0
        return dropped, late, duplicates
