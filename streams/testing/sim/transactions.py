"""The transaction coordinator.

Rule 1: a transactional id has one producer id and an epoch. Initialising raises the epoch and
        aborts what is open; whoever comes with an older epoch is fenced.
Rule 2: a transaction that is open for longer than its timeout is aborted, and its producer is
        fenced too.
Rule 3: records and offsets of a transaction become visible together, when it is committed.

As brokers treat clients without KIP-890 part 2: the epoch does not rise with each transaction,
so a stray end of transaction can end the next one of the same epoch.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from confluent_kafka import KafkaError

from penstock.testing.sim.coordinator import GroupMetadata
from penstock.testing.sim.faults import abortable, fatal
from penstock.testing.sim.group import Group
from penstock.testing.sim.log import PartitionLog, Row

Partition: TypeAlias = tuple[str, int]
Offsets: TypeAlias = Mapping[Partition, tuple[int, str]]


class Session(NamedTuple):
    """What a producer shows with each request."""

    transactional_id: str
    producer_id: int
    epoch: int


@dataclass
class _Identity:
    producer_id: int
    epoch: int = -1
    timeout_s: float = 60.0
    began: float | None = None
    last: bool | None = None
    logs: list[PartitionLog] = field(default_factory=list[PartitionLog])
    groups: list[Group] = field(default_factory=list[Group])


class TransactionCoordinator:
    """All transactional ids of a cluster.

    Args:
        find_log: finds the log of a partition.
        now: the clock.
    """

    def __init__(
        self, find_log: Callable[[Partition], PartitionLog], now: Callable[[], float]
    ) -> None:
        self._find_log = find_log
        self._now = now
        self._identities: dict[str, _Identity] = defaultdict(self._new)

    def init(self, transactional_id: str, timeout_s: float) -> Session:
        """Fence whoever had the id before."""
        found = self._identities[transactional_id]
        self._fence(found)
        found.timeout_s = timeout_s
        return Session(transactional_id, found.producer_id, found.epoch)

    def append(self, session: Session, at: Partition, row: Row) -> int:
        """Append a record to the open transaction, which may begin by that.

        Raises:
            KafkaException: if the session is fenced.
        """
        found = self._check(session)
        log = self._find_log(at)
        self._begin(found)
        if log not in found.logs:
            found.logs.append(log)
        return log.append(row, found.producer_id)

    def add_offsets(
        self, session: Session, group: Group, member: GroupMetadata, offsets: Offsets
    ) -> None:
        """Put offsets into the open transaction, which may begin by that.

        Raises:
            KafkaException: if the session is fenced, or the group does not know the member.
        """
        found = self._check(session)
        self._begin(found)
        if group not in found.groups:
            found.groups.append(group)
        group.add_pending(found.producer_id, member, offsets)

    def end(self, session: Session, *, commit: bool) -> None:
        """End the open transaction.

        Raises:
            KafkaException: if the session is fenced, or there is nothing to end.
        """
        found = self._check(session)
        if found.began is None and found.last is not commit:
            raise abortable(KafkaError.INVALID_TXN_STATE, "there is no transaction to end")
        self._end(found, commit=commit)

    def expire(self) -> None:
        """Abort what is open for too long."""
        for found in list(self._identities.values()):
            if found.began is not None and self._now() - found.began >= found.timeout_s:
                self._fence(found)

    @property
    def open(self) -> list[str]:
        """The transactional ids with an open transaction."""
        return [name for name, found in self._identities.items() if found.began is not None]

    def _new(self) -> _Identity:
        return _Identity(producer_id=len(self._identities))

    def _begin(self, found: _Identity) -> None:
        if found.began is None:
            found.began = self._now()

    def _fence(self, found: _Identity) -> None:
        if found.began is not None:
            self._end(found, commit=False)
        found.epoch += 1
        found.last = None

    def _end(self, found: _Identity, *, commit: bool) -> None:
        for log in found.logs:
            log.mark(found.producer_id, commit=commit)
        for group in found.groups:
            group.end_pending(found.producer_id, commit=commit)
        found.began, found.logs, found.groups, found.last = None, [], [], commit

    def _check(self, session: Session) -> _Identity:
        found = self._identities[session.transactional_id]
        if session.epoch != found.epoch:
            raise fatal(
                KafkaError._FENCED,
                f"{session.transactional_id} has epoch {found.epoch}, not {session.epoch}",
            )
        return found
