"""State on disk that is not of this application, of this version, or of this time is not believed.

The folders are kept aside, the log says why, and the results are as if they had never been there.
"""

import shutil
import time
from pathlib import Path

import pytest

from tests.kafka import checking
from tests.kafka.conftest import ApplicationFactory, TopicFactory, create_topic
from tests.kafka.feeding import BEGIN_MS, Row, feed, words
from tests.kafka.test_restore import (
    PARTITIONS,
    RECORDS,
    assert_exact,
    assert_set_aside,
    count_more,
    counted,
    plant,
)
from tests.kafka.workers import WAIT_S, Application

__all__ = ["counted"]  # a fixture

pytestmark = pytest.mark.kafka

KEYS, DELETED = 10, 6
FORGOTTEN_MS = 1_000
ROLLED_MS = 300  # of now, which is the time of markers


def test_state_of_an_older_and_of_a_newer_format_is_set_aside(counted: Application) -> None:
    """A version is put forward, and back again."""
    plant(counted)
    feed(counted.servers, counted.inputs[0], words(RECORDS, first=RECORDS))
    counted.start(sabotage="be-newer")
    counted.wait_drained()
    counted.stop()
    assert_set_aside(counted, "another version of Penstock has written it")
    drop_aside(counted)
    count_more(counted, 2)
    assert_exact(counted)
    assert_set_aside(counted, "another version of Penstock has written it")


def test_state_of_another_application_is_set_aside(
    counted: Application, topic: TopicFactory, application: ApplicationFactory
) -> None:
    """Somebody has copied it here."""
    other = application("count", topic("words"), topic("counts"))
    feed(other.servers, other.inputs[0], words(2 * RECORDS, seed=3))
    other.run_through()
    for partition in range(PARTITIONS):
        shutil.rmtree(counted.store("counts", partition))
        shutil.copytree(other.store("counts", partition), counted.store("counts", partition))
    count_more(counted)
    assert_exact(counted)
    assert_set_aside(counted, "another application's")


def test_a_manifest_that_is_cut_off_is_damage_or_an_older_state(counted: Application) -> None:
    """Where it still says something, that is a state of then: its changelog's tail is replayed."""
    count_more(counted)
    for partition, kept in enumerate((0.0, 0.3, 0.6, 0.95)):
        [path] = counted.store("counts", partition).glob("MANIFEST-*")
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * kept)])
    count_more(counted, 2)
    assert_exact(counted)
    folder = counted.store("counts", 0)
    assert f"{folder} is not used: its files are damaged" in counted.text()


def test_deletions_that_the_changelog_has_forgotten_stay_deleted(
    topic: TopicFactory, application: ApplicationFactory, tmp_path: Path
) -> None:
    """They and their tombstones were compacted away while this disk was not in use."""
    app = application("table", topic("names", partitions=1), topic("out"))
    retention = {"delete_retention_ms": FORGOTTEN_MS, "min_cleanable_dirty_ratio": 0.01}
    changelog = app.changelog("names")
    create_topic(
        app.servers, changelog, 1, cleanup_policy="compact", segment_ms=ROLLED_MS, **retention
    )
    write(app, 0, {f"key-{n}": "there" for n in range(KEYS)})
    app.run_through()
    slept = shutil.copytree(app.state_dir, tmp_path / "slept")
    write(app, 1, {f"key-{n}": None for n in range(DELETED)})
    app.start()
    deadline, at = time.monotonic() + WAIT_S, 2
    while {record.key for record in app.read_changelog("names").records} & deleted():
        assert time.monotonic() < deadline, "nothing is compacted away"
        write(app, at, {"last": str(at)})
        at += 1
        time.sleep(0.3)
    app.wait_drained()
    app.stop()
    shutil.rmtree(app.state_dir)
    shutil.move(slept, app.state_dir)
    write(app, at, {"last": "awake"})
    app.run_through()
    app.check_store("names")
    held, _ = checking.stored(app.store("names", 0))
    assert not held.keys() & deleted()
    said = [line for line in app.text().splitlines() if "is not used" in line]
    assert "may have forgotten deletions since (delete.retention.ms)" in said[0]
    assert last(app.read_output()) == last(app.read_inputs())


def deleted() -> set[bytes | None]:
    return {b"key-%d" % n for n in range(DELETED)}


def write(app: Application, at: int, values: dict[str, str | None]) -> None:
    """Write values of keys at the at-th time."""
    rows = [Row(key, value, BEGIN_MS + at) for key, value in values.items()]
    feed(app.servers, app.inputs[0], rows)


def last(records: list[checking.Record]) -> dict[bytes | None, bytes | None]:
    """Return the last value of each key."""
    return {record.key: record.value for record in records}


def drop_aside(app: Application) -> None:
    """Delete what was set aside."""
    for folder in app.store("counts", 0).parent.glob("*.aside-*"):
        shutil.rmtree(folder)
