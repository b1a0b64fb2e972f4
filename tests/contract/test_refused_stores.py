"""Stores that this version, or this user, cannot use: which error says so, and what it advises."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rocksdict import Options, Rdict

from penstock.errors import StateError
from penstock.state import rocksdb
from penstock.state.rocksdb import DamagedStore, OtherFormat, RocksMemory, RocksStore
from penstock.state.store import Position
from tests.unprivileged import unprivileged

NEWER = rocksdb.FORMAT + 1
AT = Position(2**40, "topic", 5)


def written(path: Path) -> RocksStore:
    """A store with one key, open."""
    store = RocksStore(path, RocksMemory(8 * 1024 * 1024))
    store.write([(b"a", b"1")], AT)
    return store


def opened(path: Path) -> RocksStore:
    return RocksStore(path, RocksMemory(8 * 1024 * 1024))


@pytest.mark.parametrize(("theirs", "ours"), [(NEWER, rocksdb.FORMAT), (rocksdb.FORMAT, NEWER)])
def test_a_store_of_another_format_is_not_read(
    theirs: int, ours: int, tmp_path: Path, monkeypatch: Any
) -> None:
    """A newer one where a version was put back, an older one where it was put forward."""
    monkeypatch.setattr(rocksdb, "FORMAT", theirs)
    written(tmp_path / "db").close()
    assert opened(tmp_path / "db").position() == AT
    monkeypatch.setattr(rocksdb, "FORMAT", ours)
    store = opened(tmp_path / "db")
    with pytest.raises(OtherFormat, match=f"is of format {theirs}; .* writes format {ours}"):
        store.position()
    store.close()
    assert not (tmp_path / "db" / "DAMAGED").exists()


def test_columns_that_nobody_knows_are_another_format(tmp_path: Path) -> None:
    """RocksDB refuses to open without them."""
    path = tmp_path / "db"
    written(path).close()
    other = Rdict(str(path), Options(raw_mode=True))
    other.create_column_family("more", Options(raw_mode=True))
    other.close()
    with pytest.raises(OtherFormat, match="Column families not opened"):
        opened(path)


@pytest.mark.parametrize("name", ["BLOCKED", "Corruption", "No space left"])
def test_the_names_of_folders_say_nothing_of_the_disk(name: str, tmp_path: Path) -> None:
    """They stand in what RocksDB says."""
    (tmp_path / name).mkdir()
    path = tmp_path / name / "db"
    written(path).close()
    (path / "CURRENT").unlink()
    (path / "CURRENT").mkdir()
    with pytest.raises(StateError, match="the disk refuses") as caught:
        opened(path)
    assert not isinstance(caught.value, DamagedStore)


def test_a_file_in_the_way_is_to_be_moved(tmp_path: Path) -> None:
    (tmp_path / "db").write_text("")
    with pytest.raises(StateError, match="something else is in its place; move it away"):
        opened(tmp_path / "db")


REFUSED = """
import sys
from pathlib import Path
from penstock.errors import StateError
from penstock.state.disk import RocksDisk
from penstock.state.rocksdb import RocksMemory
place = RocksDisk(Path(sys.argv[1]), RocksMemory(8 * 1024 * 1024)).place
try:
    if sys.argv[2] == "open":
        place("app", "counts", 0).open()
    else:
        place("app", "counts", 0).set_aside(7)
except StateError as error:
    print(type(error).__name__, error)
"""


def refused(root: Path, doing: str) -> str:
    """Return what an ordinary user's process says."""
    done = subprocess.run(
        unprivileged([sys.executable, "-c", REFUSED, str(root), doing]),
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize(
    ("closed", "mode", "doing", "said"),
    [
        ("app/counts/0", 0o500, "open", "give this user the folder, or choose another one"),
        ("app/counts/0", 0o000, "open", "give this user the folder, or choose another one"),
        ("app/counts", 0o500, "aside", "counts cannot be written: Permission denied"),
        ("app", 0o000, "open", "counts cannot be looked at: Permission denied"),
    ],
)
def test_a_folder_that_may_not_be_written_is_no_damage(
    closed: str, mode: int, doing: str, said: str, tmp_path: Path
) -> None:
    """Nor somebody else's process; once it may be, the state is there."""
    path = tmp_path / "app" / "counts" / "0"
    path.parent.mkdir(parents=True)
    written(path).close()
    (tmp_path / closed).chmod(mode)
    try:
        told = refused(tmp_path, doing)
    finally:
        (tmp_path / closed).chmod(0o700)
    assert told.startswith("StateError"), told
    assert said in told
    assert "state_dir=" in told
    store = opened(path)
    assert (store.position(), list(store.scan())) == (AT, [(b"a", b"1")])
    store.close()
