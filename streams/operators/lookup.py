"""A lookup: the value that a table has for a key, as the batch sees it, for a step beside it."""

from collections.abc import Sequence
from typing import Any

from penstock.operators.chunk import Chunk
from penstock.operators.operator import Operator
from penstock.state.overlay import Overlay


class Lookup:
    """The rows of a table in one task.

    >>> from penstock.serde.primitives import STR
    >>> from penstock.state.definition import StoreDefinition
    >>> from penstock.state.memory import MemoryStore
    >>> overlay = Overlay(StoreDefinition("names", STR, STR), MemoryStore())
    >>> overlay.put({b"a": ("x", 5)})
    >>> Lookup(overlay, []).get(b"a"), Lookup(overlay, []).get(b"b")
    ('x', None)

    Args:
        overlay: the store of the table.
        behind: what makes the table's values of those of its store, if there is anything.
    """

    def __init__(self, overlay: Overlay, behind: Sequence[Operator]) -> None:
        self._overlay = overlay
        self._behind = behind

    def get(self, raw: bytes) -> Any:
        """Return the value of a key, None where there is none; a copy if it can be changed.

        Args:
            raw: bytes of the key.
        """
        entry = self._overlay.get(raw)
        if entry is None or entry[0] is None:
            return None
        value, timestamp = entry
        for step in self._behind:
            serde = self._overlay.definition.key
            made = step.process(Chunk([value], [timestamp], raw_keys=[raw], key_serde=serde))
            if made is None:
                return None
            (value,) = made.values
        return value
