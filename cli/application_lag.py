"""How far an application is behind: two looks at its group, and what lies between them.

Offsets are counted, which is more than there are records: markers of transactions have some.
Ends are those of read_committed readers; what open transactions hold back is told apart.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from penstock.cli.cluster import Partition, committed, connect, did_you_mean, group_client
from penstock.errors import BrokerError
from penstock.topics.admin import Admin


@dataclass(frozen=True)
class PartitionLag:
    """One partition of an input, or all of them together.

    Attributes:
        committed: the offset up to which the application is done.
        end: where the partition ends.
        open: how many offsets behind that belong to open transactions, or wait for them.
        rate: offsets per second that the application has done between the looks.
        growth: offsets per second that have come.
    """

    committed: int
    end: int
    open: int
    rate: float
    growth: float

    @property
    def lag(self) -> int:
        """How many offsets are left."""
        return max(0, self.end - self.committed)

    @property
    def seconds_left(self) -> float | None:
        """When nothing is left, if both go on as they do; None if that is never."""
        if not self.lag:
            return 0.0
        faster = self.rate - self.growth
        return self.lag / faster if faster > 0 else None


@dataclass(frozen=True)
class ApplicationLag:
    """The lag of an application.

    Attributes:
        members: how many workers the group knows.
        partitions: by topic and number, in order.
    """

    application: str
    members: int
    partitions: Mapping[Partition, PartitionLag]

    @property
    def total(self) -> PartitionLag:
        """All partitions together; they are caught up when the last of them is."""
        found = self.partitions.values()
        return PartitionLag(
            committed=sum(at.committed for at in found),
            end=sum(max(at.end, at.committed) for at in found),
            open=sum(at.open for at in found),
            rate=sum(at.rate for at in found),
            growth=sum(at.growth for at in found),
        )

    @property
    def seconds_left(self) -> float | None:
        """When nothing is left anywhere; None if that is never."""
        left = [at.seconds_left for at in self.partitions.values()]
        known = [seconds for seconds in left if seconds is not None]
        return max(known, default=0.0) if len(known) == len(left) else None


def look_twice(
    application: str,
    *,
    brokers: str,
    over_s: float,
    sleep: Callable[[float], None] = time.sleep,
) -> ApplicationLag:
    """Look how far an application is, wait, and look again.

    Raises:
        BrokerError: if the cluster does not answer, or knows no such application.
    """
    admin = connect(brokers)
    partitions = [(topic, number) for topic, n in admin.topics().items() for number in range(n)]
    client = group_client(brokers, application)
    try:
        first = committed(client, partitions)
        if not first:
            raise _unknown(application, admin, brokers)
        ends, since = admin.stable_ends(first), time.monotonic()
        sleep(over_s)
        second = committed(client, first)
        last = admin.ends(first)
        stable, took_s = admin.stable_ends(first), max(time.monotonic() - since, 0.001)
    finally:
        client.close()
    return ApplicationLag(
        application,
        len(admin.members(application)),
        {
            at: PartitionLag(
                committed=second[at].offset,
                end=stable[at],
                open=max(0, last[at] - stable[at]),
                rate=(second[at].offset - first[at].offset) / took_s,
                growth=(stable[at] - ends[at]) / took_s,
            )
            for at in sorted(second)
        },
    )


def _unknown(application: str, admin: Admin, brokers: str) -> BrokerError:
    groups = sorted(admin.groups())
    known = f"Known there: {', '.join(groups[:8])}" if groups else "No group is known there"
    more = f" and {len(groups) - 8} more" if len(groups) > 8 else ""
    return BrokerError(
        f"{application} has committed nothing on {brokers}: no application with that id has run"
        f" there, or its offsets have expired.{did_you_mean(application, groups)} {known}{more}."
    )
