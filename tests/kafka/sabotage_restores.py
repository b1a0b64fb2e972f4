"""Workers that break a rule of restoring, or of what they believe of their disk."""

from collections.abc import Callable, Iterable
from typing import Any

from penstock.engine.restore import Restore
from penstock.runtime import tasks
from penstock.runtime.restorer import Restorer, Restoring
from penstock.runtime.tasks import TaskStarter
from penstock.state import rocksdb
from penstock.state.rocksdb import RocksStore
from penstock.state.store import Position


def believe_the_disk() -> None:
    """What a changelog has behind a store on disk is not replayed."""

    def of(store: str, topic: str, partition: int, start: int, end: int) -> Restore:
        return Restore(store, topic, partition, start, start)

    tasks.Restore = of  # type: ignore[assignment,misc]


def begin_at_zero() -> None:
    """A restore begins at offset 0, wherever the changelog does."""

    def of(store: str, topic: str, partition: int, _: int, end: int) -> Restore:
        return Restore(store, topic, partition, 0, end)

    tasks.Restore = of  # type: ignore[assignment,misc]


def stop_at_the_end() -> None:
    """A restore takes nothing behind the end that it was given, though it may come along."""
    apply = Restorer._apply

    def exactly(self: Restorer, restoring: Any, messages: list[Any]) -> None:
        end = restoring.state.end
        apply(self, restoring, [m for m in messages if m.error() or m.offset() < end])

    Restorer._apply = exactly  # type: ignore[method-assign]


def wait_for_records() -> None:
    """A restore is at its end when it has the last record; a marker is none."""
    applied = Restore.applied

    def is_last(self: Restore, records: int, next_offset: int) -> None:
        applied(self, records, next_offset)
        self.done = next_offset >= self.end

    Restore.applied = is_last  # type: ignore[method-assign]
    Restore.reached = lambda *_: None  # type: ignore[method-assign]


def end_anywhere() -> None:
    """A restore is at its end where nothing comes, though a transaction is open there."""

    def reached(self: Restore, eof_offset: int) -> None:
        self.next_offset, self.done = max(self.next_offset, eof_offset), True

    Restore.reached = reached  # type: ignore[method-assign]


def end_too_early() -> None:
    """What is restored in part says that it is whole."""
    write = Restorer._write

    def boast(self: Restorer, restoring: Restoring) -> None:
        reached, restoring.state.next_offset = restoring.state.next_offset, restoring.state.end
        write(self, restoring)
        restoring.state.next_offset = reached

    Restorer._write = boast  # type: ignore[method-assign]


def trust_the_disk() -> None:
    """Whatever can be read is believed: of any topic, of any age, in any format."""

    def position(self: RocksStore) -> Position | None:
        data = self._db.get(rocksdb._POSITION)
        return None if data is None else rocksdb._decode(data, None)

    RocksStore.position = position  # type: ignore[method-assign]
    TaskStarter._distrust = lambda *_: None  # type: ignore[method-assign]


def keep_what_is_damaged() -> None:
    """Files that cannot be read stay where they are."""
    tasks.DamagedStore = ConnectionError  # type: ignore[misc,assignment]


def take_refusals_for_damage() -> None:
    """Files that this user may not write are set aside."""
    rocksdb._kind = lambda *_, **__: rocksdb.DamagedStore


def position_first() -> None:
    """How far a store goes is on the disk before what it holds."""
    write = RocksStore.write

    def hasty(self: RocksStore, items: Iterable[Any], position: Position) -> None:
        write(self, [], position)
        self.flush()
        write(self, items, position)

    RocksStore.write = hasty  # type: ignore[method-assign]


def be_newer() -> None:
    """State is written in a newer format."""
    rocksdb.FORMAT += 1


RULES: dict[str, Callable[[], None]] = {
    "be-newer": be_newer,
    "begin-at-zero": begin_at_zero,
    "believe-the-disk": believe_the_disk,
    "end-anywhere": end_anywhere,
    "end-too-early": end_too_early,
    "keep-what-is-damaged": keep_what_is_damaged,
    "position-first": position_first,
    "stop-at-the-end": stop_at_the_end,
    "take-refusals-for-damage": take_refusals_for_damage,
    "trust-the-disk": trust_the_disk,
    "wait-for-records": wait_for_records,
}
