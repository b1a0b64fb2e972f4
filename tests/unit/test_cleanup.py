"""Which state is deleted, and above all which is not."""

import os
import subprocess
import sys
import threading
import time

import pytest

from penstock.runtime.clock import now_ms
from penstock.state import directories
from penstock.state.cleanup import Deleted, clean
from penstock.state.directories import Lock, lock_of, lock_store, private_folder, store_folder
from penstock.state.rocksdb import RocksMemory, RocksStore
from penstock.state.store import Position

HOUR_MS = 3_600_000
SLOT = "6f9619ff-8b86-d011-b42d-00c04fc964ff"
MEMORY = RocksMemory(8 * 1024 * 1024)

HOLD = """
import sys
from pathlib import Path
from penstock.state.directories import Lock
held = Lock.acquire(Path(sys.argv[1]))
print("held" if held else "refused", flush=True)
sys.stdin.read()
"""
CLEAN = """
import sys
from pathlib import Path
from penstock.runtime.clock import now_ms
from penstock.state.cleanup import clean
sys.stdin.readline()
for found in clean(Path(sys.argv[1]), unused_ms=3_600_000, now_ms=now_ms()):
    print(found.name, found.size_bytes)
"""


@pytest.fixture
def root(tmp_path):
    """The state folder of all applications."""
    return tmp_path / "root"


def state(root, partition=0, *, hours=2.0, application="app", slot=None):
    """Make a store that was last used some hours ago, and return its folder."""
    folder = store_folder(root, application, "counts", partition)
    folder = private_folder(folder, slot) if slot else folder
    lock = lock_store(folder, lambda: False)
    store = RocksStore(folder, MEMORY)
    store.write([(b"key", b"value")], Position(7, "id", now_ms()))
    store.close()
    lock.release()
    age(lock_of(folder), hours)
    return folder


def age(path, hours):
    """Let a file be older than it is."""
    then = now_ms() / 1000 - hours * 3600
    os.utime(path, (then, then))


def cleaned(root, application="app"):
    """Delete what was unused for an hour."""
    return clean(root / application, unused_ms=HOUR_MS, now_ms=now_ms())


def size(folder):
    """How many bytes are in a folder."""
    return sum(path.stat().st_size for path in folder.iterdir())


def test_what_nobody_has_used_for_long_is_deleted(root):
    """A partition's folder, and one that only a slot used; their locks stay."""
    folders = [state(root, 3), state(root, 3, slot=SLOT)]
    sizes = [size(folder) for folder in folders]
    assert min(sizes) > 0
    assert cleaned(root) == [
        Deleted("counts/3", sizes[0]),
        Deleted(f"counts/3.{SLOT}", sizes[1]),
    ]
    assert sorted(path.name for path in folders[0].parent.iterdir()) == [
        f"3.{SLOT}.lock",
        "3.lock",
    ]


def test_a_store_can_be_made_again_in_its_place(root):
    """It is an empty one."""
    folder = state(root)
    assert cleaned(root)
    lock = lock_store(folder, lambda: False)
    store = RocksStore(folder, MEMORY)
    assert store.position() is None
    store.close()
    lock.release()


def test_what_was_used_lately_is_kept(root):
    """Taking the lock, holding it and giving it back are uses, whatever the files' times are."""
    folder = state(root, hours=0.9)
    for path in (folder, *folder.iterdir()):
        age(path, 24)
    assert cleaned(root) == []

    def touched():
        fresh = lock_of(folder).stat().st_mtime > now_ms() / 1000 - 60
        age(lock_of(folder), 24)
        return fresh

    held = lock_store(folder, lambda: False)
    assert touched()
    held.touch()
    assert touched()
    held.release()
    assert touched()
    assert len(cleaned(root)) == 1


def test_what_a_living_process_holds_is_kept(root):
    """However long ago it was touched: its holder may be stopped. Dead, it holds nothing."""
    folder = state(root)
    held = [sys.executable, "-c", HOLD, str(lock_of(folder))]
    with subprocess.Popen(held, stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout.readline() == "held\n"
        assert cleaned(root) == []
        process.kill()
    assert [found.name for found in cleaned(root)] == ["counts/0"]


def test_what_we_hold_ourselves_is_kept(root):
    """A lock keeps the process out that has it, too."""
    folder = state(root)
    held = Lock.acquire(lock_of(folder))
    assert cleaned(root) == []
    assert folder.exists()
    held.release()


def test_what_another_application_has_is_kept(root):
    """Also where its name begins with ours."""
    others = [state(root, application=name) for name in ("app-2", "other")]
    state(root)
    assert len(cleaned(root)) == 1
    assert all(folder.exists() for folder in others)
    assert cleaned(root, "never-ran") == []


def test_what_was_set_aside_is_deleted_when_it_is_old(root):
    """By the time of that, also while its partition is in use; nobody opens it any more."""
    folder = state(root, hours=0)
    old = directories.set_aside(folder, now_ms() - 2 * HOUR_MS)
    folder = state(root, hours=0)
    young = directories.set_aside(folder, now_ms() - HOUR_MS // 2)
    held = lock_store(folder, lambda: False)
    assert [found.name for found in cleaned(root)] == [f"counts/{old.name}"]
    assert young.exists()
    held.release()


def test_a_slot_may_be_called_like_what_is_set_aside(root):
    """A worker's id is anything: with a lock of its own, it is a folder that is in use."""
    folder = state(root, slot="aside-5", hours=0.5)
    assert cleaned(root) == []
    assert folder.exists()


@pytest.mark.parametrize("name", ["notes.txt", "000001.sst.bak", "CURRENT~"])
def test_a_folder_with_a_file_that_is_not_ours_is_kept(root, name):
    """Whole, so that nothing is half there; set aside or not."""
    folder = state(root)
    aside = directories.set_aside(state(root, 1), 0)
    for each in (folder, aside):
        (each / name).write_text("mine")
    before = [size(folder), size(aside)]
    assert cleaned(root) == []
    assert [size(folder), size(aside)] == before


def test_what_penstock_has_not_made_is_kept(root):
    """Files and folders beside ours, copies of ours, and folders in ours."""
    home = state(root, hours=0).parent
    mine = [home / name for name in ("notes.txt", "0.lock.bak", "backup", "0.copy", "x.aside-1")]
    for path in mine[:2]:
        path.write_text("mine")
        age(path, 24)
    for path in mine[2:]:
        path.mkdir()
        (path / "CURRENT").write_text("mine")
    (state(root, 1) / "CURRENT.d").mkdir()
    (state(root, 2) / "LOCK.d").mkdir()
    mine += [home / "1" / "CURRENT.d", home / "2" / "LOCK.d"]
    assert cleaned(root) == []
    assert all(path.exists() for path in mine)


def test_no_symbolic_link_is_followed(root, tmp_path):
    """Not as an application's folder, a store's, a partition's, a file in it, or a lock."""
    real = state(tmp_path / "elsewhere")
    (root / "app" / "sums").mkdir(parents=True)
    links = {
        root / "linked": real.parents[1],
        root / "app" / "counts": real.parent,
        root / "app" / "sums" / "0": real,
    }
    for link, target in links.items():
        link.symlink_to(target)
    Lock.acquire(root / "app" / "sums" / "0.lock").release()
    age(root / "app" / "sums" / "0.lock", 24)
    assert cleaned(root) == cleaned(root, "linked") == []
    assert size(real) > 0

    (root / "app" / "counts").unlink()
    one, other = state(root, 1), state(root, 2)
    outside = tmp_path / "000001.sst"
    outside.write_text("mine")
    (one / "000001.sst").symlink_to(outside)
    lock_of(other).unlink()
    lock_of(other).symlink_to(lock_of(real))
    assert cleaned(root) == []
    assert one.exists()
    assert other.exists()
    assert outside.read_text() == "mine"


def test_two_workers_at_the_same_time(root):
    """Each folder is deleted once, whoever is first; none of them minds."""
    folders = [state(root, n) for n in range(30)]
    folders += [directories.set_aside(state(root, n), 0) for n in range(30, 40)]
    command = [sys.executable, "-c", CLEAN, str(root / "app")]
    pipes = {"stdin": -1, "stdout": -1, "stderr": -1, "text": True}
    workers = [subprocess.Popen(command, **pipes) for _ in range(3)]
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    said = [worker.communicate(timeout=60) for worker in workers]
    assert [error for _, error in said] == [""] * 3
    names = [line.split()[0] for out, _ in said for line in out.splitlines()]
    assert sorted(names) == sorted(f"counts/{folder.name}" for folder in folders)
    assert not any(folder.exists() for folder in folders)


def test_nobody_deletes_what_is_held(root):
    """While another worker cleans up all the time: it is deleted between two uses, or not at all.

    Were it done without the lock, the store would be empty when it is opened again.
    """
    home, over, deleted = root / "app", threading.Event(), []

    def clean_always():
        while not over.wait(0.001):
            deleted.extend(clean(home, unused_ms=HOUR_MS, now_ms=now_ms()))

    folder, written = state(root), Position(8, "id", 1)
    cleaner = threading.Thread(target=clean_always)
    cleaner.start()
    give_up = time.monotonic() + 60
    try:
        while len(deleted) < 10:
            assert time.monotonic() < give_up, "it deletes nothing"
            held = lock_store(folder, lambda: True)
            age(lock_of(folder), 2)  # it looks unused all the time
            store = RocksStore(folder, MEMORY)
            store.write([(b"key", b"value")], written)
            store.close()
            store = RocksStore(folder, MEMORY)
            assert store.position() == written
            store.close()
            held.release()
            age(lock_of(folder), 2)
            over.wait(0.01)
    finally:
        over.set()
        cleaner.join()
