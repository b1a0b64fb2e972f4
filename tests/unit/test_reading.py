"""Readers in other threads, beside a writer that commits, writes, closes and opens partitions."""

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from penstock.query.layout import layout_of
from penstock.query.leases import Unavailable
from penstock.query.reading import Holdings
from penstock.query.store import Store
from penstock.serde.primitives import INT, STR
from penstock.state.definition import StoreDefinition
from penstock.state.memory import MemoryStore
from penstock.state.overlay import Overlay
from penstock.state.rocksdb import RocksMemory, RocksStore
from penstock.state.store import Position

TOTALS = StoreDefinition("totals", STR, INT)
AT = ("totals", 0)
KEYS = [f"key-{number:04}" for number in range(400)]
PAIRS = {key: KEYS[-1 - at] for at, key in enumerate(KEYS)}


class World:
    """A store of one partition in RocksDB, and those who read it."""

    def __init__(self, folder: Path, *, write_behind: int = 50) -> None:
        self.folder = folder
        self.memory = RocksMemory(8 * 1024 * 1024)
        self.write_behind = write_behind
        self.holdings = Holdings("shop", [TOTALS])
        self.holdings.lease(time.monotonic, 60)
        self.holdings.partitions["totals"] = 1
        self.store: Store[str, int] = Store(self.holdings, "totals")
        self.errors: list[Exception] = []
        self.reads = 0
        self.stopped = False

    def open(self) -> None:
        self.rocks = RocksStore(self.folder / "db", self.memory)
        self.overlay = Overlay(
            TOTALS, self.rocks, write_behind=self.write_behind, lock=threading.Lock()
        )
        self.holdings.open(AT, self.overlay)

    def close(self, wait_s: float = 1.0) -> None:
        self.holdings.withdraw([AT], wait_s)
        self.overlay.write()
        self.rocks.close()

    def commit(self, value: int, keys: list[str] = KEYS) -> None:
        """Give all keys one value, in one batch."""
        raw = [key.encode() for key in keys]
        self.overlay.touch(raw)
        self.overlay.put(dict.fromkeys(raw, (value, value)))
        self.overlay.savepoint()
        self.overlay.flush()
        self.overlay.commit(Position(value, "topic", 0))

    @contextmanager
    def read_by(self, *readers: Callable[[], None]) -> Iterator[None]:
        """Let readers read over and over, each in a thread."""

        def work(read: Callable[[], None]) -> None:
            while not self.stopped:
                try:
                    read()
                    self.reads += 1
                except Unavailable:
                    time.sleep(0.001)
                except Exception as error:  # noqa: BLE001 - the test looks at it
                    self.errors.append(error)
                    return

        threads = [threading.Thread(target=work, args=(read,), daemon=True) for read in readers]
        switches = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)  # they get into each other's way at every step
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            sys.setswitchinterval(switches)
            self.stopped = True
            for thread in threads:
                thread.join(10)
        assert not self.errors
        assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("write_behind", [0, 1_000, 100_000])
def test_reads_beside_commits_are_of_one_commit(tmp_path: Path, write_behind: int) -> None:
    """Every batch gives all keys its number: no read may see two numbers, or go back."""
    world = World(tmp_path, write_behind=write_behind)
    world.open()
    world.commit(1)
    done = 1

    def scan() -> None:
        least = done
        rows = list(world.store.range())
        assert [key for key, _ in rows] == KEYS
        assert len({value for _, value in rows}) == 1, rows[:3]
        assert least <= rows[0][1] <= done + 1

    def part() -> None:
        rows = list(world.store.range(KEYS[100], KEYS[200]))
        assert {value for _, value in rows} == {rows[0][1]}
        assert len(rows) == 100

    def get() -> None:
        least = done
        value = world.store.get(KEYS[7])
        assert value is not None
        assert least <= value <= done + 1

    with world.read_by(scan, scan, part, get):
        while done < 150 or (world.reads < 30 and done < 5_000):
            world.commit(done + 1)
            done += 1
            if done % 40 == 0:
                world.overlay.write()
    assert world.reads >= 30
    world.close()


@pytest.mark.parametrize("write_behind", [0, 5])
def test_what_moves_between_keys_is_never_there_twice_or_not_at_all(
    tmp_path: Path, write_behind: int
) -> None:
    """Each batch takes from one key what it gives to another: the sum is the same in any read."""
    world = World(tmp_path, write_behind=write_behind)
    world.open()
    few = KEYS[:20]
    world.commit(100, few)
    world.overlay.write()
    total = 100 * len(few)
    draw = random.Random(5)
    moves = 0

    def scan() -> None:
        assert sum(value for _, value in world.store.range()) == total

    with world.read_by(scan, scan, scan):
        while world.reads < 1_000 and moves < 50_000:
            one, other = draw.sample(few, 2)
            raw = [one.encode(), other.encode()]
            entries = world.overlay.touch(raw)
            values = [entry[0] if entry else 0 for entry in entries]
            world.overlay.put({raw[0]: (values[0] - 1, 0), raw[1]: (values[1] + 1, 0)})
            world.overlay.savepoint()
            world.overlay.flush()
            world.overlay.commit(Position(moves, "topic", 0))
            moves += 1
    assert world.reads >= 1_000
    world.close()


class InterruptedStore(MemoryStore):
    """A store during whose view somebody else comes in, where that can be."""

    def __init__(self) -> None:
        super().__init__()
        self.interrupt: Callable[[], None] = lambda: None

    def view(self) -> MemoryStore:
        other = threading.Thread(target=self.interrupt, daemon=True)
        other.start()
        other.join(0.2)
        return super().view()


def test_nothing_is_committed_or_written_while_a_view_is_taken() -> None:
    store = InterruptedStore()
    overlay = Overlay(TOTALS, store, write_behind=100, lock=threading.Lock())

    def commit(value: int, *keys: bytes) -> None:
        overlay.touch(keys)
        overlay.put(dict.fromkeys(keys, (value, 0)))
        overlay.flush()
        overlay.commit(Position(value, "topic", 0))

    def interrupt() -> None:
        commit(3, b"a", b"b")
        overlay.write()

    commit(1, b"a", b"b")
    overlay.write()
    commit(2, b"a")
    store.interrupt = interrupt
    view = overlay.view()
    found = [INT.decode(data[8:]) for data in view.get_all([b"a", b"b"]) if data]
    assert found in ([2, 1], [3, 3])


def test_an_aborted_batch_is_never_read(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.open()
    world.commit(1)

    def get() -> None:
        assert world.store.get(KEYS[7]) == 1
        assert {value for _, value in world.store.range(limit=20)} == {1}

    raw = [key.encode() for key in KEYS]
    with world.read_by(get, get):
        for _ in range(50):
            world.overlay.touch(raw)
            world.overlay.put(dict.fromkeys(raw, (2, 2)))
            world.overlay.savepoint()
            world.overlay.flush()
            world.overlay.discard()
    world.close()


def test_readers_beside_a_partition_that_comes_and_goes(tmp_path: Path) -> None:
    """What is given away is closed: it can be opened again at once, whoever was reading it."""
    world = World(tmp_path)

    def scan() -> None:
        rows = list(world.store.range())
        assert len({value for _, value in rows}) <= 1

    def begin() -> None:
        next(world.store.range(), None)

    def get() -> None:
        world.store.get(KEYS[0])

    with world.read_by(scan, begin, get, scan):
        for number in range(1, 40):
            world.open()
            world.commit(number)
            time.sleep(0.002)
            world.close(0.01 * (number % 3))


def test_who_reads_on_is_cut_off_after_a_moment(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.open()
    world.commit(1)
    rows = world.store.range()
    next(rows)
    began = time.monotonic()
    world.close(0.2)
    assert 0.15 < time.monotonic() - began < 2
    world.open()  # RocksDB refuses while anything of it is in use
    with pytest.raises(Unavailable, match="totals/0 is given to another worker"):
        list(rows)
    assert world.store.get(KEYS[0]) == 1
    world.close()


def test_who_has_finished_is_not_waited_for(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.open()
    world.commit(1)
    read, limited, forgotten = world.store.range(), world.store.range(limit=2), world.store.range()
    next(forgotten)
    assert len(list(read)) == len(KEYS)
    assert len(list(limited)) == 2
    del forgotten
    began = time.monotonic()
    world.close(30)
    assert time.monotonic() - began < 5
    world.open()
    world.close()


def test_who_finishes_in_time_is_waited_for(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.open()
    world.commit(1)
    rows = world.store.range()
    found: list[Any] = [next(rows)]

    def read() -> None:
        time.sleep(0.1)
        found.extend(rows)

    reader = threading.Thread(target=read)
    reader.start()
    world.close(10)
    reader.join()
    assert len(found) == len(KEYS)


def test_nobody_begins_while_somebody_is_waited_for(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.open()
    world.commit(1)
    rows = world.store.range()
    next(rows)
    closing = threading.Thread(target=world.close, args=(5.0,))
    closing.start()
    time.sleep(0.1)
    for read in (lambda: world.store.get(KEYS[0]), world.store.range):
        with pytest.raises(Unavailable):
            read()
    assert closing.is_alive()
    assert len(list(rows)) == len(KEYS) - 1
    closing.join(5)
    assert not closing.is_alive()


def test_several_partitions_are_given_away_in_one_moment(tmp_path: Path) -> None:
    holdings = Holdings("shop", [TOTALS])
    holdings.lease(time.monotonic, 60)
    holdings.partitions["totals"] = 8
    for number in range(8):
        holdings.open(("totals", number), Overlay(TOTALS, MemoryStore()))
    layout = layout_of(TOTALS)
    held = holdings.read(layout, "totals", layout.between(None, None))
    began = time.monotonic()
    holdings.withdraw([("totals", number) for number in range(8)], 0.3)
    assert time.monotonic() - began < 1.5
    assert holdings.here("totals") == []
    held.close()


def test_a_page_goes_on_behind_a_place(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.open()
    world.commit(1)
    layout = layout_of(TOTALS)
    selected = layout.between(KEYS[5], None)
    seen: list[str] = []
    place = None
    while True:
        rows = world.holdings.read(layout, "totals", selected, after=place)
        page = [entry.key for entry in islice(rows, 70)]
        if not page:
            break
        place = rows.place
        rows.close()
        seen += page
    world.close()
    assert seen == KEYS[5:]
