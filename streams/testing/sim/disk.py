"""The disk of a simulated host: stores in memory that a crash takes back.

Like RocksDB without its log: what is written is lost with the process unless it was flushed,
or unless a memtable happened to be written out before.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from penstock.errors import StateError
from penstock.state.cleanup import Deleted
from penstock.state.memory import MemoryStore
from penstock.state.store import Position
from penstock.testing.sim.process import Process

Key: TypeAlias = tuple[str, str, str]  # application, store, folder


class Survives(Enum):
    """What a crash leaves of a store."""

    FLUSHED = "what was flushed"
    WRITTEN = "all that was written"
    NOTHING = "no file"


@dataclass
class Files:
    """One partition of a store.

    Attributes:
        data: what was written.
        position: and up to which offset.
        owner: the process that has the lock.
        unused_since_ms: when cleaning up has first found it unlocked.
    """

    data: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    position: Position | None = None
    flushed: tuple[dict[bytes, bytes], Position | None] = field(default_factory=lambda: ({}, None))
    owner: Process | None = None
    unused_since_ms: int | None = None

    @property
    def locked(self) -> bool:
        """Whether a living process has the lock."""
        return self.owner is not None and self.owner.alive


class SimDisk:
    """The disk of one host.

    Attributes:
        files: by application, store and partition.
        full_until: for a test that lets it be full: seconds of the simulation.
    """

    def __init__(self) -> None:
        self.files: dict[Key, Files] = defaultdict(Files)
        self.full_until = 0.0

    def mount(self, process: Process) -> "MountedDisk":
        """Return the disk as a process sees it."""
        return MountedDisk(self, process)

    def copy(self) -> "SimDisk":
        """Return another disk with what was flushed to this one."""
        other = SimDisk()
        for key, found in self.files.items():
            data, position = found.flushed
            other.files[key] = Files(dict(data), position, (dict(data), position))
        return other

    def crash(self, process: Process, survives: Survives) -> None:
        """Take back what a dead process has written, and its locks."""
        for key, found in list(self.files.items()):
            if found.owner is not process:
                continue
            found.owner = None
            if survives is Survives.NOTHING:
                del self.files[key]
            elif survives is Survives.FLUSHED:
                data, found.position = found.flushed
                found.data = dict(data)


class MountedDisk:
    """A disk in the hands of a process."""

    def __init__(self, disk: SimDisk, process: Process) -> None:
        self._disk = disk
        self._process = process

    def place(self, application: str, store: str, partition: int) -> "SimPlace":
        """Return the place of one partition of a store."""
        return SimPlace(self._disk, (application, store, str(partition)), self._process)

    def clean(self, application: str, *, unused_ms: int, now_ms: int) -> list[Deleted]:
        """Forget what was unlocked each time for so long."""
        self._process.call("clean")
        deleted: list[Deleted] = []
        for key, found in list(self._disk.files.items()):
            if found.locked or key[0] != application:
                continue
            if found.unused_since_ms is None:
                found.unused_since_ms = now_ms
            elif now_ms - found.unused_since_ms > unused_ms:
                del self._disk.files[key]
                deleted.append(Deleted("/".join(key[1:]), sum(map(len, found.data.values()))))
        return deleted


class SimPlace:
    """Where one partition of a store is kept."""

    def __init__(self, disk: SimDisk, key: Key, process: Process) -> None:
        self._disk = disk
        self._key = key
        self._process = process

    def __str__(self) -> str:
        return "/".join(map(str, self._key))

    def lock(self, wait: Callable[[], bool]) -> "SimLock":
        """Keep other processes out.

        Raises:
            StateError: if one has it for longer than is waited.
        """
        self._process.call("lock")
        found = self._disk.files[self._key]
        while found.locked:
            if not wait():
                raise StateError(f"{self} is locked by {found.owner and found.owner.name}")
        found.owner, found.unused_since_ms = self._process, None
        return SimLock(self._disk, self._key)

    def open(self) -> "SimStore":
        """Open what is there."""
        self._process.call("open")
        return SimStore(self._disk.files[self._key], self._process)

    def set_aside(self, stamp_ms: int) -> str:
        """Forget what is there."""
        self._process.call("set_aside")
        self._disk.files[self._key] = Files(owner=self._process)
        return f"{self}.aside-{stamp_ms}"

    def private(self, slot: str) -> "SimPlace":
        """Return the place beside it that only one slot uses."""
        application, store, folder = self._key
        return SimPlace(self._disk, (application, store, f"{folder}.{slot}"), self._process)


class SimLock:
    """A lock that is held."""

    def __init__(self, disk: SimDisk, key: Key) -> None:
        self._disk = disk
        self._key = key

    def touch(self) -> None:
        """Do nothing: what is locked is in use."""

    def release(self) -> None:
        """Give it back."""
        self._disk.files[self._key].owner = None


class SimStore(MemoryStore):
    """A store whose writes reach the files at once, and the disk when they are flushed."""

    def __init__(self, files: Files, process: Process) -> None:
        super().__init__()
        self._files = files
        self._process = process
        self._data = files.data
        self._position = files.position

    def write(self, items: Iterable[tuple[bytes, bytes | None]], position: Position) -> None:
        """Put the pairs, delete those with None, and move to the position."""
        self._process.call("write")
        super().write(items, position)
        self._files.position = position

    def flush(self) -> None:
        """Make what was written outlast a crash."""
        self._process.call("store_flush")
        self._files.flushed = dict(self._files.data), self._files.position

    def close(self) -> None:
        """Flush."""
        self.flush()

    def load(self) -> None:
        """Do nothing: it is fast to write as it is."""

    def loaded(self) -> None:
        """Flush."""
        self.flush()
