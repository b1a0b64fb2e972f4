"""Deleting state that nobody uses any more: what no worker of this host has opened for long.

State is a cache of its changelog, so deleting it costs a restore at most, and keeping it costs
disk space. What is deleted are folders of partitions, those of one slot too, and those that were
set aside.

Rule 1: a partition's folder was used when the lock beside it was touched last (taken, held,
        released); one that is set aside, when it was.
Rule 2: a partition's folder is set aside under its lock, and deleted after that. So whoever
        wants it waits for one renaming, and what a crash leaves of it is opened by nobody.
Rule 3: locks stay: two processes could hold one that was deleted and made anew.
Rule 4: what Penstock has not made stays. A folder has to have one of our names, a lock, and
        nothing in it but files of RocksDB; no symbolic link is followed.
"""

import logging
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from penstock.errors import StateError
from penstock.state.directories import Lock, lock_of, set_aside
from penstock.state.rocksdb import is_our_file

log = logging.getLogger("penstock")

_PLACE = re.compile(r"\d+(\.[A-Za-z0-9._-]+)?")  # a partition, or a partition and a slot
_ASIDE = re.compile(r"(.+)\.aside-(\d+)")


@dataclass(frozen=True)
class Deleted:
    """State that was deleted.

    Attributes:
        name: its store and folder.
        size_bytes: how much its files had in them.
    """

    name: str
    size_bytes: int


def clean(home: Path, *, unused_ms: int, now_ms: int) -> list[Deleted]:
    """Delete an application's state that nobody has used for long.

    Args:
        home: the application's folder.
        unused_ms: for how long.
        now_ms: the wall clock.
    """
    deleted: list[Deleted] = []
    for folder in state_folders(home):
        try:
            found = _clean(folder, now_ms - unused_ms, now_ms)
        except FileNotFoundError:
            continue  # another worker is doing the same
        except (OSError, StateError) as error:
            log.warning("The unused state in %s cannot be deleted: %s.", folder, error)
            continue
        if found is not None:
            deleted.append(Deleted(f"{folder.parent.name}/{folder.name}", found))
    return deleted


def state_folders(home: Path) -> Iterator[Path]:
    """Yield the folders of an application's partitions, those that are set aside too."""
    for store in _folders(home):
        yield from _folders(store)


def is_state(folder: Path) -> bool:
    """Whether Penstock has made a folder, and nobody has put anything else into it (Rule 4)."""
    aside = _ASIDE.fullmatch(folder.name)
    place = folder.with_name(aside[1]) if aside else folder
    known = _PLACE.fullmatch(place.name) and _touched_ms(lock_of(place)) is not None
    return bool(known) and _is_ours(folder)


def _clean(folder: Path, before_ms: int, now_ms: int) -> int | None:
    """Delete a folder if it may be, and return how many bytes were in it."""
    if not is_state(folder):
        return None
    aside = _ASIDE.fullmatch(folder.name)
    if aside is None:
        return _take(folder, lock_of(folder), before_ms, now_ms)
    return _delete(folder) if int(aside[2]) < before_ms else None


def _take(folder: Path, lock: Path, before_ms: int, now_ms: int) -> int | None:
    """Delete a partition's folder, unless somebody uses it, or has used it lately."""
    if not _is_older(lock, before_ms):
        return None
    held = Lock.acquire(lock)
    if held is None:
        return None
    try:
        aside = set_aside(folder, now_ms) if _is_older(lock, before_ms) else None
    finally:
        held.release()
    return _delete(aside) if aside else None


def _delete(folder: Path) -> int:
    """Delete a folder and the files in it.

    Raises:
        FileNotFoundError: if somebody else was first.
    """
    size = 0
    for path in list(folder.iterdir()):
        with suppress(FileNotFoundError):
            size_of = path.lstat().st_size
            path.unlink()
            size += size_of
    folder.rmdir()
    return size


def _is_ours(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return all(is_our_file(e.name) and e.is_file(follow_symlinks=False) for e in entries)


def _is_older(lock: Path, before_ms: int) -> bool:
    touched_ms = _touched_ms(lock)
    return touched_ms is not None and touched_ms < before_ms


def _touched_ms(lock: Path) -> int | None:
    """Return when a lock was touched last, None where there is none."""
    try:
        found = lock.lstat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns // 1_000_000 if stat.S_ISREG(found.st_mode) else None


def _folders(path: Path) -> Iterator[Path]:
    """Yield the folders in a folder that have no hidden name; neither may be a link."""
    if path.is_symlink() or not path.is_dir():
        return
    with os.scandir(path) as entries:
        found = [e.name for e in entries if e.is_dir(follow_symlinks=False)]
    yield from (path / name for name in sorted(found) if not name.startswith("."))
