"""Reporting: from what the worker does, batch by batch, to what is told of it.

Batches are added up, which costs microseconds each; at most once in an interval, and once at the
end, a record of progress is made of the sums. Where nothing was read for a while, that is told
as an event of its own: dashboards would take an idle progress for a batch that was committed.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from penstock.engine.batch import Batch
from penstock.engine.failures import Failure
from penstock.engine.restore import RestoreProgress
from penstock.query.events import Idle, Rebalance, Restored, Started, Terminated
from penstock.query.monitor import RECENT, Monitor, Problem
from penstock.query.progress import (
    PartitionProgress,
    Progress,
    SinkProgress,
    SourceProgress,
    StateOperatorProgress,
    behind,
    iso,
    lag_metrics,
    nested,
    rate,
)
from penstock.runtime.gathering import Gathered, latency, sample
from penstock.runtime.headroom import Headroom, Reading
from penstock.runtime.tasks import OwnedTask, Phase
from penstock.topology.graph import Topology

DUPLICATES = "numDroppedDuplicateRows"  # as Spark calls them
IDLE_S = 10.0  # Spark's noDataProgressEventInterval
BEHIND_AFTER = 3  # records of progress, each with more lag than the one before

At = tuple[str, int]
Latest = Callable[[Iterable[At]], dict[At, int]]


class Reporter:
    """Measure the batches of a worker and tell its monitor of them.

    Args:
        monitor: what is told.
        interval_ms: the shortest time between two records of progress.
        now: monotonic seconds.
        now_ms: the wall clock.

    Attributes:
        latest: looks up the ends of inputs, as far as the client knows them; costs no request.
        headroom: how far an input is from losing records, None where nobody knows.
    """

    def __init__(
        self,
        monitor: Monitor,
        *,
        interval_ms: int,
        now: Callable[[], float],
        now_ms: Callable[[], int],
    ) -> None:
        self.monitor = monitor
        self.latest: Latest = lambda _: {}
        self.headroom: Callable[[At], Headroom | None] = lambda _: None
        self._now = now
        self._now_ms = now_ms
        self._interval_s = interval_ms / 1000
        self._open: dict[str, float] = {}
        self._began = self._last = 0.0
        self._began_ms = 0
        self._fetched_s = 0.0
        self._sampled: list[int] = []
        self._newest: dict[At, int] = {}
        self._known: dict[At, int] = {}  # the lag of each input as it was last looked up
        self._gathered: Gathered | None = None
        self._told = 0.0  # when the record before was told
        self._before = 0.0  # when it was begun
        self._spoken = now()  # when anything was told
        self._lag = 0
        self._grew = 0
        self._grew_since = 0.0
        self._rebalances = 0
        self._restored_rows = 0
        self._restore_s = 0.0

    # A batch

    def begin(self, now: float, now_ms: int) -> None:
        """Note that a batch begins."""
        self._began = self._last = now
        self._began_ms = now_ms
        self._fetched_s = 0.0
        self._open, self._sampled = {}, []

    def fetched(self, seconds: float) -> None:
        """Note how long fetching took while the batch was open."""
        self._fetched_s += seconds

    def processed(self, at: At, timestamps: Sequence[int]) -> None:
        """Note that a chunk of records of an input was processed."""
        self._sampled += sample(timestamps)
        self._newest[at] = timestamps[-1]

    def phase(self, name: str, now: float) -> None:
        """Note that a phase has ended: it took since the phase before it."""
        took = now - self._last
        if name == "addBatch":
            self._open["getBatch"] = self._fetched_s
            took = max(0.0, took - self._fetched_s)
        self._open[name] = took
        self._last = now

    def committed(self, batch: Batch, tasks: Iterable[OwnedTask], now: float, now_ms: int) -> None:
        """Add a committed batch."""
        if self._gathered is None:
            self._gathered = Gathered(self._began, self._began_ms)
        gathered, took = self._gathered, now - self._began
        gathered.add(batch, tasks, took)
        gathered.timed({**self._open, "triggerExecution": took})
        gathered.waited(self._sampled, now_ms)

    def failed(self, failures: Sequence[Failure]) -> None:
        """Keep the last of the records that were let go, for people to look at."""
        timestamp = iso(self._now_ms())
        for failure in failures[-RECENT:]:
            self.monitor.problems.append(Problem(timestamp=timestamp, text=str(failure)))

    # The group and the stores

    def rebalanced(self, taken: Sequence[At], given: Sequence[At], all_: Sequence[At]) -> None:
        """Tell that the group has given or taken partitions."""
        self._rebalances += 1
        self.monitor.tell(
            Rebalance(
                **self._common(),
                taken=_by_topic(taken),
                given_back=_by_topic(given),
                assigned=_by_topic(all_),
            )
        )

    def restored(self, progress: RestoreProgress) -> None:
        """Tell that stores were restored."""
        self._restored_rows += progress.records
        self._restore_s += progress.seconds
        self.monitor.tell(
            Restored(
                **self._common(),
                stores=len(progress.complete),
                rows=progress.records,
                duration_ms=round(progress.seconds * 1000),
            )
        )

    # Telling

    def started(self, instance_id: str) -> None:
        """Tell that the run has a slot, and goes on to join the group."""
        self.monitor.instance_id = instance_id
        self.monitor.tell(Started(**self._common()))

    def tick(self, tasks: Collection[OwnedTask], now: float) -> None:
        """Tell what there is to tell, where it is time."""
        if now - self._told < self._interval_s:
            return
        if self._gathered is not None:
            self._tell(tasks, now)
        elif now - self._spoken >= IDLE_S:
            self._spoken = now
            self._lag = self.lag(tasks)
            self.monitor.tell(Idle(**self._common(), lag=self._lag))

    def ended(self, tasks: Collection[OwnedTask], now: float) -> None:
        """Tell the last progress, before the tasks are given up."""
        if self._gathered is not None:
            self._tell(tasks, now)

    def lag(self, tasks: Collection[OwnedTask]) -> int:
        """Return how many records wait in the inputs of tasks, as far as the client knows."""
        return sum(self._lags(tasks)[0].values())

    def readings(self, tasks: Collection[OwnedTask]) -> dict[At, Reading]:
        """Return where the inputs stand that retention may delete; for any thread."""
        repartitions = self.monitor.topology.repartitions
        return {
            at: Reading(offset, self._newest.get(at), waits=self._known.get(at, 1) > 0)
            for owned in tasks
            for at, offset in list(owned.offsets.items())
            if at[0] not in repartitions
        }

    @property
    def known_lag(self) -> int:
        """The lag as it was last told: other threads than the loop's have to do with that.

        The client lets one thread in at a time, and the loop is in it nearly always: another one
        would wait for seconds, and hold the loop up when it is let in.
        """
        return self._lag

    def terminated(self, error: BaseException | None) -> None:
        """Tell that the run has ended."""
        self.monitor.tell(
            Terminated(
                **self._common(),
                exception=None if error is None else str(error),
                error_class=None if error is None else type(error).__name__,
            )
        )

    def _common(self) -> dict[str, Any]:
        monitor = self.monitor
        return {
            "id": monitor.id,
            "run_id": monitor.run_id,
            "instance_id": monitor.instance_id,
            "name": monitor.topology.application,
            "timestamp": iso(self._now_ms()),
        }

    def _tell(self, tasks: Collection[OwnedTask], now: float) -> None:
        gathered = self._gathered
        if gathered is None:
            return
        looked = self._now()
        lags, ends = self._lags(tasks)
        gathered.phases["latestOffset"] += self._now() - looked  # type: ignore[assignment]
        self._follow(sum(lags.values()), now)
        since = gathered.began - self._before if self._before else 0.0
        covered = now - (self._told or gathered.began)
        sources = self._sources(gathered, tasks, ends, lags, since, covered)
        progress = Progress(
            id=self.monitor.id,
            run_id=self.monitor.run_id,
            name=self.monitor.topology.application,
            instance_id=self.monitor.instance_id,
            timestamp=iso(gathered.began_ms),
            batch_id=gathered.last,
            batch_duration=round(gathered.took_s * 1000),
            num_input_rows=gathered.rows,
            input_rows_per_second=rate(gathered.rows, since),
            processed_rows_per_second=rate(gathered.rows, max(0.001, gathered.took_s)),
            duration_ms=_durations(gathered.phases),
            event_time=_event_time(tasks),
            state_operators=_stores(gathered, tasks, self.monitor.topology),
            sources=sources,
            sink=SinkProgress(
                description=", ".join(self._sinks), num_output_rows=gathered.rows_out
            ),
            sinks=self._each_sink(gathered),
            batches=gathered.batches,
            max_batch_duration=round(gathered.longest_s * 1000),
            lag=self._lag,
            falling_behind_ms=self._behind_ms(now),
            latency_ms=latency(gathered.latencies_ms),
            num_dropped_rows=gathered.dropped,
            num_failed_rows=gathered.failed,
            num_dead_letters=gathered.dead_letters,
            num_late_rows=sum(gathered.late.values()),
            rebalances=self._rebalances,
            restored_rows=self._restored_rows,
            restore_ms=round(self._restore_s * 1000),
        )
        self._before, self._told, self._spoken = gathered.began, now, now
        self._gathered = None
        self._rebalances, self._restored_rows, self._restore_s = 0, 0, 0.0
        self.monitor.tell(progress)

    def _follow(self, lag: int, now: float) -> None:
        """Note how the lag goes: more of it each time is falling behind."""
        if lag > self._lag:
            self._grew_since = self._grew_since if self._grew else now
            self._grew += 1
        else:
            self._grew = 0
        self._lag = lag

    def _behind_ms(self, now: float) -> int:
        return round((now - self._grew_since) * 1000) if self._grew >= BEHIND_AFTER else 0

    def _lags(self, tasks: Collection[OwnedTask]) -> tuple[dict[At, int], dict[At, int]]:
        """Return the lag of each input whose end is known, and the ends."""
        positions = {at: n for owned in tasks for at, n in list(owned.offsets.items())}
        ends = {at: end for at, end in self.latest(positions).items() if end >= 0}
        self._known = {at: max(0, end - positions[at]) for at, end in ends.items()}
        return self._known, ends

    def _sources(
        self,
        gathered: Gathered,
        tasks: Collection[OwnedTask],
        ends: Mapping[At, int],
        lags: Mapping[At, int],
        since: float,
        covered: float,
    ) -> tuple[SourceProgress, ...]:
        """Return one source for each sub-topology that the worker has a task of."""
        found: list[SourceProgress] = []
        for part in self.monitor.topology.sub_topologies:
            inputs = sorted(at for owned in tasks if owned.lead.part is part for at in owned.inputs)
            if not inputs:
                continue
            mine = set(inputs)
            rows = sum(n for at, n in gathered.rows_in.items() if at in mine)
            stops = {at: n for at, n in gathered.ends.items() if at in mine}
            found.append(
                SourceProgress(
                    description=f"Kafka[{', '.join(sorted({topic for topic, _ in inputs}))}]",
                    start_offset=nested({a: n for a, n in gathered.starts.items() if a in mine}),
                    end_offset=nested(stops),
                    latest_offset=nested({at: end for at, end in ends.items() if at in mine}),
                    num_input_rows=rows,
                    input_rows_per_second=rate(rows, since),
                    processed_rows_per_second=rate(rows, max(0.001, gathered.took_s)),
                    metrics=lag_metrics(behind(stops, ends)),
                    partitions=self._partitions(inputs, gathered, lags, covered),
                )
            )
        return tuple(found)

    def _partitions(
        self, inputs: Iterable[At], gathered: Gathered, lags: Mapping[At, int], covered: float
    ) -> dict[str, dict[str, PartitionProgress]]:
        found: dict[str, dict[str, PartitionProgress]] = {}
        for at in inputs:
            rows, headroom = gathered.rows_in[at], self.headroom(at)
            found.setdefault(at[0], {})[str(at[1])] = PartitionProgress(
                num_input_rows=rows,
                input_rows_per_second=rate(rows, covered),
                lag=lags.get(at),
                retention_headroom_offsets=headroom.offsets if headroom else None,
                retention_headroom_ms=headroom.milliseconds if headroom else None,
            )
        return found

    @cached_property
    def _sinks(self) -> list[str]:
        nodes = self.monitor.topology
        return sorted({node.detail for node in nodes if node.sink and not node.sink.internal})

    def _each_sink(self, gathered: Gathered) -> tuple[SinkProgress, ...]:
        if len(self._sinks) < 2:
            return ()
        return tuple(
            SinkProgress(description=name, num_output_rows=gathered.rows_by_sink[name])
            for name in sorted({*self._sinks, *gathered.rows_by_sink})
        )


def _by_topic(inputs: Iterable[At]) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for topic, partition in sorted(inputs):
        found[topic] = (*found.get(topic, ()), partition)
    return found


def _durations(phases: Mapping[str, float]) -> dict[str, int]:
    # Spark plans each batch; here the topology is planned once, before the first.
    found = {"queryPlanning": 0} | {name: round(s * 1000) for name, s in phases.items()}
    return dict(sorted(found.items()))


def _event_time(tasks: Iterable[OwnedTask]) -> dict[str, str]:
    clocks = [clock for owned in tasks if owned.task for clock in owned.task.clocks.values()]
    newest = max(clocks, default=-1)  # -1 is the clock that no record has moved
    return {"max": iso(newest)} if newest >= 0 else {}


def _stores(
    gathered: Gathered, tasks: Collection[OwnedTask], topology: Topology
) -> tuple[StateOperatorProgress, ...]:
    running = [owned for owned in tasks if owned.phase is Phase.RUNNING]
    return tuple(
        StateOperatorProgress(
            operator_name=store.name,
            num_rows_updated=gathered.updated[store.name],
            num_rows_dropped_by_watermark=gathered.late[store.name],
            num_state_store_instances=sum(store.name in owned.stores for owned in running),
            num_shuffle_partitions=max(
                (owned.lead.tasks for owned in tasks if store.name in owned.stores), default=0
            ),
            custom_metrics=(
                {DUPLICATES: gathered.duplicates[store.name]}
                if store.name in gathered.duplicates
                else {}
            ),
        )
        for store in topology.stores
        if any(store.name in owned.stores for owned in tasks)
    )
