"""Each checker fails on a history that is wrong, and on a run that is broken for real."""

from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.state.rocksdb import RocksMemory, RocksStore
from penstock.state.store import Position
from penstock.testing.kafka_server import KafkaServer
from tests.kafka import checking
from tests.kafka.apps import STALL, STALLED
from tests.kafka.checking import History, Record, long, stamped
from tests.kafka.conftest import ApplicationFactory, TopicFactory
from tests.kafka.feeding import Row, abandon_transaction, feed, words

INPUTS = [Record("in", n % 2, n // 2, b"k%d" % (n % 3), b"word-%d" % n, 100 + n) for n in range(9)]
MAPPED = [record._replace(topic="out", value=(record.value or b"").upper()) for record in INPUTS]
Edit = Callable[[list[Record]], list[Record]]


def counts(*numbers: int) -> list[Record]:
    """Updates of the three keys, each counted three times in the end."""
    return [
        Record("out", key, offset, b"k%d" % key, long(n), 100 + key + 3 * (n - 1))
        for key in range(3)
        for offset, n in enumerate(numbers)
    ]


# Maps


def test_a_right_map_passes() -> None:
    checking.check_mapped(INPUTS, MAPPED, bytes.upper)


@pytest.mark.parametrize(
    ("edit", "wrong"),
    [
        (lambda rows: rows[1:], "1 records are lost"),
        (lambda rows: [*rows, rows[0]], "is there twice"),
        (lambda rows: [rows[2], *rows[:2], *rows[3:]], "comes behind"),
        (lambda rows: [*rows, rows[0]._replace(value=b"WORD-77")], "nobody sent"),
        (lambda rows: [rows[0]._replace(key=b"k2"), *rows[1:]], "nobody sent"),
        (lambda rows: [rows[0]._replace(value=b"word-0"), *rows[1:]], "nobody sent"),
    ],
    ids=["lost", "twice", "order", "invented", "other key", "not mapped"],
)
def test_a_wrong_map_is_found(edit: Edit, wrong: str) -> None:
    with pytest.raises(AssertionError, match=wrong):
        checking.check_mapped(INPUTS, edit(MAPPED), bytes.upper)


# Counts


def test_counts_that_lack_no_update_pass() -> None:
    checking.check_every_update(checking.counted(INPUTS), counts(1, 2, 3))


@pytest.mark.parametrize(
    ("numbers", "wrong"),
    [
        ((1, 3), "is 3, and should be 2 after 1 updates"),
        ((1, 2), "lacks its last 1 updates"),
        ((1, 2, 3, 3), "is 3, and should be None after 3 updates"),
        ((1, 2, 2, 3), "is 2, and should be 3"),
    ],
)
def test_an_update_that_is_missing_or_there_twice_is_found(
    numbers: tuple[int, ...], wrong: str
) -> None:
    with pytest.raises(AssertionError, match=wrong):
        checking.check_every_update(checking.counted(INPUTS), counts(*numbers))


@pytest.mark.parametrize("numbers", [(1, 2, 3), (2, 3), (3,)])
def test_right_counts_pass_however_coalesced(numbers: tuple[int, ...]) -> None:
    checking.check_updates(checking.counted(INPUTS), counts(*numbers))
    checking.check_timestamps(INPUTS, counts(*numbers))


@pytest.mark.parametrize(
    ("numbers", "wrong"),
    [
        ((1, 2), "ended with 2, not with 3"),
        ((), "ended with None, not with 3"),
        ((1, 3, 2, 3), "went from 3 to 2"),
        ((1, 2, 2, 3), "went from 2 to 2"),
        ((1, 2, 3, 4), "went from 3 to 4"),
        ((0, 3), "went from nothing to 0"),
    ],
    ids=["lost at the end", "none", "backwards", "twice", "doubled", "zero"],
)
def test_wrong_counts_are_found(numbers: tuple[int, ...], wrong: str) -> None:
    with pytest.raises(AssertionError, match=wrong):
        checking.check_updates(checking.counted(INPUTS), counts(*numbers))


def test_an_invented_key_is_found() -> None:
    with pytest.raises(AssertionError, match="nobody sent the key b'k9'"):
        checking.check_updates(
            checking.counted(INPUTS), [*counts(3), Record("out", 0, 9, b"k9", long(1))]
        )


def test_counts_of_another_key_are_found() -> None:
    """Through a repartition topic it is another one than the input's."""
    with pytest.raises(AssertionError, match="nobody sent the key b'k0'"):
        checking.check_updates(checking.counted(checking.by_ending(INPUTS)), counts(3))


def test_a_wrong_timestamp_is_found() -> None:
    wrong = [record._replace(timestamp=record.timestamp - 1) for record in counts(3)]
    with pytest.raises(AssertionError, match="the largest contributor has 106"):
        checking.check_timestamps(INPUTS, wrong)


# Stores

LOG = [Record("log", 0, n, b"k%d" % (n % 3), long(n), n) for n in range(10)]
TOMBSTONE = Record("log", 0, 10, b"k0", None, 10)
CHANGELOG = History([*LOG, TOMBSTONE], {("log", 0): 12})  # the marker of its commit is the last
HELD = [(b"k1", stamped(7, long(7))), (b"k2", stamped(8, long(8)))]


BEHIND = [(b"k0", stamped(0, long(0))), (b"k1", stamped(1, long(1)))], 2


def a_store(folder: Path, items: list[tuple[bytes, bytes]], offset: int, name: str = "0") -> None:
    path = folder / "app" / "counts" / name
    path.mkdir(parents=True)
    store = RocksStore(path, RocksMemory(8 * 1024 * 1024))
    store.write(items, Position(offset, "id", 0))
    store.close()


@pytest.mark.parametrize("offset", [11, 12])
def test_a_right_store_passes(offset: int, tmp_path: Path) -> None:
    a_store(tmp_path, HELD, offset)
    checking.check_store(tmp_path, "app", "counts", CHANGELOG)


def test_a_store_that_is_behind_passes_only_where_it_may(tmp_path: Path) -> None:
    a_store(tmp_path, *BEHIND)
    checking.check_store(tmp_path, "app", "counts", CHANGELOG, complete=False)
    with pytest.raises(AssertionError, match="reflects 2, and misses log/0 offset 2"):
        checking.check_store(tmp_path, "app", "counts", CHANGELOG)


@pytest.mark.parametrize(
    ("items", "offset", "wrong"),
    [
        (HELD[:1], 11, "b'k2' is None, the changelog says 8 at 8"),
        ([*HELD, (b"k0", stamped(9, long(9)))], 11, "b'k0' is 9 at 9, the changelog says None"),
        ([HELD[0], (b"k2", stamped(8, long(9)))], 11, "b'k2' is 9 at 8, the changelog says 8 at 8"),
        ([HELD[0], (b"k2", stamped(7, long(8)))], 11, "b'k2' is 8 at 7, the changelog says 8 at 8"),
        ([*HELD, (b"k0", stamped(9, long(9)))], 10, "misses log/0 offset 10"),
        (HELD, 13, "reflects 13, log/0 ends at 12"),
    ],
    ids=["lost", "not deleted", "other value", "other timestamp", "behind", "ahead"],
)
def test_a_wrong_store_is_found(
    items: list[tuple[bytes, bytes]], offset: int, wrong: str, tmp_path: Path
) -> None:
    a_store(tmp_path, items, offset)
    with pytest.raises(AssertionError, match=wrong):
        checking.check_store(tmp_path, "app", "counts", CHANGELOG)


def test_a_missing_store_is_found(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="reflects 0, and misses log/0 offset 0"):
        checking.check_store(tmp_path, "app", "counts", CHANGELOG)


def test_one_copy_of_a_store_has_to_be_complete(tmp_path: Path) -> None:
    a_store(tmp_path, *BEHIND)
    a_store(tmp_path, HELD, 11, name="0.a-slot")
    a_store(tmp_path, HELD[:1], 11, name="0.aside-1")  # set aside: nobody reads it
    checking.check_store(tmp_path, "app", "counts", CHANGELOG)


def test_a_wrong_copy_of_a_store_is_found(tmp_path: Path) -> None:
    a_store(tmp_path, HELD, 11)
    a_store(tmp_path, HELD[:1], 11, name="0.a-slot")
    with pytest.raises(AssertionError, match=r"0\.a-slot: b'k2' is None"):
        checking.check_store(tmp_path, "app", "counts", CHANGELOG)


# The cluster


@pytest.mark.kafka
def test_an_open_transaction_is_found(kafka: KafkaServer, topic: TopicFactory) -> None:
    name, servers = topic("open"), kafka.bootstrap_servers
    feed(servers, name, words(10))
    checking.check_nothing_open(servers, [name])
    abandon_transaction(servers, name, [Row("a", "b")])
    with pytest.raises(AssertionError, match="a transaction is open in open"):
        checking.check_nothing_open(servers, [name])


@pytest.mark.kafka
def test_input_that_is_left_is_found(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("map", topic("words"), topic("upper"))
    feed(app.servers, app.inputs[0], words(10))
    with pytest.raises(AssertionError, match="has committed None of words"):
        app.check_committed()
    app.run_through()
    app.check_committed()
    feed(app.servers, app.inputs[0], words(1))
    with pytest.raises(AssertionError, match=r"has committed \d+ of words.*, which ends at"):
        app.check_committed()


# Runs that are broken for real: at least once, killed where it matters

UNCOMMITTED = {"interval_ms": 60_000, "min_interval_ms": 60_000, "chunk_records": 100}


@pytest.mark.kafka
@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_doubled_records_are_found(
    guarantee: str, topic: TopicFactory, application: ApplicationFactory
) -> None:
    """Killed in a later chunk of a batch, whose first ones are out."""
    app = application("stalling", topic("in", partitions=1), topic("out"), guarantee=guarantee)
    rows = [Row("a", f"word-{n}") for n in range(1_000)]
    feed(app.servers, app.inputs[0], [*rows, Row("a", STALL)])
    app.start(commit=UNCOMMITTED)
    app.wait_for(STALLED)
    uncommitted = checking.IsolationLevel.READ_UNCOMMITTED
    app.wait_until(
        lambda: sum(checking.ends(app.servers, app.outputs, uncommitted).values()) > 500,
        "most of them are out",
    )
    app.kill()
    app.start("map")
    app.wait_drained()
    app.stop()
    if guarantee == "exactly_once":
        app.check_map()
    else:
        with pytest.raises(AssertionError, match="is there twice"):
            app.check_map()


@pytest.mark.kafka
def test_doubled_counts_are_found(topic: TopicFactory, application: ApplicationFactory) -> None:
    """Killed in a flush: the changes of a first task are out, its offsets are not.

    The same kill leaves nothing behind exactly once: test_exactly_once.py.
    """
    app = application("stalling-flush", topic("in"), topic("out"), guarantee="at_least_once")
    feed(app.servers, app.inputs[0], [Row(f"key-{n}", "word", partition=n) for n in range(4)])
    app.start(commit={"interval_ms": 1_500, "min_interval_ms": 1_500})
    app.wait_for(STALLED)
    changelog, uncommitted = app.changelog("counts"), checking.IsolationLevel.READ_UNCOMMITTED
    app.wait_until(
        lambda: sum(checking.ends(app.servers, [changelog], uncommitted).values()) > 0,
        "a change is out",
    )
    app.kill()
    app.start("count")
    app.wait_drained()
    app.stop()
    with pytest.raises(AssertionError, match="went from 1 to 2; the last is to be 1"):
        app.check_count()
