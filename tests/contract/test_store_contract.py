"""One contract for all stores: what the memory store does, RocksDB does, and durably.

The first part runs against both backends. The second is about disks: what a crash leaves,
what damage, locks and full disks look like.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from penstock.errors import StateError
from penstock.state.memory import MemoryStore
from penstock.state.rocksdb import RocksMemory, RocksStore
from penstock.state.store import Position, Store

MEMORY = 8 * 1024 * 1024
ANY_KEY = st.one_of(
    st.binary(max_size=3),
    st.sampled_from([b"", b"\x00position", b"position", b"\x00", b"\x01", b"\x02", b"\xff\xff"]),
)


def position(offset: int) -> Position:
    """A position at an offset."""
    return Position(offset, "topic-id", 1_700_000_000_000 + offset)


def open_rocks(path: Path) -> RocksStore:
    """A database in a folder, with a cache of its own."""
    return RocksStore(path, RocksMemory(MEMORY))


@pytest.fixture(params=["memory", "rocksdb"])
def backend(request: Any, tmp_path: Path) -> Any:
    """Make empty stores, closed after the test."""
    made: list[Store] = []

    def make() -> Store:
        store: Store
        if request.param == "memory":
            store = MemoryStore()
        else:
            store = open_rocks(tmp_path / f"db-{len(made)}")
        made.append(store)
        return store

    yield make
    for store in made:
        store.close()


Backend = Callable[[], Store]


def test_a_new_store_is_empty(backend: Backend) -> None:
    """A store that was never written has no data and no position."""
    store = backend()
    assert store.position() is None
    assert list(store.scan()) == []
    assert store.get_all([b"a"]) == [None]
    assert store.get_all([]) == []
    assert store.last() is None


def test_get_all_answers_in_the_order_of_the_keys(backend: Backend) -> None:
    """Misses are None in their places, repeated keys are answered each time."""
    store = backend()
    store.write([(b"a", b"1"), (b"b", b"2"), (b"", b"3"), (b"e", b"")], position(1))
    asked = [b"b", b"x", b"a", b"", b"b", b"e", b"ab"]
    assert store.get_all(asked) == [b"2", None, b"1", b"3", b"2", b"", None]


def test_the_last_write_of_a_key_wins(backend: Backend) -> None:
    """Puts replace, None deletes, also within one write and of what is not there."""
    store = backend()
    store.write([(b"a", b"1"), (b"a", b"2"), (b"b", b"1"), (b"b", None)], position(1))
    assert list(store.scan()) == [(b"a", b"2")]
    store.write([(b"a", None), (b"zz", None), (b"b", None), (b"b", b"3")], position(2))
    assert list(store.scan()) == [(b"b", b"3")]


def test_the_position_is_that_of_the_last_write(backend: Backend) -> None:
    """Every write moves it, one without data too, and backwards where it is told."""
    store = backend()
    for at in (position(5), Position(7, "ä", 0), position(3), Position(2**56 - 1, "", 2**63)):
        store.write([], at)
        assert store.position() == at


def test_a_view_is_of_one_moment(backend: Backend) -> None:
    """What is written or deleted later, and flushed too, is not in it."""
    store = backend()
    store.write([(b"a", b"1"), (b"b", b"2"), (b"", b"3")], position(1))
    view = store.view()
    rows = view.scan(b"a")
    assert next(iter(rows)) == (b"a", b"1")
    store.write([(b"a", None), (b"b", b"9"), (b"c", b"9")], position(2))
    store.flush()
    assert list(rows) == [(b"b", b"2")]
    assert list(view.scan()) == [(b"", b"3"), (b"a", b"1"), (b"b", b"2")]
    assert list(view.scan(b"", b"b")) == [(b"", b"3"), (b"a", b"1")]
    assert view.get_all([b"c", b"b", b"a", b"b"]) == [None, b"2", b"1", b"2"]
    assert list(store.view().scan(b"a")) == [(b"b", b"9"), (b"c", b"9")]
    view.close()


def test_a_view_that_is_closed_lets_the_files_go(tmp_path: Path) -> None:
    """However far it was read: the database can be opened again, and the view says what it is."""
    store = open_rocks(tmp_path)
    store.write([(b"%d" % number, b"") for number in range(9)], position(1))
    view = store.view()
    rows = view.scan()
    next(rows)
    view.close()
    store.close()
    open_rocks(tmp_path).close()
    assert list(rows) == []
    for read in (lambda: view.get_all([b"1"]), lambda: list(view.scan())):
        with pytest.raises(StateError, match="was closed"):
            read()


def test_a_write_takes_any_iterable(backend: Backend) -> None:
    """A generator is consumed once."""
    store = backend()
    store.write(((b"%d" % n, b"") for n in range(3)), position(1))
    assert [key for key, _ in store.scan()] == [b"0", b"1", b"2"]


def test_no_key_is_special(backend: Backend) -> None:
    """Every byte is a key, and keys that look like the store's own notes are data."""
    store = backend()
    keys = [bytes([n]) for n in range(256)]
    keys += [b"", b"\x00position", b"\x01\x00position", b"position", b"\xff" * 3, b"\x01\x01"]
    store.write([(key, b"v" + key) for key in keys], position(1))
    assert list(store.scan()) == [(key, b"v" + key) for key in sorted(keys)]
    store.write([(key, None) for key in keys], position(2))
    assert list(store.scan()) == []
    assert store.position() == position(2)


@pytest.mark.parametrize(
    ("start", "stop", "found"),
    [
        (b"", None, ["", "a", "ab", "b", "\xff"]),
        (b"", b"", []),
        (b"a", b"b", ["a", "ab"]),
        (b"a\x00", b"b\x00", ["ab", "b"]),
        (b"b", b"a", []),
        (b"\xff", None, ["\xff"]),
        (b"\xff\xff", None, []),
    ],
)
def test_a_scan_has_a_start_and_a_stop(
    backend: Backend, start: bytes, stop: bytes | None, found: list[str]
) -> None:
    """A scan goes in the order of keys, from start, before stop."""
    store = backend()
    store.write([(key, b"") for key in (b"b", b"", b"\xff", b"ab", b"a")], position(1))
    assert [key.decode("latin-1") for key, _ in store.scan(start, stop)] == found


def test_a_scan_can_be_left(backend: Backend) -> None:
    """A scan that is not read to its end disturbs nothing."""
    store = backend()
    store.write([(b"a", b""), (b"b", b"")], position(1))
    cursor = store.scan()
    assert next(cursor) == (b"a", b"")
    cursor.close()  # type: ignore[attr-defined]
    store.write([(b"c", b"")], position(2))
    assert len(list(store.scan())) == 3


def test_large_values_are_kept(backend: Backend) -> None:
    """Ten megabytes are a value like any other."""
    store = backend()
    value = bytes(range(256)) * 40_000
    store.write([(b"a", value)], position(1))
    assert store.get_all([b"a"]) == [value]


class Rocks(RuleBasedStateMachine):
    """Any order of writes, flushes and reopenings of RocksDB does what the memory store does."""

    folders: Any = None

    @initialize()
    def open(self) -> None:
        type(self).runs = getattr(type(self), "runs", 0) + 1
        self.path = self.folders / f"db-{self.runs}"
        self.store = open_rocks(self.path)
        self.model = MemoryStore()
        self.offset = 0

    @rule(items=st.lists(st.tuples(ANY_KEY, st.none() | st.binary(max_size=3)), max_size=5))
    def write(self, items: list[tuple[bytes, bytes | None]]) -> None:
        self.offset += 1
        for store in (self.store, self.model):
            store.write(items, position(self.offset))

    @rule()
    def flush(self) -> None:
        self.store.flush()

    @rule()
    def last(self) -> None:
        assert self.store.last() == self.model.last()

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = open_rocks(self.path)

    @rule(keys=st.lists(ANY_KEY, max_size=4))
    def get(self, keys: list[bytes]) -> None:
        assert self.store.get_all(keys) == self.model.get_all(keys)

    @rule(start=ANY_KEY, stop=st.none() | ANY_KEY)
    def scan(self, start: bytes, stop: bytes | None) -> None:
        assert list(self.store.scan(start, stop)) == list(self.model.scan(start, stop))
        assert self.store.position() == self.model.position()

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()


def test_rocksdb_does_what_memory_does(tmp_path: Path) -> None:
    """Random writes, reads and reopenings find no difference between the backends."""
    from hypothesis.stateful import run_state_machine_as_test

    class Here(Rocks):
        folders = tmp_path

    run_state_machine_as_test(
        Here, settings=settings(max_examples=15, stateful_step_count=15, deadline=None)
    )


# What only a disk can do.


def test_what_was_written_is_there_after_reopening(tmp_path: Path) -> None:
    """A clean close loses nothing."""
    store = open_rocks(tmp_path / "db")
    store.write([(b"a", b"1")], position(1))
    store.close()
    store = open_rocks(tmp_path / "db")
    assert (list(store.scan()), store.position()) == ([(b"a", b"1")], position(1))
    store.close()


def copied(source: Path, target: Path) -> Path:
    """What a crash would leave: the files as they are, without a close."""
    while True:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        # The manifest first: each file that it names was complete before it was named.
        files = sorted(source.iterdir(), key=lambda file: not file.name.startswith("MANIFEST"))
        try:
            for file in files:
                shutil.copy(file, target / file.name)
        except FileNotFoundError:
            continue  # compacted away meanwhile
        return target


def crash_state(source: Path, target: Path) -> tuple[int, dict[bytes, bytes]]:
    """The position and the data that a crash now would leave."""
    store = open_rocks(copied(source, target))
    found = store.position(), dict(store.scan())
    store.close()
    return (found[0].offset if found[0] else 0), found[1]


def check_crashes(store: RocksStore, path: Path, target: Path) -> list[int]:
    """Write, flush and copy the files aside: each copy is exactly what its position says."""
    history: list[dict[bytes, bytes]] = [{}]
    found = []
    for offset in range(1, 61):
        data = dict(history[-1])
        items = [(b"%d" % (offset * n % 17), b"%d" % offset * 2_000) for n in range(1, 9)]
        deleted = [(b"%d" % (offset % 17), None)]
        data.update(items)
        data.pop(deleted[0][0], None)
        history.append(data)
        store.write([*items, *deleted], position(offset))
        if offset % 20 == 7:
            store.flush()
        if offset % 6 == 0:
            at, left = crash_state(path, target)
            assert left == history[at], f"position {at}"
            found.append(at)
    return found


def test_a_crash_leaves_data_and_position_of_one_moment(tmp_path: Path) -> None:
    """Whatever a crash leaves, the data is exactly that of the position beside it."""
    path = tmp_path / "db"
    store = RocksStore(path, RocksMemory(2 * 1024 * 1024))
    found = check_crashes(store, path, tmp_path / "copy")
    store.close()
    assert found == sorted(found)
    assert found[0] < 6  # something was lost, or this would not be a crash
    assert found[-1] >= 47  # what was flushed was not
    assert crash_state(path, tmp_path / "copy")[0] == 60


def test_the_crash_check_notices_a_position_of_its_own(tmp_path: Path, monkeypatch: Any) -> None:
    """A store that made its position durable before the data would fail the check."""
    path = tmp_path / "db"
    store = RocksStore(path, RocksMemory(2 * 1024 * 1024))
    write = RocksStore.write

    def hasty(self: RocksStore, items: Any, at: Position) -> None:
        write(self, [], at)
        self.flush()
        write(self, items, at)

    monkeypatch.setattr(RocksStore, "write", hasty)
    with pytest.raises(AssertionError, match="position"):
        check_crashes(store, path, tmp_path / "copy")
    store.close()


def damaged(path: Path) -> RocksStore:
    """A database of which a block in the middle is damaged, not yet opened by this process."""
    store = open_rocks(path)
    store.write([(b"%05d" % n, bytes([n % 251]) * 100) for n in range(5_000)], position(1))
    store.close()
    (table,) = path.glob("*.sst")
    data = bytearray(table.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(byte ^ 0xFF for byte in data[middle : middle + 64])
    table.write_bytes(data)
    return open_rocks(path)


def test_a_damaged_block_is_an_error_and_no_end(tmp_path: Path) -> None:
    """A scan yields what is right up to the damage and then raises; it is never cut silently."""
    store = damaged(tmp_path / "db")
    found = []
    with pytest.raises(StateError, match="damaged") as caught:
        for key, value in store.scan():
            found.append((key, value))
    store.close()
    assert 0 < len(found) < 5_000
    assert found == [(b"%05d" % n, bytes([n % 251]) * 100) for n in range(len(found))]
    assert str(tmp_path / "db") in str(caught.value)


def test_a_damaged_block_is_no_miss(tmp_path: Path) -> None:
    """Reading a key in a damaged block raises; it does not say that there is none."""
    store = damaged(tmp_path / "db")
    with pytest.raises(StateError, match="damaged"):
        store.get_all([b"%05d" % n for n in range(5_000)])
    store.close()


def test_a_store_that_was_found_damaged_is_not_opened_again(tmp_path: Path) -> None:
    """The damage is noted in the folder, so that the next start restores it."""
    store = damaged(tmp_path / "db")
    with pytest.raises(StateError):
        list(store.scan())
    store.close()
    with pytest.raises(StateError, match="damaged"):
        open_rocks(tmp_path / "db")


def test_a_database_opens_once(tmp_path: Path) -> None:
    """A second opening is an error that says who has it."""
    store = open_rocks(tmp_path / "db")
    with pytest.raises(StateError, match="another process has it open"):
        open_rocks(tmp_path / "db")
    store.write([(b"a", b"1")], position(1))
    assert list(store.scan()) == [(b"a", b"1")]
    store.close()


def test_a_file_in_the_way_is_a_state_error(tmp_path: Path) -> None:
    """A path that is no folder is the disk's fault, not a bare exception of RocksDB."""
    (tmp_path / "db").write_text("")
    with pytest.raises(StateError, match="db"):
        open_rocks(tmp_path / "db")


def test_a_folder_that_was_deleted_is_a_state_error(tmp_path: Path) -> None:
    """State that is deleted while it is in use ends in a StateError."""
    store = open_rocks(tmp_path / "db")
    store.write([(b"a", b"1")], position(1))
    shutil.rmtree(tmp_path / "db")
    with pytest.raises(StateError):
        for _ in range(3):
            store.write([(b"a", b"1")], position(1))
            store.flush()
    with pytest.raises(StateError):
        store.close()


FULL = """
import resource, sys
from pathlib import Path
from penstock.errors import StateError
from penstock.state.rocksdb import RocksMemory, RocksStore
from penstock.state.store import Position
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
store = RocksStore(Path(sys.argv[1]), RocksMemory(8 * 1024 * 1024))
import os
try:
    for n in range(1000):
        store.write([(b"%d" % n, os.urandom(10_000))], Position(n, "t", 0))
        if n % 10 == 9:
            store.flush()
except StateError as error:
    print(error)
    os._exit(7)
"""


def test_a_full_disk_is_a_state_error_with_advice(tmp_path: Path) -> None:
    """A disk that takes no more ends in a StateError that says what to do, and no crash."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "db")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 7, done.stderr
    assert str(tmp_path / "db") in done.stdout
    assert "start again, nothing committed is lost" in done.stdout
