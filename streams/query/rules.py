"""Rules: when the progress of a query is something that a person should hear of.

A rule sees what was told since the last look, and says in words what is wrong, or None. What has
to last is counted by the rule itself, from the times of the records: a rule belongs to one query.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from penstock.query.monitor import TaskView
from penstock.query.progress import Progress


@dataclass(frozen=True)
class Look:
    """What there is to see of a query.

    Attributes:
        now_s: monotonic seconds.
        told: the records of progress since the last look, oldest first.
        tasks: what the worker has been given.
        ended: whether it has ended.
        error: what ended it, in words; None for a stop.
    """

    now_s: float
    told: Sequence[Progress] = ()
    tasks: Sequence[TaskView] = ()
    ended: bool = False
    error: str | None = None


class Rule(Protocol):
    """One thing to watch for.

    Attributes:
        name: says what, in a word or two.
    """

    name: str

    def judge(self, look: Look) -> str | None:
        """Return what is wrong, in words, None where nothing is."""
        ...


@dataclass
class TerminatedRule:
    """The query has ended.

    Attributes:
        on_stop: whether a stop in order counts, too.
    """

    on_stop: bool
    name: str = "terminated"

    def judge(self, look: Look) -> str | None:
        """Return why it has ended."""
        if not look.ended or (look.error is None and not self.on_stop):
            return None
        return f"The query has ended: {look.error or 'it was stopped.'}"


@dataclass
class FallingBehindRule:
    """More comes in than is processed.

    Attributes:
        records: for how many records of progress in a row.
    """

    records: int
    name: str = "falling-behind"
    _lags: list[int] = field(default_factory=list[int])

    def judge(self, look: Look) -> str | None:
        """Return how the lag has grown."""
        for progress in look.told:
            if self._lags and progress.lag <= self._lags[-1]:
                self._lags = []
            self._lags.append(progress.lag)
        if len(self._lags) <= self.records:
            return None
        return (
            f"More comes than is processed: the lag has grown {len(self._lags) - 1} times in a row,"
            f" from {self._lags[0]} to {self._lags[-1]} records. Start another worker, if there are"
            " partitions for it."
        )


@dataclass
class LagRule:
    """Too much waits.

    Attributes:
        over: records.
        for_s: for how long.
    """

    over: int
    for_s: float
    name: str = "lag"
    _since: float | None = None
    _lag: int = 0

    def judge(self, look: Look) -> str | None:
        """Return how much waits."""
        for progress in look.told:
            self._lag = progress.lag
        if self._lag <= self.over:
            self._since = None
            return None
        self._since = look.now_s if self._since is None else self._since
        if look.now_s - self._since < self.for_s:
            return None
        return f"{self._lag} records wait, of {self.over} that may."


@dataclass
class ShareRule:
    """Too many of the records come too late.

    Attributes:
        over: the share, from 0 to 1.
        least: of at least so many records.
    """

    over: float
    least: int
    name: str = "late"
    _rows: int = 0
    _late: int = 0
    _found: str | None = None

    def judge(self, look: Look) -> str | None:
        """Return the share."""
        for progress in look.told:
            self._rows += progress.num_input_rows
            self._late += progress.num_late_rows
            if self._rows >= self.least:
                self._found = self._judged()
                self._rows = self._late = 0
        return self._found

    def _judged(self) -> str | None:
        share = self._late / self._rows
        if share <= self.over:
            return None
        return (
            f"{share:.1%} of the last {self._rows} records came too late for their window, of"
            f" {self.over:.1%} that may. Raise the grace, or look at what sends old records."
        )


@dataclass
class StateRule:
    """A store grows too large.

    Attributes:
        over_rows: keys of all stores of a worker together.
    """

    over_rows: int
    name: str = "state"
    _rows: int = 0
    _largest: str = ""

    def judge(self, look: Look) -> str | None:
        """Return how large."""
        for progress in look.told[-1:]:
            sizes = {of.operator_name: of.num_rows_total for of in progress.state_operators}
            self._rows = sum(sizes.values())
            self._largest = max(sizes, key=sizes.__getitem__, default="")
        if self._rows <= self.over_rows:
            return None
        return (
            f"The worker's stores hold {self._rows} keys, of {self.over_rows} that may; most are in"
            f" {self._largest}. Bound it with a window, a TTL or deletes, or start another worker."
        )


@dataclass
class RestoreRule:
    """Restoring takes too long.

    Attributes:
        longer_s: seconds.
    """

    longer_s: float
    name: str = "restore"
    _since: float | None = None

    def judge(self, look: Look) -> str | None:
        """Return what is still to be restored."""
        left = [
            (store.name, task.partition, store.remaining)
            for task in look.tasks
            for store in task.stores
            if not store.restored
        ]
        if not left:
            self._since = None
            return None
        self._since = look.now_s if self._since is None else self._since
        took_s = look.now_s - self._since
        if took_s <= self.longer_s:
            return None
        names = ", ".join(f"{name}/{partition}" for name, partition, _ in left[:8])
        return (
            f"Restoring has taken {took_s:.0f} s so far; at most"
            f" {sum(remaining for *_, remaining in left)} changelog records are left of {names}."
        )


@dataclass
class DeadLetterRule:
    """Records fail.

    Attributes:
        over: how many may, within the time.
        within_s: the time.
    """

    over: int
    within_s: float
    name: str = "failed-records"
    _failed: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])

    def judge(self, look: Look) -> str | None:
        """Return how many."""
        failed = sum(progress.num_failed_rows for progress in look.told)
        if failed:
            self._failed.append((look.now_s, failed))
        self._failed = [(at, n) for at, n in self._failed if look.now_s - at <= self.within_s]
        total = sum(n for _, n in self._failed)
        if total <= self.over:
            return None
        return (
            f"{total} records failed within {self.within_s:g} s and were skipped or became dead"
            " letters; the log names the first of them."
        )


@dataclass
class HeadroomRule:
    """The broker is about to delete what was not read yet.

    Attributes:
        less_s: seconds that should be left.
        less_offsets: offsets that should be left.
    """

    less_s: float
    less_offsets: int
    name: str = "retention-headroom"
    _found: str | None = None

    def judge(self, look: Look) -> str | None:
        """Return which partitions, and how much is left."""
        for progress in look.told[-1:]:
            self._found = self._near(progress)
        return self._found

    def _near(self, progress: Progress) -> str | None:
        near: list[str] = []
        for source in progress.sources:
            for topic, partitions in source.partitions.items():
                for number, of in partitions.items():
                    ms, offsets = of.retention_headroom_ms, of.retention_headroom_offsets
                    if ms is not None and ms < self.less_s * 1000:
                        near.append(f"{topic}/{number} {ms / 1000:.0f} s")
                    elif offsets is not None and offsets < self.less_offsets:
                        near.append(f"{topic}/{number} {offsets} offsets")
        if not near:
            return None
        return (
            "Retention is about to delete records that were not processed yet:"
            f" {', '.join(near[:8])} left. Raise retention.ms of the topic now, and start another"
            " worker."
        )
