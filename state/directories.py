"""Folders of local state: `<state_dir>/<application id>/<store>/<partition>`.

Each partition's folder has an OS lock beside it, held as long as the store is open: workers
of one host share the tree, so a task that moves between them keeps its state on disk. Slots,
which give a worker its lasting identity, stand in `.slots` of the application's folder.

State is a cache of its changelog. A folder that cannot be trusted is renamed aside, never
deleted silently, and restored in full. Where the holder of a lock is stopped, and its tasks
were given to another worker, that one restores into a folder of its slot.

What stands in the folder is not trusted: no symbolic link below it is followed, and what is read
from it is checked before it names anything.
"""

import errno
import fcntl
import logging
import os
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from penstock.errors import StateError
from penstock.state.definition import check_name, is_name

log = logging.getLogger("penstock")

FENCED_WITHIN_MS = 60_000
MOST_TEXT = 1_000  # characters of a file that names an identity
_MODE = 0o700


def default_state_dir() -> Path:
    """Return `$XDG_STATE_HOME/penstock`, or `~/.local/state/penstock`; never a temporary one."""
    home = os.environ.get("XDG_STATE_HOME")
    base = Path(home) if home else Path.home() / ".local" / "state"
    return base / "penstock"


class Lock:
    """An OS lock on a file, held until it is released or the process ends."""

    def __init__(self, path: Path, file: IO[str]) -> None:
        self.path = path
        self._file = file

    @classmethod
    def acquire(cls, path: Path) -> "Lock | None":
        """Take the lock, or return None where another process holds it.

        Raises:
            StateError: if the file cannot be opened, or is a symbolic link.
        """
        refuse_link(path)
        try:
            file = _open(path, "a+")
        except OSError as error:
            advice = (
                "Raise this process's limit of open files (ulimit -n, LimitNOFILE= of systemd)."
                if error.errno in (errno.EMFILE, errno.ENFILE)
                else "Give this user the state folder, or choose another one: App(...,"
                " state_dir=...)."
            )
            raise StateError(
                f"The lock {path} cannot be opened: {error.strerror}. {advice}"
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return None
        return cls(path, file)

    def touch(self) -> None:
        """Note on the file that what it locks is in use."""
        with suppress(OSError):  # it is for cleaning up only
            os.utime(self._file.fileno())

    def release(self) -> None:
        """Give the lock back."""
        self.touch()
        self._file.close()


def refuse_link(path: Path) -> None:
    """Hold that something in the state folder is what it seems to be.

    Raises:
        StateError: if it is a symbolic link, or this user may not look.
    """
    try:
        is_link = path.is_symlink()
    except OSError as error:
        raise StateError(
            f"{path} cannot be looked at: {error.strerror}. Give this user the state folder, or"
            " choose another one: App(..., state_dir=...)."
        ) from error
    if is_link:
        raise StateError(
            f"{path} is a symbolic link, which could lead anywhere. Remove it: what is missing is"
            " made anew, and state is restored from its changelog. To keep state on another disk,"
            " name that: App(..., state_dir=...)."
        )


def make_folder(path: Path, root: Path | None = None) -> Path:
    """Make a folder for this user only, and its parents.

    Args:
        path: the folder.
        root: the state folder that it is a part of; itself, if left out.

    Raises:
        StateError: if it cannot be made, or is a symbolic link, or one from the state folder on is.
    """
    inside = [path, *path.parents]
    for folder in inside[: inside.index(root or path) + 1]:
        refuse_link(folder)
    try:
        for folder in (*reversed(path.parents), path):
            if not folder.is_dir():  # mkdir(parents=True) would give parents the umask's mode
                folder.mkdir(mode=_MODE, exist_ok=True)
    except OSError as error:
        raise StateError(
            f"The state folder {path} cannot be made: {error.strerror}. Choose another one:"
            " App(..., state_dir=...)."
        ) from error
    return path


@contextmanager
def refused(folder: Path) -> Generator[None]:
    """Turn what the system says of a folder into an error that says what to do."""
    try:
        yield
    except OSError as error:
        raise StateError(
            f"The state folder {folder} cannot be written: {error.strerror}. Free space, or let"
            " this user write there, or choose another one: App(..., state_dir=...)."
        ) from error


def store_folder(root: Path, application: str, store: str, partition: int) -> Path:
    """Return the folder of one partition of a store; its parent exists, itself may not.

    Raises:
        StateError: if the parent cannot be made, or there is a symbolic link on the way.
    """
    check_name(application, "an application")
    check_name(store, "a store")
    folder = make_folder(root / application / store, root) / str(partition)
    for path in (folder, lock_of(folder)):
        refuse_link(path)
    return folder


def private_folder(folder: Path, slot: str) -> Path:
    """Return the folder of a store that only one slot uses, beside the one that all share."""
    return folder.with_name(f"{folder.name}.{slot}")


def lock_of(folder: Path) -> Path:
    """Return the file by which a store's folder is locked; its time is that of the last use."""
    return folder.with_name(f"{folder.name}.lock")


def lock_store(folder: Path, wait: Callable[[], bool]) -> Lock:
    """Lock a store's folder.

    Args:
        folder: the folder, as from `store_folder`.
        wait: waits a moment and returns whether to try again.

    Raises:
        StateError: if another process still holds the lock.
    """
    path = lock_of(folder)
    while True:
        lock = Lock.acquire(path)
        if lock is not None:
            lock.touch()
            return lock
        if not wait():
            raise StateError(
                f"Another process holds the store in {folder} (fuser {path} names it). Stop it,"
                " or wait until it has ended, and start again."
            )


def set_aside(folder: Path, stamp_ms: int) -> Path:
    """Rename a folder that cannot be trusted, and return its new path."""
    aside = folder.with_name(f"{folder.name}.aside-{stamp_ms}")
    folder.rename(aside)
    return aside


class Slot:
    """A worker's place on its host: a locked folder with an identity that survives restarts.

    Attributes:
        identity: random, made once per slot; a restarted worker finds it again and so ends
            its own dangling transaction at once. Or the worker's id, where it has one.
    """

    def __init__(self, lock: Lock, identity: str, path: Path | None = None) -> None:
        self._lock = lock
        self._path = path
        self.identity = identity

    @classmethod
    def acquire(cls, root: Path, application: str, worker_id: str | None = None) -> "Slot":
        """Take the first free slot of an application on this host, or that of a worker's id.

        Raises:
            StateError: if the folder cannot be written, or the worker's id is in use here.
            TopologyError: if the worker's id cannot be part of a file's name.
        """
        slots = make_folder(root / check_name(application, "an application") / ".slots", root)
        with refused(slots):
            if worker_id is not None:
                return cls._named(slots, check_name(worker_id, "a worker"))
            return cls._first_free(slots)

    @classmethod
    def _first_free(cls, slots: Path) -> "Slot":
        number = 0
        while True:
            lock = Lock.acquire(slots / f"{number}.lock")
            if lock is not None:
                path = slots / f"{number}.id"
                try:
                    return cls(lock, _identity(path), path)
                except OSError:
                    lock.release()
                    raise
            number += 1

    @classmethod
    def _named(cls, slots: Path, worker_id: str) -> "Slot":
        path = slots / f"id-{worker_id}.lock"
        lock = Lock.acquire(path)
        if lock is None:
            raise StateError(
                f"Another process runs as the worker {worker_id!r} (fuser {path} names it)."
                " Stop it, or give each worker a worker_id of its own."
            )
        return cls(lock, worker_id)

    def note_fenced(self, now_ms: int) -> bool:
        """Note that another process has taken this identity, and return whether it is given up.

        Whoever copies a volume copies the slots on it: two workers then put each other out for
        ever. The second time within FENCED_WITHIN_MS this slot gets a new identity for its
        next start. A worker's own id stays what it is.
        """
        if self._path is None:
            log.warning(
                "Another worker has taken the identity %r. Give each a worker_id of its own.",
                self.identity,
            )
            return False
        fences = self._path.with_suffix(".fenced")
        before = _read(fences)
        if not before.isdecimal() or abs(now_ms - int(before)) > FENCED_WITHIN_MS:
            _write(fences, str(now_ms))
            return False
        fences.unlink()
        fresh = _fresh_identity(self._path)
        log.warning(
            "The identity of this worker was taken by another one twice within a minute, as when"
            " a copy of %s is in use (a cloned volume). From its next start it is %s.",
            self._path, fresh,
        )  # fmt: skip
        return True

    def release(self) -> None:
        """Free the slot for another worker."""
        self._lock.release()


def _identity(path: Path) -> str:
    """Return the identity that stands in a file, or a new one where it could not be one."""
    text = _read(path)
    return text if is_name(text) else _fresh_identity(path)


def _fresh_identity(path: Path) -> str:
    text = str(uuid.uuid4())
    _write(path, text)
    return text


def _read(path: Path) -> str:
    """Return what a small file says; nothing, where there is none to be read."""
    try:
        with _open(path, "r") as file:
            return file.read(MOST_TEXT).strip()
    except OSError:
        return ""


def _write(path: Path, text: str) -> None:
    """Write a small file, whole or not at all, and over no link."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with fresh.open("x") as file:
        file.write(text)
    fresh.replace(path)


def _open(path: Path, mode: str) -> IO[str]:
    """Open a file, but none that a symbolic link leads to."""

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NOFOLLOW, 0o600)

    return open(path, mode, errors="replace", opener=opener)
