"""What a store's backend is: bytes to bytes, sorted by key, written one batch at a time.

Two backends hold the same contract (tests/contract): `MemoryStore` and `RocksStore`. What
is written together becomes durable together, with the position of the changelog that it
reflects: there is no state without knowing how far it goes.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Position:
    """How far a store reflects its changelog.

    Attributes:
        offset: the offset behind the last record that the store reflects.
        topic_id: identity of the changelog topic; a recreated one has another.
        written_ms: when this was written, milliseconds since the epoch.
        rows: how many keys there are then; None where nobody has counted.
    """

    offset: int
    topic_id: str
    written_ms: int
    rows: int | None = None


@dataclass(frozen=True)
class Usage:
    """What a backend takes up.

    Attributes:
        rows: how many keys there are, about.
        memory_bytes: what was written and is not in files yet; caches that stores share are not
            any store's.
        disk_bytes: of its files.
    """

    rows: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0


class View(Protocol):
    """What a store holds at one moment, whatever is written to it later.

    Files are in use until it is closed, and no other thread may use it meanwhile.
    """

    def get_all(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of the keys in their order, None where there is none."""
        ...

    def scan(self, start: bytes = b"", stop: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield pairs in the order of keys, from start, before stop.

        Raises:
            StateError: if the data turns out to be damaged; it is never cut silently.
        """
        ...

    def close(self) -> None:
        """Let go of it; an iterator of `scan` ends with it."""
        ...


class Store(Protocol):
    """Bytes by bytes, for one partition of one store."""

    def get_all(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of the keys in their order, None where there is none."""
        ...

    def scan(self, start: bytes = b"", stop: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield pairs in the order of keys, from start, before stop.

        Raises:
            StateError: if the data turns out to be damaged; it is never cut silently.
        """
        ...

    def last(self) -> bytes | None:
        """Return the last key in their order; None where there is none."""
        ...

    def view(self) -> View:
        """Return what there is now, for another thread to read."""
        ...

    def write(self, items: Iterable[tuple[bytes, bytes | None]], position: Position) -> None:
        """Put the pairs, delete those with None, and move to the position: all or nothing."""
        ...

    def position(self) -> Position | None:
        """Return the position of the last write, None for a store that was never written."""
        ...

    def usage(self) -> Usage:
        """Return what the store takes up; costs microseconds, and is no exact count of keys."""
        ...

    def flush(self) -> None:
        """Make what was written durable."""
        ...

    def close(self) -> None:
        """Flush, and release the files and the lock."""
        ...
