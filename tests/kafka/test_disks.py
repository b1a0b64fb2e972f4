"""Disks that take no more, or that this user may not write: the worker says so, and loses nothing.

The limit is one of the process (RLIMIT_FSIZE), which RocksDB meets as it meets a full disk.
"""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from penstock.runtime.exits import Exit
from tests.kafka import checking
from tests.kafka.conftest import TopicFactory
from tests.kafka.feeding import feed, words
from tests.kafka.test_troubleshooting import no_file_longer_than
from tests.kafka.workers import QUICK, Application
from tests.unprivileged import unprivileged

pytestmark = pytest.mark.kafka

RECORDS = 2_000
MANY = 30_000
REFUSED_S = 15
FULL_BYTES = 30_000  # the log of a worker needs less, its stores more
OFTEN = {"flush_interval_ms": 500}


class Bounded(Application):
    """An application whose workers are no exception to the modes of files."""

    def _command(self, name: str, options: dict[str, Any]) -> list[str]:
        return unprivileged(super()._command(name, options))

    def refused(self, *said: str) -> None:
        """Start it; it has to end, and to say what stands in its way."""
        self.start()
        lines = self.fails(REFUSED_S).rstrip().splitlines()
        assert self.status in (Exit.STATE, Exit.OTHER)
        last = next(line for line in reversed(lines) if "StateError" in line)
        assert all(text in last for text in said), last


@pytest.fixture
def app(topic: TopicFactory, kafka: Any, tmp_path: Path) -> Iterator[Bounded]:
    made = bounded(kafka.bootstrap_servers, tmp_path, topic)
    yield made
    made.close()


def bounded(servers: str, folder: Path, topic: TopicFactory) -> Bounded:
    """Make an application whose state is in a folder of its own."""
    made = Bounded(servers, folder, "count", [topic("words")], [topic("counts")], kafka=QUICK)
    made.state_dir = folder / "disk" / "state"
    made.state_dir.parent.mkdir()
    return made


def test_a_disk_that_is_full_and_then_is_not_costs_nothing(app: Bounded) -> None:
    """It fills up at work; the worker cannot restore either until there is room again."""
    fill_the_disk(app)
    app.run_through()
    app.check_count()
    app.check_ends("counts")


def fill_the_disk(app: Bounded) -> None:
    """Let a worker meet a full disk at work, and another one at its start."""
    app.options["state"] = OFTEN
    feed(app.servers, app.inputs[0], words(MANY, keys=1_000_000))
    app.start()
    app.wait_for("runs from")
    resource.prlimit(app.pid, resource.RLIMIT_FSIZE, (FULL_BYTES, resource.RLIM_INFINITY))
    said = app.fails()
    assert "failed: the disk is full, or a limit of it is reached" in said
    assert "free space and start again, nothing committed is lost" in said
    assert app.done() > 0
    app.check_store("counts", complete=False)
    app.forget_stores()
    with no_file_longer_than(FULL_BYTES):
        app.refused("failed: the disk is full", str(app.state_dir))
    app.check_store("counts", complete=False)


def test_a_folder_that_may_not_be_written_stops_the_worker_before_it_reads(app: Bounded) -> None:
    """All of it, that of the locks, that of one store; what is there stays as it is."""
    with closed(app.state_dir.parent):
        app.refused(str(app.state_dir), "cannot be made: Permission denied", "state_dir=")
    feed(app.servers, app.inputs[0], words(RECORDS))
    app.run_through()
    before = len(app.read_output())
    feed(app.servers, app.inputs[0], words(RECORDS, first=RECORDS))
    store = app.store("counts", 0)
    with closed(store.parent), closed(*store.parent.glob("*.lock")):
        app.refused(str(store.parent), "cannot be opened: Permission denied", "state_dir=")
    with closed(store):
        app.refused(str(store), "this user may not write there", "state_dir=")
    assert len(app.read_output()) == before
    assert not list(store.parent.glob("*.aside-*"))
    app.run_through()
    app.check_count()
    app.check_ends("counts")
    assert app.said("Restored ") == 0
    assert checking.copies(store) == [store]


@contextmanager
def closed(*paths: Path) -> Iterator[None]:
    """Let nobody write to files and folders."""
    modes = {path: path.stat().st_mode for path in paths}
    for path in paths:
        path.chmod(0o500 if path.is_dir() else 0o400)
    try:
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
