"""The disk: where the stores of a worker are kept, one place for each partition of each.

`RocksDisk` is production's: RocksDB in folders. The simulation has one in memory that can
lose what was not flushed.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from penstock.state.cleanup import Deleted, clean
from penstock.state.directories import (
    lock_store,
    private_folder,
    refuse_link,
    refused,
    set_aside,
    store_folder,
)
from penstock.state.rocksdb import RocksMemory, RocksStore
from penstock.state.store import Store


class LocalStore(Store, Protocol):
    """A store that can be opened for writing only, while it is restored."""

    def load(self) -> None:
        """Make it fast to write and slow to read."""
        ...

    def loaded(self) -> None:
        """Make it fit for reading again."""
        ...


class Held(Protocol):
    """A lock that is held."""

    def touch(self) -> None:
        """Note that it still is, for `Disk.clean`."""
        ...

    def release(self) -> None:
        """Give it back."""
        ...


class Place(Protocol):
    """Where one partition of a store is kept."""

    def lock(self, wait: Callable[[], bool]) -> Held:
        """Keep others out.

        Args:
            wait: waits a moment and returns whether to try again.

        Raises:
            StateError: if somebody else still has it.
        """
        ...

    def open(self) -> LocalStore:
        """Open what is there, or a new store.

        Raises:
            DamagedStore: if it cannot be read.
            StateError: if the disk refuses.
        """
        ...

    def set_aside(self, stamp_ms: int) -> str:
        """Keep what is there under another name, which is returned.

        Raises:
            StateError: if the disk refuses.
        """
        ...

    def private(self, slot: str) -> "Place":
        """Return the place beside it that only one slot uses."""
        ...


class Disk(Protocol):
    """The stores of all applications."""

    def place(self, application: str, store: str, partition: int) -> Place:
        """Return the place of one partition of a store."""
        ...

    def clean(self, application: str, *, unused_ms: int, now_ms: int) -> Sequence[Deleted]:
        """Delete an application's state that nobody has used for longer than unused_ms."""
        ...


class RocksDisk:
    """Stores in RocksDB, in folders under one root.

    Args:
        root: the state folder of all applications.
        memory: what all stores share.
    """

    def __init__(self, root: Path, memory: RocksMemory) -> None:
        self._root = root
        self._memory = memory

    def place(self, application: str, store: str, partition: int) -> "RocksPlace":
        """Return a folder; its parent is made."""
        return RocksPlace(store_folder(self._root, application, store, partition), self._memory)

    def clean(self, application: str, *, unused_ms: int, now_ms: int) -> list[Deleted]:
        """Delete folders."""
        return clean(self._root / application, unused_ms=unused_ms, now_ms=now_ms)


class RocksPlace:
    """The folder of one partition of a store."""

    def __init__(self, folder: Path, memory: RocksMemory) -> None:
        self._folder = folder
        self._memory = memory

    def __str__(self) -> str:
        return str(self._folder)

    def lock(self, wait: Callable[[], bool]) -> Held:
        """Take the OS lock beside the folder."""
        return lock_store(self._folder, wait)

    def open(self) -> RocksStore:
        """Open the database."""
        refuse_link(self._folder)
        return RocksStore(self._folder, self._memory)

    def set_aside(self, stamp_ms: int) -> str:
        """Rename the folder."""
        with refused(self._folder.parent):
            return set_aside(self._folder, stamp_ms).name

    def private(self, slot: str) -> "RocksPlace":
        """Return a folder beside this one."""
        return RocksPlace(private_folder(self._folder, slot), self._memory)
