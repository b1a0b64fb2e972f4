"""Folders of state: who may use one, whose slot is whose, and what is refused."""

import os
import resource
import stat
import subprocess
import sys
import uuid

import pytest

from penstock.errors import StateError, TopologyError
from penstock.state.directories import (
    Lock,
    Slot,
    default_state_dir,
    lock_store,
    make_folder,
    set_aside,
    store_folder,
)

HOLD = """
import sys
from pathlib import Path
from penstock.state.directories import Lock, Slot
what, path = sys.argv[1:]
if what == "lock":
    held = Lock.acquire(Path(path))
    print("held" if held else "refused", flush=True)
else:
    held = Slot.acquire(Path(path), "app")
    print(held.identity, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other():
    """Another process that takes a lock or a slot, and keeps it until it is killed."""
    started = []

    def start(what, path):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, what, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


def mode(path):
    """The permissions of a path."""
    return stat.S_IMODE(path.lstat().st_mode)


def test_the_default_folder_is_the_users(monkeypatch):
    """State lies in XDG_STATE_HOME, or below the home: never in a temporary folder."""
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert str(default_state_dir()) == "/somewhere/penstock"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert str(default_state_dir()) == "/home/me/.local/state/penstock"


def test_folders_are_for_this_user_only(tmp_path):
    """Every folder that is made has mode 0700, the parents as well."""
    before = os.umask(0)
    try:
        store_folder(tmp_path / "root", "app", "store", 0)
        Slot.acquire(tmp_path / "root", "app").release()
    finally:
        os.umask(before)
    made = [path for path in (tmp_path / "root").rglob("*") if path.is_dir()]
    assert {path.name for path in made} == {"app", "store", ".slots"}
    assert {mode(path) for path in [tmp_path / "root", *made]} == {0o700}


def test_a_folder_that_is_there_keeps_its_mode(tmp_path):
    """Nobody's own folder is changed."""
    tmp_path.chmod(0o755)
    make_folder(tmp_path)
    assert mode(tmp_path) == 0o755


def test_a_symbolic_link_is_refused(tmp_path):
    """A link in place of a folder could lead anywhere."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(StateError, match="symbolic link"):
        make_folder(tmp_path / "link")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StateError):
        make_folder(tmp_path / "dangling")


def test_a_folder_that_cannot_be_made_names_the_setting(tmp_path):
    """Where a file is in the way, the error names the path and state_dir."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=r"state_dir=") as caught:
        make_folder(tmp_path / "file" / "state")
    assert str(tmp_path / "file" / "state") in str(caught.value)


@pytest.mark.parametrize("name", ["..", "a/b", ""])
def test_names_cannot_leave_the_root(tmp_path, name):
    """Application and store become folders only if their names are safe."""
    with pytest.raises(TopologyError):
        store_folder(tmp_path, name, "store", 0)
    with pytest.raises(TopologyError):
        store_folder(tmp_path, "app", name, 0)


def test_a_lock_excludes_this_process(tmp_path):
    """A lock is held once, and can be taken again after its release."""
    held = Lock.acquire(tmp_path / "x.lock")
    assert held is not None
    assert Lock.acquire(tmp_path / "x.lock") is None
    held.release()
    again = Lock.acquire(tmp_path / "x.lock")
    assert again is not None
    again.release()


def test_a_lock_excludes_other_processes(tmp_path, other):
    """A lock is free as soon as its process has ended, however it ended."""
    process, answer = other("lock", tmp_path / "x.lock")
    assert answer == "held"
    assert Lock.acquire(tmp_path / "x.lock") is None
    process.kill()
    process.wait()
    held = Lock.acquire(tmp_path / "x.lock")
    assert held is not None
    assert other("lock", tmp_path / "x.lock")[1] == "refused"
    held.release()


def test_a_store_that_is_in_use_is_waited_for(tmp_path):
    """The lock is tried again until `wait` gives up; the error names the folder and a way out."""
    folder = store_folder(tmp_path, "app", "store", 3)
    held = lock_store(folder, lambda: False)
    answers = iter([True, True, False])
    with pytest.raises(StateError, match="fuser") as caught:
        lock_store(folder, lambda: next(answers))
    assert str(folder) in str(caught.value)
    assert next(answers, None) is None

    def released() -> bool:
        held.release()
        return True

    lock_store(folder, released).release()


def test_partitions_have_locks_of_their_own(tmp_path):
    """Two partitions of a store can be open in two workers."""
    one = lock_store(store_folder(tmp_path, "app", "store", 1), lambda: False)
    two = lock_store(store_folder(tmp_path, "app", "store", 11), lambda: False)
    one.release()
    two.release()


def test_what_cannot_be_trusted_is_kept(tmp_path):
    """A folder set aside keeps its files under another name, and its place is free."""
    folder = store_folder(tmp_path, "app", "store", 0)
    folder.mkdir()
    (folder / "data").write_text("x")
    aside = set_aside(folder, 12345)
    assert not folder.exists()
    assert aside.name == "0.aside-12345"
    assert (aside / "data").read_text() == "x"


def test_a_slot_keeps_its_identity(tmp_path):
    """A restarted worker finds the identity that it had, one of another application does not."""
    first = Slot.acquire(tmp_path, "app")
    first.release()
    second = Slot.acquire(tmp_path, "app")
    assert second.identity == first.identity
    assert str(uuid.UUID(first.identity)) == first.identity
    stranger = Slot.acquire(tmp_path, "other")
    assert stranger.identity != first.identity
    second.release()
    stranger.release()


def test_two_workers_have_two_slots(tmp_path, other):
    """Workers of one host get different identities, and each finds its own again."""
    process, theirs = other("slot", tmp_path)
    ours = Slot.acquire(tmp_path, "app")
    assert ours.identity != theirs
    process.kill()
    process.wait()
    again = Slot.acquire(tmp_path, "app")
    assert again.identity == theirs
    ours.release()
    again.release()


def test_an_empty_identity_is_made_anew(tmp_path):
    """A file that a power cut left empty does not become an identity."""
    Slot.acquire(tmp_path, "app").release()
    (tmp_path / "app" / ".slots" / "0.id").write_text("\n")
    slot = Slot.acquire(tmp_path, "app")
    assert uuid.UUID(slot.identity)
    slot.release()


def test_a_worker_id_is_the_identity(tmp_path, other):
    """It is the same on an empty disk, takes no slot's place, and is used once per host."""
    named = Slot.acquire(tmp_path, "app", "pod-0")
    assert named.identity == "pod-0"
    with pytest.raises(StateError, match=r"'pod-0'.*worker_id of its own"):
        Slot.acquire(tmp_path, "app", "pod-0")
    Slot.acquire(tmp_path, "app", "pod-1").release()
    unnamed = Slot.acquire(tmp_path, "app")
    assert uuid.UUID(unnamed.identity)
    unnamed.release()
    named.release()
    Slot.acquire(tmp_path, "app", "pod-0").release()
    with pytest.raises(TopologyError, match="the name of a worker"):
        Slot.acquire(tmp_path, "app", "../pod")


def test_a_full_disk_is_told_in_words(tmp_path):
    """A worker that starts on one says where, and what to do."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(StateError, match=r"\.slots cannot be written: File too large\. Free"):
            Slot.acquire(tmp_path, "app")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_slot_that_is_taken_twice_within_a_minute_gets_a_new_identity(tmp_path, caplog):
    """A cloned volume: once may be anything, twice is a fight. It is said, and where."""
    slot = Slot.acquire(tmp_path, "app")
    for now_ms, warnings in ((0, 0), (60_001, 0), (120_000, 1), (121_000, 1)):
        slot.note_fenced(now_ms)
        assert len(caplog.records) == warnings
        changed = (tmp_path / "app" / ".slots" / "0.id").read_text() != slot.identity
        assert changed is (warnings > 0)
    assert str(tmp_path / "app" / ".slots" / "0.id") in caplog.text
    slot.release()
    again = Slot.acquire(tmp_path, "app")
    assert again.identity != slot.identity
    assert again.identity in caplog.text
    again.release()


def test_fences_are_counted_over_restarts(tmp_path):
    """Each fence ends the worker: the count stands in the slot's folder."""
    identities = []
    for now_ms in (0, 1_000, 2_000):
        slot = Slot.acquire(tmp_path, "app")
        identities.append(slot.identity)
        slot.note_fenced(now_ms)
        slot.release()
    assert identities[0] == identities[1] != identities[2]


def test_a_fence_of_long_ago_is_none_where_the_clock_has_gone_back(tmp_path):
    slot = Slot.acquire(tmp_path, "app")
    assert not slot.note_fenced(10_000_000)
    assert not slot.note_fenced(1_000)
    assert slot.note_fenced(2_000)
    slot.release()


def test_a_worker_id_that_is_taken_is_kept_and_said(tmp_path, caplog):
    """Whoever gave it has to change it."""
    slot = Slot.acquire(tmp_path, "app", "pod-0")
    slot.note_fenced(0)
    slot.note_fenced(1)
    slot.release()
    assert "'pod-0'" in caplog.text
    again = Slot.acquire(tmp_path, "app", "pod-0")
    assert again.identity == "pod-0"
    again.release()
