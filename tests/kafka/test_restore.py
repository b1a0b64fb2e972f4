"""Whatever became of the state on disk and of the changelog, a restore ends and is right."""

import logging
import os
import re
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import penstock as ps
from penstock.engine.restore import Restore
from penstock.runtime.client_configs import ClientConfigs
from penstock.runtime.clients import Clients
from penstock.runtime.clock import now_ms
from penstock.runtime.restorer import Restorer, Restoring
from penstock.state.disk import RocksDisk
from penstock.state.rocksdb import RocksMemory, RocksStore
from penstock.state.store import Position
from penstock.testing.kafka_server import KafkaServer
from tests.kafka import checking
from tests.kafka.conftest import ApplicationFactory, TopicFactory, create_topic
from tests.kafka.feeding import Row, abandon_transaction, feed, feed_transaction, words
from tests.kafka.workers import QUICK, Application

pytestmark = pytest.mark.kafka

RECORDS = 2_000
PARTITIONS = 4
EMPTIED = (
    "Nothing was ever written there: unless the application was reset since, its state is lost"
)
NEVER_COMMITTED = struct.pack(">q", 1_000_000)


@pytest.fixture
def counted(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> Application:
    """A count that has run and was stopped."""
    app = application("count", topic("words"), topic("counts"), kafka=QUICK)
    feed(kafka.bootstrap_servers, app.inputs[0], words(RECORDS))
    return app.run_through()


def test_state_of_an_old_run_is_continued_from_where_it_was(
    counted: Application, tmp_path: Path
) -> None:
    """A key that is in no changelog shows that the old state was not restored anew."""
    for partition in range(PARTITIONS):
        change_store(counted.store("counts", partition), [(b"planted", b"x")])
    old = shutil.copytree(counted.state_dir, tmp_path / "old")
    count_more(counted, 1)
    shutil.rmtree(counted.state_dir)
    shutil.move(old, counted.state_dir)
    count_more(counted, 2)
    for partition in range(PARTITIONS):
        held, _ = checking.stored(counted.store("counts", partition))
        assert held.pop(b"planted") == b"x"
        change_store(counted.store("counts", partition), [(b"planted", None)])
    assert_exact(counted)


def test_deleted_stores_are_restored(counted: Application) -> None:
    """The changelog ends in a commit's marker, as each does. The log says what it took."""
    counted.forget_stores()
    records = len(counted.read_changelog("counts").records)
    count_more(counted)
    assert_exact(counted)
    [told] = re.findall(r"Restor\S+ counts.*", counted.text())
    assert told.startswith(f"Restored counts/0,1,2,3: {records} records in "), told


def test_a_long_restore_says_how_far_it_is(
    kafka: KafkaServer, topic: TopicFactory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each second is a hundred here: it would take millions of records else."""
    caplog.set_level(logging.INFO, "penstock")
    changelog, count = topic("changelog", partitions=1, cleanup_policy="compact"), 80_000
    feed(kafka.bootstrap_servers, changelog, words(count, keys=count))
    config = ClientConfigs(ps.App("slow", brokers=kafka.bootstrap_servers)).restore()
    restorer = Restorer(config, Clients(now=lambda: 100 * time.monotonic()))
    store = RocksDisk(tmp_path, RocksMemory(8 * 1024 * 1024)).place("slow", "counts", 0).open()
    restorer.add(Restoring(Restore("counts", changelog, 0, 0, count), store, "id"))
    while restorer.busy:
        restorer.work(50)
    restorer.close()
    store.close()
    *before, last = caplog.messages
    numbers = r"(\d+) records in [\d.]+ s \(\d+ records/s\)"
    assert re.fullmatch(rf"Restored counts/0: {numbers}\.", last)
    matches = [re.match(rf"Restoring counts/0: {numbers}, at most (\d+) left", m) for m in before]
    found = [[int(n) for n in match.groups()] for match in matches if match]
    assert len(found) == len(before) > 1
    assert found == sorted(found)
    assert all(done + left == count for done, left in found)


def test_an_aborted_transaction_at_the_end_of_a_changelog_is_no_state(
    counted: Application,
) -> None:
    counted.forget_stores()
    feed_transaction(counted.servers, counted.changelog("counts"), changes(), commit=False)
    count_more(counted)
    assert_exact(counted)


@pytest.mark.parametrize("timeout_ms", [4_000])
def test_a_dead_producers_open_transaction_is_waited_for(
    timeout_ms: int, counted: Application
) -> None:
    """Until the broker ends it: what was committed behind it is not seen before."""
    counted.start()
    counted.wait_for("runs from")
    abandon_transaction(
        counted.servers, counted.changelog("counts"), [Row("key-1", "x")], timeout_ms
    )
    feed(counted.servers, counted.inputs[0], words(RECORDS, first=RECORDS))
    counted.wait_drained()
    counted.stop()
    counted.forget_stores()
    counted.start()
    counted.wait_for("runs from", 60)
    feed(counted.servers, counted.inputs[0], words(RECORDS, first=2 * RECORDS))
    counted.wait_drained()
    counted.stop()
    assert_exact(counted)


def test_a_changelog_whose_records_are_gone_restores_to_nothing(counted: Application) -> None:
    counted.forget_stores()
    delete_records(counted, checking.ends(counted.servers, [counted.changelog("counts")]))
    before = len(counted.read_inputs())
    start = checking.ends(counted.servers, counted.outputs)
    count_more(counted)
    counted.check_store("counts")
    later = [r for r in counted.read_output() if r.offset >= start[r.topic, r.partition]]
    recount = checking.counted(words_after(counted, before))
    checking.check_updates(recount, later)


def test_a_changelog_that_was_emptied_before_the_first_start_is_no_state(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("count", topic("words"), topic("counts"))
    changelog = app.changelog("counts")
    create_topic(app.servers, changelog, PARTITIONS, cleanup_policy="compact")
    feed(app.servers, changelog, changes())
    delete_records(app, checking.ends(app.servers, [changelog]))
    feed(app.servers, app.inputs[0], words(RECORDS))
    app.run_through()
    assert_exact(app)


# State that cannot be trusted is set aside, with a reason, and restored


def test_state_of_a_recreated_changelog_is_set_aside(counted: Application) -> None:
    """Somebody has made the topic anew, and copied its records back."""
    changelog = counted.changelog("counts")
    records = checking.read(counted.servers, changelog).records
    make_anew(counted, changelog)
    plant(counted)
    rows = [Row(r.key, r.value, r.timestamp, None, r.partition) for r in records]
    feed(counted.servers, changelog, rows)
    count_more(counted)
    assert_exact(counted)
    assert_set_aside(counted, "made anew")
    assert EMPTIED not in counted.text()


def make_anew(app: Application, topic: str) -> None:
    """Delete a topic and create it again, empty."""
    checking.admin(app.servers).delete_topics([topic])[topic].result()
    app.wait_gone(topic)
    create_topic(app.servers, topic, PARTITIONS, cleanup_policy="compact")


def beyond_the_end(position: Position) -> Position:
    return Position(position.offset + 1_000, position.topic_id, position.written_ms)


def too_old(position: Position) -> Position:
    return Position(position.offset, position.topic_id, now_ms() - 13 * 3_600_000)


@pytest.mark.parametrize(
    ("alter", "reason"), [(beyond_the_end, "the changelog ends at"), (too_old, "minutes old")]
)
def test_state_that_cannot_be_right_is_set_aside(
    alter: Callable[[Position], Position], reason: str, counted: Application
) -> None:
    plant(counted, alter)
    count_more(counted)
    assert_exact(counted)
    assert_set_aside(counted, reason)


def test_state_from_before_the_changelogs_start_is_set_aside(
    counted: Application, tmp_path: Path
) -> None:
    old = shutil.copytree(counted.state_dir, tmp_path / "old")
    before = checking.ends(counted.servers, [counted.changelog("counts")])
    count_more(counted, 1)  # all keys again: the changelog is whole without its beginning
    delete_records(counted, before)
    shutil.rmtree(counted.state_dir)
    shutil.move(old, counted.state_dir)
    count_more(counted, 2)
    assert_set_aside(counted, "the changelog begins at")
    assert_exact(counted)


@pytest.mark.parametrize("where", ["first block", "footer"])
def test_files_that_are_damaged_where_it_shows_at_the_start_are_set_aside(
    where: str, counted: Application
) -> None:
    damage(counted, where)
    count_more(counted)
    assert_set_aside(counted, "damaged")
    assert_exact(counted)


def test_damage_that_shows_later_ends_the_worker_once(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    """The error is not blamed on a record; started again, the worker restores the stores."""
    app = application("count", topic("words"), topic("counts"), kafka=QUICK)
    rows = words(10_000, keys=1_000_000)
    feed(app.servers, app.inputs[0], rows)
    app.run_through()
    damage(app, "middle")
    feed(app.servers, app.inputs[0], rows)
    errors: list[str] = []
    app.start()
    while not app.ended_or(app.drained):
        errors.append(app.fails().splitlines()[-1])
        assert len(errors) <= PARTITIONS  # it may find several at once
        app.start()
    app.stop()
    for error in errors:
        assert error.startswith("penstock.state.rocksdb.DamagedStore: The store in"), error
        assert "are set aside and restored" in error
    assert errors
    assert_exact(app)


def test_files_that_are_gone_are_restored(counted: Application) -> None:
    for partition in range(PARTITIONS):
        for path in counted.store("counts", partition).glob("MANIFEST-*"):
            path.unlink()
    count_more(counted)
    assert_set_aside(counted, "damaged")
    assert_exact(counted)


def test_state_that_no_worker_uses_is_deleted_while_it_runs(counted: Application) -> None:
    """Its own is kept, however long it runs; a partition that comes back later is restored."""
    stores = counted.store("counts", 0).parent
    gone = [
        shutil.copytree(stores / "0", stores / "7"),
        shutil.copytree(stores / "0", stores / "8"),
    ]
    for folder in gone:
        folder.with_name(f"{folder.name}.lock").touch()
        os.utime(folder.with_name(f"{folder.name}.lock"), (0, 0))
    shutil.copytree(stores / "0", stores / "0.aside-1")
    feed(counted.servers, counted.inputs[0], words(RECORDS, first=RECORDS))
    counted.start(state={"cleanup_delay_ms": 1_000})
    counted.wait_for("is deleted: counts/0.aside-1 counts/7 counts/8; 0.")
    counted.wait_drained()
    lock = stores / "0.lock"  # killed, it leaves the time of its last look
    os.utime(lock, (0, 0))
    counted.wait_until(lambda: lock.stat().st_mtime > 0, "it says that it uses its own")
    counted.stop()
    assert counted.said("is deleted") == 1
    assert sorted(path.name for path in stores.iterdir() if path.is_dir()) == ["0", "1", "2", "3"]
    assert_exact(counted)


def count_more(app: Application, times: int = 1) -> None:
    """Let a stopped count process as much again."""
    feed(app.servers, app.inputs[0], words(RECORDS, first=times * RECORDS))
    app.run_through()


def assert_exact(app: Application) -> None:
    app.check_count()
    app.check_ends("counts")


def assert_set_aside(app: Application, reason: str) -> None:
    """The old folder is kept, and the log says why."""
    for partition in range(PARTITIONS):
        folder = app.store("counts", partition)
        [aside] = folder.parent.glob(f"{partition}.aside-*")
        said = [line for line in app.text().splitlines() if f"{folder} is not used" in line]
        assert len(said) == 1, app.text()
        assert reason in said[0]
        assert aside.name in said[0]


def changes() -> list[Row]:
    """Changes of counts that nobody may ever see."""
    return [Row(f"key-{n}", NEVER_COMMITTED, partition=p) for n in range(10) for p in range(4)]


def words_after(app: Application, records: int) -> list[checking.Record]:
    newest = {f"word-{number}".encode() for number in range(records, records + RECORDS)}
    return [record for record in app.read_inputs() if record.value in newest]


def delete_records(app: Application, before: dict[checking.Partition, int]) -> None:
    """Delete the beginning of a changelog; the broker allows it only where retention may."""
    changelog = app.changelog("counts")
    checking.configure(app.servers, changelog, {"cleanup.policy": "compact,delete"})
    checking.delete_records(app.servers, before)
    checking.configure(app.servers, changelog, {"cleanup.policy": "compact"})


def plant(
    app: Application, alter: Callable[[Position], Position] = lambda position: position
) -> None:
    """Write a count into the stores that nobody may believe."""
    for partition in range(PARTITIONS):
        change_store(app.store("counts", partition), [(b"key-1", NEVER_COMMITTED * 2)], alter)


def change_store(
    folder: Path,
    items: list[tuple[bytes, bytes | None]],
    alter: Callable[[Position], Position] = lambda position: position,
) -> None:
    """Write into the store of a stopped worker."""
    store = RocksStore(folder, RocksMemory(8 * 1024 * 1024))
    position = store.position()
    assert position
    store.write(items, alter(position))
    store.close()


def damage(app: Application, where: str) -> None:
    """Flip bytes in every file of data."""
    for partition in range(PARTITIONS):
        files = list(app.store("counts", partition).glob("*.sst"))
        assert files
        for path in files:
            data = bytearray(path.read_bytes())
            places = {"first block": 20, "middle": len(data) // 2, "footer": len(data) - 30}
            for index in range(places[where], places[where] + 8):
                data[index] ^= 0xFF
            path.write_bytes(data)
