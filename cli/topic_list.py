"""What topics there are, how much is in them, and whose the internal ones are."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from penstock.cli.cluster import connect, create_missing
from penstock.cli.internal_topics import may_be_internal, owner
from penstock.errors import TopologyError


@dataclass(frozen=True)
class TopicInfo:
    """A topic as it is now.

    Attributes:
        records: offsets between its beginning and its end, which is at least its records.
        application: the one that it is named after as an internal topic; None if there is none.
        kind: "changelog", "repartition", "progress" or "workers", None for any other.
    """

    name: str
    partitions: int
    records: int
    application: str | None
    kind: str | None


def create_topics(names: Sequence[str], partitions: int, *, brokers: str) -> None:
    """Create the topics that are missing; one that exists keeps the partitions that it has.

    Raises:
        TopologyError: if no name is given.
        BrokerError: if the cluster does not answer or refuses.
    """
    if not names:
        raise TopologyError("No topic is named. Name one: penstock topics orders --create 4.")
    create_missing(connect(brokers), names, partitions)


def list_topics(patterns: Sequence[str] | None, *, brokers: str) -> list[TopicInfo]:
    """Look up the topics whose names match one of some patterns of the shell's kind.

    Kafka's own, which begin with two underscores, are those only that are asked for so.

    Raises:
        BrokerError: if the cluster does not answer.
    """
    admin = connect(brokers)
    wanted: Sequence[str | None] = patterns or [None]
    found = {
        name: n
        for name, n in admin.topics().items()
        if any(_matches(name, pattern) for pattern in wanted)
    }
    partitions = [(name, number) for name, n in found.items() for number in range(n)]
    starts, ends = admin.starts(partitions), admin.ends(partitions)
    groups = admin.groups() if any(map(may_be_internal, found)) else []
    return [
        TopicInfo(
            name,
            count,
            sum(ends[name, number] - starts[name, number] for number in range(count)),
            *owner(name, groups),
        )
        for name, count in sorted(found.items())
    ]


def _matches(name: str, pattern: str | None) -> bool:
    if name.startswith("__") and not (pattern or "").startswith("__"):
        return False
    return pattern is None or fnmatchcase(name, pattern)
