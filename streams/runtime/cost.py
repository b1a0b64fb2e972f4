"""Cost: what the user's functions take, and so how much is done at a time.

Nobody can interrupt a function, and while one runs the worker neither polls nor commits. So what is
begun has to end long before the timeouts: chunks are cut by what a record of their topic takes,
batches by what it takes to hand on what they have changed, and what is closed at a time by what a
result takes. What nobody knows yet begins with one, and grows tenfold.
"""

import logging
from dataclasses import dataclass

from penstock.engine.batch import Batch
from penstock.engine.flush import Spent
from penstock.errors import DataError
from penstock.operators.source import Fetched
from penstock.runtime.faults import Abortable
from penstock.runtime.settings import Settings
from penstock.topology.graph import Topology

log = logging.getLogger("penstock")

FIRST_FETCH = 100
GROWTH = 10
WEIGHT = 0.2
HANDING_ON = 0.25  # of the time that a transaction may be open


@dataclass
class Cost:
    """What one kind of work takes.

    Attributes:
        seconds: for each, a moving average.
        most: how many were done at once at most.
        last: how many were done last.
    """

    seconds: float = 0.0
    most: int = 0
    last: int = 0

    def learn(self, count: int, seconds: float, alarm_s: float) -> None:
        """Note what so many have taken; from alarm_s on that counts at once, and not by and by.

        Many that are cheap outweigh the few before, to which all belonged that is not theirs.
        """
        each = seconds / count
        weight = max(WEIGHT, count / (count + self.last)) if each < self.seconds else WEIGHT
        known = (1 - weight) * self.seconds + weight * each if self.last else each
        self.seconds = known if seconds < alarm_s else max(known, each)
        self.most, self.last = max(self.most, count), count

    def within(self, seconds: float) -> int:
        """How many take so long: one or more, and ten times as many as there ever were at most.

        The first ones may have been cheap by chance.
        """
        most = max(1, GROWTH * self.most)
        return max(1, min(most, int(seconds / self.seconds))) if self.seconds else most


class RecordCost:
    """Measure chunks and flushes, and find records that outlast the transaction.

    The first time that may be anything: the process may have been stopped (SIGSTOP, a suspended
    machine) meanwhile. So the records are run again, one by one, and one that is too slow then
    is to blame.

    Args:
        settings: how long a chunk may take, and a transaction be open.
        topology: whether functions run at a flush at all.
    """

    def __init__(self, settings: Settings, topology: Topology) -> None:
        commit = settings.commit
        self._most_records = commit.chunk_records
        self._chunk_s = commit.chunk_ms / 1000
        self._limit_s = settings.kafka.transaction_timeout_ms / 1000
        self._mixed_s = 0.0
        self._topics: dict[str, Cost] = {}
        begin = 0 if topology.works_behind_stores else commit.max_batch_records
        self._changes, self._closings = Cost(most=begin), Cost(most=begin)
        self._suspects: dict[tuple[str, int], int] = {}  # up to where one is too slow

    def records(self) -> int:
        """So many to fetch that processing them takes about `chunk_ms`, whatever their topics."""
        if not self._mixed_s:
            return FIRST_FETCH
        return max(1, min(self._most_records, int(self._chunk_s / self._mixed_s)))

    def records_of(self, fetched: Fetched) -> int:
        """How many of these to process: one at a time where they took too long before."""
        known = self._topics.get(fetched.topic)
        if known is None or self._is_suspect(fetched):
            return 1
        if not known.seconds:  # no clock that ticks has measured it
            return FIRST_FETCH
        return min(self._most_records, known.within(self._chunk_s))

    def room(self, batch: Batch, most: int) -> int:
        """How many records may still come into a batch, at most `most`."""
        return max(1, min(most, self._most_changes - batch.rows))

    def fills(self, batch: Batch) -> bool:
        """Whether a batch has changed as much as can be handed on in time."""
        return batch.rows >= self._most_changes

    def closings(self) -> int:
        """How many results of closed windows, or timers, to hand on in one flush."""
        return self._closings.within(self._handing_on_s)

    def measured(self, fetched: Fetched, seconds: float) -> None:
        """Note what processing records has taken.

        Raises:
            Abortable: if that is longer than a transaction may be open.
            DataError: if it is so for the second time, and this record's doing.
        """
        records = len(fetched.offsets)
        cost, alarm_s = seconds / records, self._limit_s / 2
        known = self._topics.setdefault(fetched.topic, Cost())
        known.learn(records, seconds, alarm_s)
        self._mixed_s = cost if not self._mixed_s else 0.8 * self._mixed_s + 0.2 * cost
        if seconds >= alarm_s:
            self._mixed_s = max(self._mixed_s, cost)
            self.judge(fetched, seconds)

    def judge(self, fetched: Fetched, seconds: float) -> None:
        """Tell that records took long, or what follows if it was too long.

        Raises:
            Abortable: as `measured` does.
            DataError: as `measured` does.
        """
        at = f"{fetched.topic}/{fetched.partition} from offset {fetched.offsets[0]}"
        took = f"Processing {len(fetched.offsets)} records of {at} took {seconds:.1f} s"
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

    def flushed(self, batch: Batch, spent: Spent) -> None:
        """Note what handing on the changes of a batch has taken, and what was closed.

        Raises:
            Abortable: if that is longer than a transaction may be open.
        """
        alarm_s = self._handing_on_s
        # Each record may be several changes; those of others, with no store behind them, are none.
        if rows := min(batch.rows, spent.changed):
            self._changes.learn(rows, spent.changes_s, alarm_s)
        self._changes.most = max(self._changes.most, batch.rows)
        if spent.closed or spent.closing_s > alarm_s:
            self._closings.learn(max(1, spent.closed), spent.closing_s, alarm_s)
        seconds = spent.changes_s + spent.closing_s
        if seconds > self._limit_s:
            raise Abortable(
                f"handing on the changes of {batch.rows} records and {spent.closed} results of"
                f" closed windows or timers took {seconds:.1f} s, longer than the transaction may"
                f" be open ({self._limit_s:g} s): a function behind a store is too slow, or the"
                " process was stopped. The batch is run again with fewer of them. Where that goes"
                " on, make the function faster, or raise KafkaSettings.transaction_timeout_ms (and"
                " max_poll_interval_ms above it)"
            )

    @property
    def _handing_on_s(self) -> float:
        return HANDING_ON * self._limit_s

    @property
    def _most_changes(self) -> int:
        return self._changes.within(self._handing_on_s)

    def _is_suspect(self, fetched: Fetched) -> bool:
        """Whether records took too long before, together with others or alone."""
        return fetched.offsets[0] < self._suspects.get((fetched.topic, fetched.partition), -1)
