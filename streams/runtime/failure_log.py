"""What the log says of records that failed and were let go: the first of them, then numbers."""

import logging
from collections import Counter
from collections.abc import Sequence

from penstock.engine.failures import Failure
from penstock.operators.on_error import DeadLetter
from penstock.topology.graph import Topology

log = logging.getLogger("penstock")

EVERY_S = 10.0


class FailureLog:
    """Tell of failures at most every ten seconds for each input topic.

    Args:
        topology: knows what becomes of them.
    """

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._told_at: dict[str, float] = {}
        self._untold: Counter[str] = Counter()

    def tell(self, failures: Sequence[Failure], now: float) -> None:
        """Tell of what a committed batch has let go.

        Args:
            failures: of one task.
            now: monotonic seconds.
        """
        for failure in failures:
            self._untold[failure.topic] += 1
            if now - self._told_at.get(failure.topic, -EVERY_S) >= EVERY_S:
                self._told_at[failure.topic] = now
                self._warn(failure)

    def _warn(self, last: Failure) -> None:
        policy = self._topology.on_error_of(last.topic)
        where = f"a dead letter in {policy.topic}" if isinstance(policy, DeadLetter) else "skipped"
        more = self._untold.pop(last.topic) - 1
        before = f" {more} records of {last.topic} before it, too." if more else ""
        log.warning("%s. The record is %s.%s", last, where, before)
