"""Names become folders, files and topics: whatever they are, nothing is outside of the root."""

import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import penstock as ps
from penstock.errors import PenstockError, StateError, TopologyError
from penstock.runtime.run import Running
from penstock.runtime.settings import WorkerSettings
from penstock.state.definition import MAX_NAME, check_name, is_name, same_place
from penstock.state.directories import (
    Lock,
    Slot,
    lock_of,
    make_folder,
    private_folder,
    store_folder,
)
from penstock.state.disk import RocksDisk
from penstock.state.rocksdb import DamagedStore, RocksMemory, RocksStore
from penstock.state.store import Position

ALPHABET = "ab.._-/\\~$\x00\n\r \u202e\u00e9\uff0e\u2024\u2215:*%A0"
NAMES = st.text(st.sampled_from(ALPHABET), max_size=12) | st.text(max_size=300)
MEMORY = RocksMemory(8 * 1024 * 1024)


def worst(function):
    """Names that have led outside of folders before, elsewhere."""
    for name in (
        *("..", ".", "", ".slots", "...", "a/../../b", "/etc", "a\\..\\b", "a\x00b", "a\n", "~"),
        *("%2e%2e", "\uff0e\uff0e", "\u2024\u2024/", "a" * 200, "a" * 201, "a" * 249, "-rf", "C:"),
    ):
        function = example(name)(function)
    return function


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A state folder in the middle of others' files."""
    return tmp_path_factory.mktemp("names") / "root"


@given(NAMES)
@worst
def test_a_name_is_refused_or_one_folder_below_the_root(root, name):
    """As an application, a store, and a worker's id: each is one step, as it was given."""
    if not is_name(name):
        for use in (
            lambda: store_folder(root, name, "store", 0),
            lambda: store_folder(root, "app", name, 0),
            lambda: Slot.acquire(root, name),
            lambda: Slot.acquire(root, "app", name),
            lambda: ps.App(name),
            lambda: WorkerSettings(worker_id=name),
            lambda: ps.App("a").stream("t", key=str, value=str).group_by_key().count(name=name),
        ):
            with pytest.raises(TopologyError):
                use()
        return
    assert len(name) <= MAX_NAME
    for folder in (store_folder(root, name, "store", 7), store_folder(root, "app", name, 7)):
        assert folder.resolve().is_relative_to(root.resolve())
        assert len(folder.relative_to(root).parts) == 3
        assert name in folder.relative_to(root).parts
        for beside in (lock_of(folder), private_folder(folder, name)):
            assert beside.parent == folder.parent
            assert len(beside.name) <= 255
        Lock.acquire(lock_of(private_folder(folder, name))).release()
    slot = Slot.acquire(root, name, name)
    assert slot.identity == name
    slot.release()


@given(NAMES)
@worst
def test_names_that_are_taken_are_kafkas_too(name):
    """Letters, digits, '.', '_' and '-', and not a dot first: nothing that needs escaping."""
    if is_name(name):
        assert all(c.isascii() and (c.isalnum() or c in "._-") for c in name)
        assert name not in (".", "..")
        assert same_place(name) == same_place(name.upper()) == same_place(name.replace(".", "_"))
    else:
        with pytest.raises(TopologyError, match="cannot be the name of"):
            check_name(name, "a test")


@given(NAMES)
@worst
def test_an_identity_that_stands_on_the_disk_is_checked(root, name):
    """It becomes part of a folder, of member ids and of transactional ids."""
    slots = make_folder(root / "identities" / ".slots", root)
    with suppress(UnicodeEncodeError):  # lone surrogates cannot be in a file
        (slots / "0.id").write_text(name)
    slot = Slot.acquire(root, "identities")
    assert is_name(slot.identity)
    place = private_folder(store_folder(root, "identities", "store", 1), slot.identity)
    assert place.resolve().parent == (root / "identities" / "store").resolve()
    slot.release()


@pytest.mark.parametrize("data", [b"\xff\xfe", b"\xc2\xb2", "\u0663".encode(), b"9" * 5_000])
def test_a_note_on_the_disk_that_is_none_does_no_harm(tmp_path, data):
    """Whatever stands there instead of a time or an identity."""
    slot = Slot.acquire(tmp_path, "app")
    slots = tmp_path / "app" / ".slots"
    (slots / "0.fenced").write_bytes(data)
    slot.note_fenced(120_000)
    slot.release()
    (slots / "0.id").write_bytes(data)
    again = Slot.acquire(tmp_path, "app")
    assert is_name(again.identity)
    again.release()


# Symbolic links


@pytest.fixture
def elsewhere(tmp_path) -> Path:
    """A folder of somebody else, with a file in it, and a store."""
    folder = tmp_path / "elsewhere"
    store = RocksStore(store_folder(folder, "app", "counts", 0), MEMORY)
    store.write([(b"key", b"value")], Position(1, "id", 1))
    store.close()
    (folder / "precious").write_text("mine")
    return folder


@pytest.mark.parametrize("part", ["", "app", "app/counts", "app/counts/0", "app/counts/0.lock"])
def test_a_link_instead_of_a_folder_is_refused(tmp_path, elsewhere, part):
    """The state folder itself, an application's, a store's, a partition's, and its lock."""
    root = tmp_path / "root"
    link = root / part
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(elsewhere / (part if part != "app/counts/0.lock" else "precious"))
    before = everything(elsewhere)
    with pytest.raises(StateError, match=r"symbolic link.*state_dir=") as caught:
        RocksDisk(root, MEMORY).place("app", "counts", 0).open()
    assert str(link) in str(caught.value)
    assert everything(elsewhere) == before


def test_a_link_that_comes_later_is_refused_when_the_store_is_opened(tmp_path, elsewhere):
    """Between the two a place is locked, which may take its time."""
    disk = RocksDisk(tmp_path / "root", MEMORY)
    for place in (disk.place("app", "counts", 0), disk.place("app", "counts", 0).private("me")):
        Path(str(place)).symlink_to(elsewhere / "app" / "counts" / "0")
        before = everything(elsewhere)
        with pytest.raises(StateError, match="symbolic link"):
            place.open()
        assert everything(elsewhere) == before


def test_a_link_is_what_would_have_been_followed(tmp_path, elsewhere):
    """The control: RocksDB itself opens the store of somebody else through one."""
    (tmp_path / "link").symlink_to(elsewhere / "app" / "counts" / "0")
    before = everything(elsewhere)
    store = RocksStore(tmp_path / "link", MEMORY)
    assert store.get_all([b"key"]) == [b"value"]
    store.close()
    assert everything(elsewhere) != before


@pytest.mark.parametrize("name", ["0.lock", "id-me.lock"])
def test_a_link_instead_of_a_slot_is_refused(tmp_path, elsewhere, name):
    """A lock is opened for writing."""
    slots = make_folder(tmp_path / "root" / "app" / ".slots")
    (slots / name).symlink_to(elsewhere / "precious")
    before = everything(elsewhere)
    with pytest.raises(StateError, match="symbolic link"):
        Slot.acquire(tmp_path / "root", "app", "me" if "me" in name else None)
    (slots / name).unlink()
    (slots / name).symlink_to(elsewhere / "new")
    with pytest.raises(StateError, match="symbolic link"):
        Slot.acquire(tmp_path / "root", "app", "me" if "me" in name else None)
    assert everything(elsewhere) == before


def test_the_folder_of_slots_may_not_be_a_link(tmp_path, elsewhere):
    (tmp_path / "root" / "app").mkdir(parents=True)
    (tmp_path / "root" / "app" / ".slots").symlink_to(elsewhere)
    with pytest.raises(StateError, match="symbolic link"):
        Slot.acquire(tmp_path / "root", "app")


@pytest.mark.parametrize("name", ["0.id", "0.new", "0.fenced"])
def test_no_note_is_written_or_read_through_a_link(tmp_path, elsewhere, name):
    """It is replaced: what it leads to stays as it is, and does not become an identity."""
    slots = make_folder(tmp_path / "root" / "app" / ".slots")
    (slots / name).symlink_to(elsewhere / "precious")
    before = everything(elsewhere)
    slot = Slot.acquire(tmp_path / "root", "app")
    assert slot.identity != "mine"
    slot.note_fenced(0)
    slot.note_fenced(1)
    slot.release()
    assert everything(elsewhere) == before
    assert not any(path.is_symlink() for path in slots.iterdir())


def test_a_folder_that_this_user_may_not_write_is_explained(tmp_path):
    """Not as a PermissionError; where the tests run as root, by a folder in the lock's place."""
    slots = make_folder(tmp_path / "app" / ".slots")
    (slots / "0.lock").mkdir()
    with pytest.raises(StateError, match=r"cannot be opened.*state_dir="):
        Slot.acquire(tmp_path, "app")


def test_all_that_a_worker_makes_is_for_its_user_only(tmp_path):
    """Whatever the umask: no other user reads state, or can put a link into its way."""
    before = os.umask(0)
    try:
        place = RocksDisk(tmp_path / "root", MEMORY).place("app", "counts", 0)
        place.lock(lambda: False).release()
        Slot.acquire(tmp_path / "root", "app").release()
    finally:
        os.umask(before)
    made = [tmp_path / "root", *(tmp_path / "root").rglob("*")]
    modes = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in made if path.is_dir()}
    assert set(modes.values()) == {0o700}
    assert stat.S_IMODE((tmp_path / "root" / "app" / "counts" / "0.lock").stat().st_mode) == 0o600


def test_a_worker_refuses_a_state_folder_that_is_a_link(tmp_path, elsewhere):
    """Before it has asked the cluster anything."""
    (tmp_path / "link").symlink_to(elsewhere)
    app = ps.App("app", brokers="127.0.0.1:1", state_dir=tmp_path / "link")
    app.stream("in").to("out")
    with pytest.raises(PenstockError, match="symbolic link"):
        Running(app).work()


def test_a_store_that_does_not_say_where_it_is_is_set_aside(tmp_path):
    """Its position is read back as it was written by nobody."""
    for position in (b"", b"\x00" * 15, b"\x00" * 16 + b"\xff"):
        store = RocksStore(tmp_path / "0", MEMORY)
        store._db[b"\x00position"] = position
        with pytest.raises(DamagedStore):
            store.position()
        store.close()


def everything(folder: Path) -> dict[str, bytes | None]:
    """Every file in a folder, with what is in it."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }
