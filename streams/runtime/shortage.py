"""Shortage: what the cluster lacks where it does not acknowledge records.

The Kafka client repeats what brokers refuse for the time being, and tells nobody. So where a batch
waits for long, the metadata of what it may write to are looked at: whether each partition has a
leader, and as many replicas in sync as its topic demands. What a cluster without a majority of
its controllers says there may be old: nobody can change it then.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from penstock.errors import BrokerError
from penstock.topics.admin import Admin, Replicas

log = logging.getLogger("penstock")

Partition = tuple[str, int]


@dataclass(frozen=True)
class Shortage:
    """Say why records wait.

    Args:
        admin: asks the cluster.
        needed: how many replicas in sync each topic demands.
    """

    admin: Admin
    needed: Mapping[str, int]

    def tell(self, records: int, seconds: float) -> None:
        """Say in the log why so many records have waited for so many seconds."""
        try:
            why = shortage(self.admin.replicas(self.needed), self.needed)
        except BrokerError as error:
            why = str(error)
        log.warning(
            "The brokers have not acknowledged %d records for %g s. %s Nothing of the batch is"
            " committed until they do.",
            records,
            seconds,
            why,
        )


def shortage(found: Mapping[Partition, Replicas], needed: Mapping[str, int]) -> str:
    """Say which partitions lack a leader, or replicas in sync, and which brokers are missing.

    >>> found = {("sums", n): Replicas(leader=1, in_sync={1}, all={1, 2}) for n in range(2)}
    >>> shortage(found, {"sums": 2})
    'sums/0,1: 1 of 2 replicas in sync, and min.insync.replicas is 2. Start the missing brokers: 2.'

    Args:
        found: what the cluster says of partitions.
        needed: how many replicas in sync each topic demands.
    """
    lacking: defaultdict[str, list[Partition]] = defaultdict(list)
    missing: set[int] = set()
    for (topic, partition), of in found.items():
        least = min(needed.get(topic, 1), len(of.all))
        if of.leader < 0:
            missing |= of.in_sync or of.all  # one of those that were the last to have all of it
            what = "no leader"
        elif len(of.in_sync) < least:
            missing |= of.all - of.in_sync
            what = (
                f"{len(of.in_sync)} of {len(of.all)} replicas in sync, and min.insync.replicas"
                f" is {least}"
            )
        else:
            continue
        lacking[what].append((topic, partition))
    if not lacking:
        return (
            "Each partition has a leader and enough replicas in sync, by what the cluster says:"
            " check whether its brokers are slow, or cannot be reached; the log of the Kafka client"
            " (penstock.kafka) has what breaks of its connections."
        )
    shown = "; ".join(f"{_names(partitions)}: {what}" for what, partitions in lacking.items())
    return f"{shown}. Start the missing brokers: {', '.join(map(str, sorted(missing)))}."


def _names(partitions: Iterable[Partition]) -> str:
    """Name partitions, those of a topic together."""
    topics: defaultdict[str, list[int]] = defaultdict(list)
    for topic, partition in sorted(partitions):
        topics[topic].append(partition)
    return " ".join(f"{topic}/{','.join(map(str, of))}" for topic, of in topics.items())
