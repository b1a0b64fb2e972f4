"""The changelogs of an application: which stores they are of, and what stands in them at last.

What is read is committed, and ends where the changelog ended when reading began. A changelog
holds old values of a key beside the last one: they are sorted out in memory where there are few
records, else in a RocksDB of its own in the folder for temporary files, which is gone afterwards.
"""

import struct
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from penstock.cli.application import Application
from penstock.cli.cluster import committed, connect, did_you_mean, group_client, partitions_of
from penstock.cli.internal_topics import CHANGELOG, memory_of, owner
from penstock.cli.reading import read
from penstock.engine.metadata import short_hash
from penstock.errors import BrokerError
from penstock.runtime.message import Message
from penstock.state.changelog import stored, timestamp_of, value_of
from penstock.state.memory import MemoryStore
from penstock.state.rocksdb import RocksMemory, RocksStore
from penstock.state.store import Position, Store
from penstock.topics.admin import Admin

IN_MEMORY = 200_000  # records; more are sorted out on disk
KEYS_PER_WRITE = 20_000
MEMORY_BYTES = 256 * 1024 * 1024
_PARTITION = struct.Struct(">I")


@dataclass(frozen=True)
class Changelog:
    """The changelog of a store.

    Attributes:
        store: the store's name.
        topic: the changelog's.
        partitions: how many there are.
        records: offsets between its beginning and its end, which is at least its records.
        definition: how the store is written, as text; None where nothing tells.
    """

    store: str
    topic: str
    partitions: int
    records: int
    definition: str | None


class Last(NamedTuple):
    """The last value of a key.

    Attributes:
        key: its bytes.
        value: those of the value.
        timestamp: milliseconds since the epoch.
        partition: where it stands.
    """

    key: bytes
    value: bytes
    timestamp: int
    partition: int


def find_changelogs(application: Application) -> list[Changelog]:
    """Return the changelogs that are named after an application, by the names of their stores.

    Raises:
        BrokerError: if the cluster does not answer, or there is none.
    """
    admin = connect(application.brokers)
    topics = admin.topics()
    names = _named_after(application, topics, admin.groups())
    if not names:
        raise _none(application, admin)
    definitions = _definitions(application, topics)
    partitions = [(topic, number) for topic in names for number in range(topics[topic])]
    starts, ends = admin.starts(partitions), admin.stable_ends(partitions)
    return [
        Changelog(
            store,
            topic,
            topics[topic],
            sum(ends[topic, n] - starts[topic, n] for n in range(topics[topic])),
            definitions.get(short_hash(store)),
        )
        for topic, store in sorted(names.items())
    ]


def find_changelog(application: Application, store: str) -> Changelog:
    """Return the changelog of one store.

    Raises:
        BrokerError: if the cluster does not answer, or there is none.
    """
    found = {of.store: of for of in find_changelogs(application)}
    if store not in found:
        raise BrokerError(
            f"{application.id} has no changelog of a store named {store!r} on"
            f" {application.brokers}.{did_you_mean(store, found)} Those that it has: use one of"
            f" {', '.join(found)}.",
            store=store,
        )
    return found[store]


@contextmanager
def last_values(
    brokers: str, topic: str, on_progress: Callable[[int], None] = lambda _: None
) -> Generator[Iterator[Last]]:
    """Read a changelog, and go through the last values of its keys, in the order of their bytes.

    What was deleted is left out. A key that stands in several partitions has a value in each.

    Args:
        brokers: the cluster.
        topic: the changelog.
        on_progress: called with how many records were read.

    Raises:
        BrokerError: if the cluster does not answer, or the topic cannot be read.
        StateError: if the folder for temporary files cannot be written, as where it is full.
    """
    admin = connect(brokers)
    partitions = partitions_of(admin, topic, brokers)
    starts, ends = admin.starts(partitions), admin.stable_ends(partitions)
    few = sum(ends[at] - starts[at] for at in partitions) <= IN_MEMORY
    with _store(in_memory=few) as (store, loaded):
        waiting: dict[bytes, bytes | None] = {}
        done = 0
        for messages in read(brokers, starts, ends):
            waiting.update(_stored(messages))
            done += len(messages)
            if len(waiting) >= KEYS_PER_WRITE:
                store.write(waiting.items(), _NOWHERE)
                waiting = {}
            on_progress(done)
        store.write(waiting.items(), _NOWHERE)
        loaded()
        yield _all(store)


_NOWHERE = Position(0, "", 0)


@contextmanager
def _store(*, in_memory: bool) -> Generator[tuple[Store, Callable[[], None]]]:
    """Make a store, with what makes it fit for reading."""
    if in_memory:
        yield MemoryStore(), lambda: None
        return
    with tempfile.TemporaryDirectory(prefix="penstock-") as folder:
        store = RocksStore(Path(folder) / "store", RocksMemory(MEMORY_BYTES))
        try:
            store.load()
            yield store, store.loaded
        finally:
            store.close()


def _stored(messages: list[Message]) -> dict[bytes, bytes | None]:
    """Return what a store keeps of records: their partition is part of the key, behind it."""
    return stored(
        [(message.key() or b"") + _PARTITION.pack(message.partition()) for message in messages],
        [message.value() for message in messages],
        [message.timestamp()[1] for message in messages],
    )


def _all(store: Store) -> Iterator[Last]:
    size = _PARTITION.size
    for key, data in store.scan():
        value = value_of(data) or b""
        yield Last(key[:-size], value, timestamp_of(data), _PARTITION.unpack(key[-size:])[0])


def _named_after(
    application: Application, topics: dict[str, int], groups: list[str]
) -> dict[str, str]:
    """Return the stores of an application by their changelog topics."""
    declared = application.topology
    own = {of.changelog(application.id): of.name for of in declared.stores} if declared else {}
    found = {topic: store for topic, store in own.items() if topic in topics}
    for topic in topics:
        if owner(topic, [*groups, application.id]) == (application.id, CHANGELOG):
            store = topic.removeprefix(f"{application.id}-").removesuffix(f"-{CHANGELOG}")
            found.setdefault(topic, store)
    return found


def _definitions(application: Application, topics: dict[str, int]) -> dict[int, str]:
    """Return what is known of stores, by the hashes of their names.

    What the workers have committed comes before what the application's file declares: it is what
    the changelog was written by.
    """
    declared = application.topology
    found = {short_hash(of.name): of.describe() for of in declared.stores} if declared else {}
    client = group_client(application.brokers, application.id)
    try:
        partitions = [(topic, number) for topic, n in topics.items() for number in range(n)]
        known = map(memory_of, committed(client, partitions).values())
        return found | {
            name: of for memory in known if memory for name, of in memory.stores.items()
        }
    finally:
        client.close()


def _none(application: Application, admin: Admin) -> BrokerError:
    groups = sorted(admin.groups())
    return BrokerError(
        f"There is no changelog of {application.id} on {application.brokers}: it keeps no state, or"
        f" has never run there.{did_you_mean(application.id, groups)} Check the id and --brokers;"
        " 'penstock topics' lists the topics that are there."
    )
