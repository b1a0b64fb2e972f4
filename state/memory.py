"""A store in memory: for tests of applications, and the reference for the contract."""

from collections.abc import Iterable, Iterator, Sequence

from penstock.state.store import Position, Usage


class MemoryStore:
    """A dict that is sorted when it is scanned."""

    def __init__(self) -> None:
        self._data: dict[bytes, bytes] = {}
        self._position: Position | None = None

    def get_all(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of the keys in their order, None where there is none."""
        return [self._data.get(key) for key in keys]

    def scan(self, start: bytes = b"", stop: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield pairs in the order of keys, from start, before stop."""
        for key in sorted(self._data):
            if key >= start and (stop is None or key < stop):
                yield key, self._data[key]

    def last(self) -> bytes | None:
        """Return the last key in their order; None where there is none."""
        return max(self._data, default=None)

    def view(self) -> "MemoryStore":
        """Return a copy of what there is now."""
        copy = MemoryStore()
        copy._data = dict(self._data)
        return copy

    def write(self, items: Iterable[tuple[bytes, bytes | None]], position: Position) -> None:
        """Put the pairs, delete those with None, and move to the position."""
        for key, value in items:
            if value is None:
                self._data.pop(key, None)
            else:
                self._data[key] = value
        self._position = position

    def position(self) -> Position | None:
        """Return the position of the last write, None for a store that was never written."""
        return self._position

    def usage(self) -> Usage:
        """Return how many keys there are: nothing is on disk, and Python does not tell sizes."""
        return Usage(rows=len(self._data))

    def flush(self) -> None:
        """Do nothing: memory is as durable as it gets."""

    def close(self) -> None:
        """Do nothing."""
