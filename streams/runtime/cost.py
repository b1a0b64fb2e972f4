"""Cost: what processing a record takes, and so how many are processed at a time."""

import logging

from penstock.errors import DataError
from penstock.operators.source import Fetched
from penstock.runtime.faults import Abortable
from penstock.runtime.settings import Settings

log = logging.getLogger("penstock")

FIRST_CHUNK = 100  # until the cost of a record is known, it may be high


class RecordCost:
    """Measure chunks, and find records that outlast the transaction.

    The first time that may be anything: the process may have been stopped (SIGSTOP, a suspended
    machine) meanwhile. So the records are run again, one by one, and one that is too slow then
    is to blame.

    Args:
        settings: how long a chunk may take, and a transaction be open.
    """

    def __init__(self, settings: Settings) -> None:
        self._most_records = settings.commit.chunk_records
        self._chunk_s = settings.commit.chunk_ms / 1000
        self._limit_s = settings.kafka.transaction_timeout_ms / 1000
        self._cost_s = 0.0
        self._suspects: dict[tuple[str, int], int] = {}  # up to where one is too slow

    def records(self) -> int:
        """So many that processing them takes about `chunk_ms`."""
        if not self._cost_s:
            return FIRST_CHUNK
        return max(1, min(self._most_records, int(self._chunk_s / self._cost_s)))

    def records_of(self, fetched: Fetched) -> int:
        """The same for these: one at a time where they took too long before."""
        return 1 if self._is_suspect(fetched) else self.records()

    def measured(self, fetched: Fetched, seconds: float) -> None:
        """Note what processing records has taken.

        Raises:
            Abortable: if that is longer than a transaction may be open.
            DataError: if it is so for the second time, and this record's doing.
        """
        records = len(fetched.offsets)
        cost = seconds / records
        self._cost_s = cost if not self._cost_s else 0.8 * self._cost_s + 0.2 * cost
        if seconds < self._limit_s / 2:
            return
        self._cost_s = max(self._cost_s, cost)
        at = f"{fetched.topic}/{fetched.partition} from offset {fetched.offsets[0]}"
        took = f"Processing {records} records of {at} took {seconds:.1f} s"
        if seconds <= self._limit_s:
            log.warning("%s, of %g s that a transaction may be open.", took, self._limit_s)
            return
        took = f"{took}, longer than the transaction may be open ({self._limit_s:g} s)"
        if self._is_suspect(fetched):
            raise DataError(
                f"{took}, again. Make the function faster, or raise"
                " KafkaSettings.transaction_timeout_ms (and max_poll_interval_ms above it).",
                topic=fetched.topic,
                partition=fetched.partition,
                offset=fetched.offsets[0],
            )
        self._suspects[fetched.topic, fetched.partition] = fetched.next_offset
        raise Abortable(
            f"{took}: a function is too slow, or the process was stopped. The records are run"
            " again one by one, and one that takes as long again is to blame"
        )

    def _is_suspect(self, fetched: Fetched) -> bool:
        """Whether records took too long before, together with others or alone."""
        return fetched.offsets[0] < self._suspects.get((fetched.topic, fetched.partition), -1)
