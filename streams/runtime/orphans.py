"""Orphans: partitions that a rebalance has left to nobody.

A partition that moves is given to nobody before its owner has given it back. A static member
that is killed and replaced in between comes back without a rebalance, and without that
partition: nobody has it, and nothing begins another rebalance (seen on Kafka 4.3.1). So the
group is looked at after each rebalance, without the loop waiting for the answer, until every
partition has an owner; then not before the next one.

Rule 1: only what is nobody's in two looks in a row, the group being stable in both, is orphaned.
        Owners who are alive mostly need less to give something back; where one needs longer,
        a rebalance that begins sooner does no harm.
Rule 2: the member with the smallest id begins a rebalance then. Where it cannot (its loop may be
        at a long record), the next one does so one look later, and so on.
Rule 3: the admin client is asked for a group only while its coordinator answers. Where that one
        is away, the client may end the process with an assertion once it comes back (librdkafka
        #4605, in 2.16.0 too); the consumer's own requests do not.
"""

import logging
from dataclasses import dataclass, field
from math import inf

from penstock.engine.assignment import LeadMap
from penstock.errors import BrokerError
from penstock.runtime.consumer import InputConsumer
from penstock.topics.admin import Admin, Owners, Pending

log = logging.getLogger("penstock")

ENOUGH_LOOKS = 2
ANSWER_TIMEOUT_S = 0.5


@dataclass
class OrphanWatch:
    """Look for orphans after each rebalance, and begin another one where there are any.

    Args:
        admin: asks the cluster.
        consumer: the member that this worker is.
        group: the application id.
        leads: what has to have an owner.
        interval_ms: from a rebalance to the first look, and from one to the next.
    """

    admin: Admin
    consumer: InputConsumer
    group: str
    leads: LeadMap
    interval_ms: float
    _next_ms: float = inf
    _pending: Pending[Owners] | None = None
    _looks: int = 0
    _orphans: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])

    def rebalanced(self, now_ms: float) -> None:
        """Note that the group has shared its partitions out anew.

        Args:
            now_ms: monotonic milliseconds.
        """
        self._next_ms, self._pending, self._looks = now_ms + self.interval_ms, None, 0

    def check(self, now_ms: float) -> None:
        """Look if it is time, and do what there is to do.

        Args:
            now_ms: monotonic milliseconds.
        """
        if self._pending is None:
            if now_ms >= self._next_ms:
                self._next_ms = now_ms + self.interval_ms
                if self._answers():
                    self._pending = self.admin.owners(self.group)
                else:
                    self._looks = 0
        elif self._pending.done():
            found, self._pending = self._pending.result(), None
            self._consider(found)

    def _answers(self) -> bool:
        """Whether the coordinator does, asked for something that costs it nothing."""
        try:
            found = self.consumer.committed([min(self._every())], ANSWER_TIMEOUT_S)
        except BrokerError:
            return False  # what is wrong with the group, those say who need it
        return found is not None

    def _consider(self, found: Owners | None) -> None:
        if found is None or not found.stable:
            self._looks = 0
            return
        orphans = self._every().difference(*found.members.values())
        if not orphans:
            self._next_ms = inf
            return
        self._looks = self._looks + 1 if orphans & self._orphans else 1
        self._orphans = orphans
        members = sorted(found.members)
        me = self.consumer.member_id
        if me in members and self._looks >= ENOUGH_LOOKS + members.index(me):
            self._looks = 0
            log.warning(
                "Nobody has %s of the group %s: a worker has ended before it gave back what was to"
                " move. Joining the group again, so that it is shared out anew.",
                ", ".join(f"{topic}/{number}" for topic, number in sorted(orphans)),
                self.group,
            )
            self.consumer.rejoin()

    def _every(self) -> set[tuple[str, int]]:
        leads = self.leads.leads.values()
        return {(lead.topic, number) for lead in leads for number in range(lead.tasks)}
