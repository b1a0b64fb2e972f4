"""Whose an internal topic is: told by its name, and proven where it is to be deleted.

By its name alone `shop-eu-totals-changelog` may belong to shop or to shop-eu, or be a topic of
somebody who likes such names. An application's own are those of the stores and repartitions

- that it declares, where it is named by its file,
- that its workers have committed: stores stand in the metadata of their commits, and repartition
  topics have committed offsets,
- that it has folders for on this host.

What it tells of itself, `shop-progress` and `shop-workers`, is no state: it is left alone.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import TopicPartition

from penstock.cli.application import Application
from penstock.cli.cluster import Partition
from penstock.engine.metadata import Metadata, decode, short_hash
from penstock.errors import BrokerError

CHANGELOG, REPARTITION = "changelog", "repartition"
PROGRESS, WORKERS = "progress", "workers"  # of which an application has one each


@dataclass(frozen=True)
class InternalTopics:
    """The topics that are named like internal ones of an application.

    Attributes:
        repartitions: those that are its own.
        changelogs: likewise.
        others: those of which this is not known.
        known: whether anything is known of its stores, if only that it has none.
    """

    repartitions: tuple[str, ...]
    changelogs: tuple[str, ...]
    others: tuple[str, ...]
    known: bool

    @property
    def own(self) -> tuple[str, ...]:
        """All that are its own."""
        return self.repartitions + self.changelogs


def may_be_internal(name: str) -> bool:
    """Whether a topic is named like an internal one."""
    return name.endswith(tuple(f"-{kind}" for kind in (CHANGELOG, REPARTITION, PROGRESS, WORKERS)))


def owner(name: str, groups: Collection[str]) -> tuple[str | None, str | None]:
    """Return the application that an internal topic is named after, and the topic's kind.

    Of several that it may be named after it is the one with the longest id. Those of which there
    is one for each application have common names: they count where there is the application.
    """
    for only in (PROGRESS, WORKERS):
        application = name.removesuffix(f"-{only}")
        if application != name and application in groups:
            return application, only
    kind = next((kind for kind in (CHANGELOG, REPARTITION) if name.endswith(f"-{kind}")), None)
    if kind is None:
        return None, None
    owners = [group for group in groups if name.startswith(f"{group}-")]
    return max(owners, key=len, default=None), kind


def internal_topics(
    application: Application,
    existing: Iterable[str],
    groups: Collection[str],
    committed: Mapping[Partition, TopicPartition],
) -> InternalTopics:
    """Find the internal topics of an application.

    Args:
        application: whose.
        existing: all topics.
        groups: all consumer groups.
        committed: what it has committed, with the metadata.
    """
    memories = [memory for memory in map(memory_of, committed.values()) if memory is not None]
    folders, declared = _folders(application.home), application.topology
    stores = {name for memory in memories for name in memory.stores} | set(map(short_hash, folders))
    repartitions = {topic for topic, _ in committed}
    if declared is not None:
        stores |= {short_hash(store.name) for store in declared.stores}
        repartitions |= set(declared.repartitions)
    found: dict[str, list[str]] = {CHANGELOG: [], REPARTITION: [], "": []}
    for topic in sorted(existing):
        name, kind = owner(topic, [*groups, application.id])
        if name == application.id and kind == CHANGELOG:
            store = topic.removeprefix(f"{name}-").removesuffix(f"-{kind}")
            found[kind if short_hash(store) in stores else ""].append(topic)
        elif name == application.id and kind == REPARTITION:
            found[kind if topic in repartitions else ""].append(topic)
    return InternalTopics(
        tuple(found[REPARTITION]),
        tuple(found[CHANGELOG]),
        tuple(found[""]),
        known=bool(memories or folders or declared is not None),
    )


def memory_of(committed: TopicPartition) -> Metadata | None:
    """Return what a worker of ours has left beside an offset; Kafka Streams names no stores."""
    try:
        found = decode(committed.metadata, f"{committed.topic}/{committed.partition}")
    except BrokerError:
        return None
    return found if found and found.batch else None


def _folders(home: Path) -> list[str]:
    """Return the names of the stores that have a folder on this host."""
    if home.is_symlink() or not home.is_dir():
        return []
    folders = [path for path in home.iterdir() if path.is_dir() and not path.is_symlink()]
    return [path.name for path in folders if path.name[0] != "."]
