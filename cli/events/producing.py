"""A run of `penstock produce`: events at a pace, in the given disorder, to a topic.

Rule 1. A record that fails, and an event that is wrong, end the run; the summary says so.
Rule 2. A record's timestamp is the time of its event.
Rule 3. What is sent is a function of the events, the seed and the shares, and not of the pace.

The topic comes from `target`, events from `templates`, `models` and `files`; `pacing` and
`disorder` are pure, `sending` talks to the brokers, and the terminal is `produce`'s business.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from penstock.cli.events.disorder import Disorder, Kind, Shares, columns
from penstock.cli.events.pacing import EventTimes, Pace, Schedule
from penstock.cli.events.protocol import Due, Events, poisoned
from penstock.cli.events.sending import KeyPartitions, Sender
from penstock.cli.events.summary import Summary
from penstock.cli.target import Target
from penstock.errors import PenstockError
from penstock.runtime.clock import now_ms

BLOCK_ROWS = 5_000
BLOCK_BYTES = 1_000_000
PROGRESS_S = 0.05
# Up to here each record is a request of its own, so that it arrives when it was due.
PROMPT_RATE = 2_000


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How events become records.

    Attributes:
        pace: how fast and how much; left out, as fast as it goes until it is stopped.
        shares: how many of them are late, duplicate, out of order or poison.
        seed: of the kinds of records.
        start_ms: when the first event happens; None is now.
        count_keys: whether records are counted by key.
    """

    pace: Pace = field(default_factory=Pace)
    shares: Shares = field(default_factory=Shares)
    seed: int = 0
    start_ms: int | None = None
    count_keys: bool = False


def produce_events(
    target: Target,
    events: Events,
    plan: Plan = Plan(),
    *,
    stop: threading.Event | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Summary:
    """Send events until the pace is served, they or `stop` end it, or one fails; then flush.

    Returns once every record is acknowledged or has failed, which takes up to 30 seconds
    more if the brokers do not answer: look at `failed`, or call `raise_for_failed`.

    Args:
        target: what `find_topic` returned.
        events: where they come from; they go on where they stand.
        plan: how they are sent.
        stop: ends the run at the next block.
        on_progress: called with the records sent so far, every 50 ms or after a block.
    """
    run = _Run(target, events, plan)
    run.go(stop or threading.Event(), on_progress or (lambda _: None))
    return run.summary()


class _Run:
    """The way of events to the topic."""

    def __init__(self, target: Target, events: Events, plan: Plan) -> None:
        self._target, self._events, self._plan = target, events, plan
        self._partitions = KeyPartitions(target.partitions)
        self._times = EventTimes(plan.pace, plan.start_ms)
        self._disorder: Disorder | None = None
        if plan.shares != Shares(late_by_ms=plan.shares.late_by_ms):
            self._disorder = Disorder(
                plan.shares, plan.seed, lambda value: poisoned(value, events.decode)
            )
        rate = plan.pace.rate
        self._sender = Sender(
            target,
            prompt=rate is not None and rate <= PROMPT_RATE,
            count_keys=plan.count_keys,
        )
        self._block_rows = max(1, min(BLOCK_ROWS, BLOCK_BYTES // max(events.row_bytes, 1)))
        self._seconds = 0.0
        self._error: PenstockError | None = None

    def go(self, stop: threading.Event, on_progress: Callable[[int], None]) -> None:
        """Send all there is to send."""
        start_s = told_s = time.monotonic()
        schedule = Schedule(self._plan.pace, block_rows=self._block_rows, start_s=start_s)
        while not (stop.is_set() or self._over() or schedule.finished(now_s := time.monotonic())):
            if rows := schedule.due(now_s):
                schedule.sent += self._next(rows)
            if now_s - told_s >= PROGRESS_S:
                on_progress(schedule.sent)
                told_s = now_s
            if not schedule.due(now_s := time.monotonic()) and not schedule.finished(now_s):
                stop.wait(schedule.wait_s(now_s))
        if self._disorder is not None and (rest := self._disorder.rest()):
            self._sender.send(*columns(rest))
        self._sender.flush()
        on_progress(schedule.sent)
        self._seconds = time.monotonic() - start_s

    def _over(self) -> bool:
        return bool(self._sender.failed or self._error or self._events.ended)

    def _next(self, records: int) -> int:
        """Send the next records; return how many there were."""
        try:
            if self._disorder is not None:
                return self._next_disordered(records, self._disorder)
            rows = self._events.take(Due(self._times.next(records, now_ms())))
        except PenstockError as error:
            self._error = error
            return 0
        self._times.made(len(rows.values))
        self._sender.send(rows, self._partitions.of(rows), None)
        return len(rows.values)

    def _next_disordered(self, records: int, disorder: Disorder) -> int:
        made = [kind for kind in disorder.plan(records) if kind is not Kind.DUPLICATE]
        late_by = self._plan.shares.late_by_ms
        back = [late_by if kind is Kind.LATE else 0 for kind in made]
        rows = self._events.take(Due(self._times.next(len(made), now_ms()), back))
        self._times.made(len(rows.values))
        sent, used = disorder.arrange(records, rows, self._partitions.of(rows))
        if sent:
            self._sender.send(*columns(sent))
        return used

    def summary(self) -> Summary:
        """Sum the run up."""
        sender, partitions = self._sender, self._sender.partitions()
        return Summary(
            topic=self._target.topic,
            seed=self._plan.seed,
            records=sum(at.records for at in partitions.values()),
            kinds=sender.kinds(),
            partitions=partitions,
            bytes=sender.bytes,
            seconds=self._seconds,
            keys=self._partitions.distinct(),
            key_counts=None if sender.key_counts is None else +sender.key_counts,
            first_timestamp=sender.first_timestamp,
            last_timestamp=sender.last_timestamp,
            failed=sender.failed,
            failure=sender.failure,
            error=self._error,
        )
