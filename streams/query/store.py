"""Store: read access to a table's committed state."""

from typing import Generic

from typing_extensions import TypeVar

from penstock.state.overlay import Overlay

K = TypeVar("K")
V = TypeVar("V")


class Store(Generic[K, V]):
    """The committed values of a table by key."""

    def __init__(self, overlay: Overlay) -> None:
        self._overlay = overlay

    def get(self, key: K) -> V | None:
        """Return the value of a key, None where there is none.

        Args:
            key: of the table's key type.

        Raises:
            TypeError: if the key is not of the table's key type.
        """
        of = self._overlay.definition
        entry = self._overlay.get(of.key.encode(key))
        found: V | None = None if entry is None else entry[0]
        # Sessions and sliding windows of a key are kept together.
        find = getattr(of.value, "find", None)
        return found if find is None or found is None else find(found, key)
