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
from penstock.errors import StateError
from penstock.operators.deliver import Deliver
from penstock.operators.observe import Observe
from penstock.query.events import Idle, Rebalance, Restored, Started, Terminated
from penstock.query.monitor import RECENT, Monitor, Problem
from penstock.query.progress import (
    PartitionProgress,
    Progress,
    SinkProgress,
    SourceProgress,
    StateOperatorProgress,
    iso,
    lag_metrics,
    nested,
    rate,
)
from penstock.runtime.gathering import Gathered, latency, sample
from penstock.runtime.headroom import Headroom, Reading
from penstock.runtime.tasks import OwnedTask, Phase
from penstock.state.overlay import Overlay
from penstock.state.store import Usage
from penstock.topology.event_time import late_topics, watermark

DUPLICATES = "numDroppedDuplicateRows"  # as Spark calls them
ESTIMATE = "numRowsTotalIsEstimate"
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
        self._fetching: float | None = None  # since when
        self._fetched_s = self._waited_s = 0.0
        self._sampled: list[int] = []
        self._newest: dict[At, int] = {}
        self._known: dict[At, int] = {}  # the lag of each input as it was last looked up
        self._gathered: Gathered | None = None
        self._told = 0.0  # when the record before was told
        self._looked = 0.0  # when the lag was looked up without a record
        self._before = 0.0  # when it was begun
        self._spoken = now()  # when anything was told
        self._lag = 0
        self._grew = 0
        self._grew_since = 0.0
        self._rebalances = 0
        self._restored_rows = 0
        self._restore_s = self._rebalance_s = self._waiting_s = 0.0
        self._wrote_s: dict[str, float] = {}

    # A batch

    def begin(self, now: float, now_ms: int) -> None:
        """Note that a batch begins."""
        self._began = self._last = now
        self._began_ms = now_ms
        self._fetched_s = self._waited_s = 0.0
        self._open, self._sampled = {}, []

    def fetching(self, now: float) -> None:
        """Note that records are fetched."""
        self._fetching = now

    def fetched(self, now: float, waited_s: float) -> None:
        """Note that records were fetched, and for how long there was none."""
        if self._fetching is not None:
            waited_s = min(waited_s, now - self._fetching)
            self._waited_s += waited_s
            self._fetched_s += now - self._fetching - waited_s
        self._fetching = None

    def processed(self, at: At, timestamps: Sequence[int]) -> None:
        """Note that a chunk of records of an input was processed."""
        self._sampled += sample(timestamps)
        self._newest[at] = timestamps[-1]

    def phase(self, name: str, now: float) -> None:
        """Note that a phase has ended: it took since the phase before it."""
        took = now - self._last
        if name == "addBatch":
            if self._fetching is not None:  # it ends in a callback of the group
                self.fetched(now, now - self._fetching)
            self._open["getBatch"] = self._fetched_s
            took = max(0.0, took - self._fetched_s - self._waited_s)
        self._open[name] = took
        self._last = now

    def wrote(self, store: str, seconds: float) -> None:
        """Note how long it took to take what is committed into a store, or to write it."""
        self._wrote_s[store] = self._wrote_s.get(store, 0.0) + seconds

    def committed(self, batch: Batch, tasks: Iterable[OwnedTask], now_ms: int) -> None:
        """Add a committed batch, all of whose phases have ended."""
        gathered = self._gathered
        if gathered is None:
            self._gathered = gathered = Gathered(self._began, self._began_ms)
        gathered.add(batch, tasks, self._open)
        self.monitor.totals.committed(batch, sum(self._open.values()))
        gathered.waited(self._sampled, now_ms)
        self._waiting_s += self._waited_s

    def failed(self, failures: Sequence[Failure]) -> None:
        """Keep the last of the records that were let go, for people to look at."""
        timestamp = iso(self._now_ms())
        for failure in failures[-RECENT:]:
            self.monitor.problems.append(Problem(timestamp=timestamp, text=str(failure)))

    # The group and the stores

    def rebalanced(
        self, taken: Sequence[At], given: Sequence[At], all_: Sequence[At], seconds: float = 0.0
    ) -> None:
        """Tell that the group has given or taken partitions."""
        self._rebalances += 1
        self._rebalance_s += seconds
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
            self._tell(self._gathered, tasks, now)
            return
        if now - self._looked >= self._interval_s:  # others see the lag: it is as new as progress
            self._looked = now
            self._lag = self.lag(tasks)
        if now - self._spoken >= IDLE_S:
            self._spoken = now
            assigned = _by_topic([at for owned in tasks for at in owned.inputs])
            self.monitor.tell(Idle(**self._common(), lag=self._lag, assigned=assigned))

    def ended(self, tasks: Collection[OwnedTask], now: float) -> None:
        """Tell the last progress, before the tasks are given up."""
        if self._gathered is not None:
            self._tell(self._gathered, tasks, now)

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
    def known_lags(self) -> dict[At, int]:
        """The lags as they were last told: other threads than the loop's have to do with that.

        The client lets one thread in at a time, and the loop is in it nearly always: another one
        would wait for seconds, and hold the loop up when it is let in.
        """
        return self._known

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

    def _tell(self, gathered: Gathered, tasks: Collection[OwnedTask], now: float) -> None:
        began = self._now()
        lags, ends = self._lags(tasks)
        gathered.phases["latestOffset"] = looked_s = self._now() - began
        gathered.took_s += looked_s
        self._follow(sum(lags.values()), now)
        since = gathered.began - self._before if self._before else 0.0
        covered = now - (self._told or gathered.began)
        sources = self._sources(gathered, tasks, ends, lags, since, covered)
        parts = {owned.lead.part for owned in tasks}
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
            duration_ms=_durations(gathered),
            event_time=_event_time(gathered, tasks),
            state_operators=self._stores(gathered, tasks),
            sources=sources,
            sink=SinkProgress(
                description=", ".join(self._sinks), num_output_rows=gathered.rows_out
            ),
            observed_metrics=gathered.observations(
                node.operator
                for node in self.monitor.topology
                if isinstance(node.operator, Observe) and any(node in of.nodes for of in parts)
            ),
            sinks=self._each_sink(gathered),
            batches=gathered.batches,
            max_batch_duration=round(gathered.longest_s * 1000),
            waiting_ms=round(self._waiting_s * 1000),
            lag=self._lag,
            falling_behind_ms=self._behind_ms(now),
            latency_ms=latency(gathered.latencies_ms),
            num_dropped_rows=gathered.dropped,
            num_failed_rows=gathered.failed,
            num_dead_letters=gathered.dead_letters,
            num_late_rows=gathered.late_records,
            rebalances=self._rebalances,
            restored_rows=self._restored_rows,
            restore_ms=round(self._restore_s * 1000),
            rebalance_ms=round(self._rebalance_s * 1000),
        )
        self._before, self._told, self._spoken = gathered.began, now, now
        self._gathered = None
        self._rebalances, self._restored_rows, self._wrote_s = 0, 0, {}
        self._restore_s = self._rebalance_s = self._waiting_s = 0.0
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
        # What the client has last seen of an end may be behind what we have read since.
        ends = {
            at: max(end, positions[at]) for at, end in self.latest(positions).items() if end >= 0
        }
        self._known = {at: end - positions[at] for at, end in ends.items()}
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
        """Return one source for each sub-topology that the worker has a task of, or had."""
        positions = {at: n for owned in tasks for at, n in owned.offsets.items()}
        starts, stops = positions | gathered.starts, positions | gathered.ends
        owned_inputs = {at for owned in tasks for at in owned.inputs}
        found: list[SourceProgress] = []
        for part in self.monitor.topology.sub_topologies:
            inputs = sorted(at for at in owned_inputs | starts.keys() if at[0] in part.topics)
            if not inputs:
                continue
            rows = sum(gathered.rows_in[at] for at in inputs)
            found.append(
                SourceProgress(
                    description=f"Kafka[{', '.join(sorted({topic for topic, _ in inputs}))}]",
                    start_offset=_of(inputs, starts),
                    end_offset=_of(inputs, stops),
                    latest_offset=_of(inputs, ends),
                    num_input_rows=rows,
                    input_rows_per_second=rate(rows, since),
                    processed_rows_per_second=rate(rows, max(0.001, gathered.took_s)),
                    metrics=lag_metrics([lags[at] for at in inputs if at in lags]),
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

    def _stores(
        self, gathered: Gathered, tasks: Collection[OwnedTask]
    ) -> tuple[StateOperatorProgress, ...]:
        found: list[StateOperatorProgress] = []
        for store in self.monitor.topology.stores:
            having = [owned for owned in tasks if store.name in owned.stores]
            if not having and store.name not in gathered.updated:
                continue
            found.append(_store(store.name, gathered, having, self._wrote_s.get(store.name, 0.0)))
        return tuple(found)

    @cached_property
    def _sinks(self) -> list[str]:
        """The outputs, as their steps name them."""
        nodes = [node for node in self.monitor.topology if not (node.sink and node.sink.internal)]
        topics = {node.detail for node in nodes if node.sink}
        others = {node.operator.kind for node in nodes if isinstance(node.operator, Deliver)}
        return sorted(topics | others | late_topics(self.monitor.topology))

    def _each_sink(self, gathered: Gathered) -> tuple[SinkProgress, ...]:
        if len(self._sinks) < 2 and len(gathered.rows_by_sink) < 2:
            return ()
        chosen = {
            node.detail for node in self.monitor.topology if node.sink and callable(node.sink.topic)
        }
        return tuple(
            SinkProgress(description=name, num_output_rows=gathered.rows_by_sink[name])
            for name in sorted({*self._sinks, *gathered.rows_by_sink} - chosen)
        )


def _by_topic(inputs: Iterable[At]) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for topic, partition in sorted(inputs):
        found[topic] = (*found.get(topic, ()), partition)
    return found


def _of(inputs: Collection[At], offsets: Mapping[At, int]) -> dict[str, dict[str, int]]:
    return nested({at: offsets[at] for at in inputs if at in offsets})


def _durations(gathered: Gathered) -> dict[str, int]:
    # Spark plans each batch; here the topology is planned once, before the first.
    phases = {"queryPlanning": 0.0, **gathered.phases, "triggerExecution": gathered.took_s}
    return {name: round(seconds * 1000) for name, seconds in sorted(phases.items())}


def _event_time(gathered: Gathered, tasks: Iterable[OwnedTask]) -> dict[str, str]:
    found = [watermark(owned.lead.part.stateful, owned.clocks) for owned in tasks if owned.task]
    known = [at for at in found if at is not None]
    times = gathered.event_times()
    return {**times, "watermark": iso(min(known))} if known else times


def _store(
    name: str, gathered: Gathered, having: Collection[OwnedTask], wrote_s: float
) -> StateOperatorProgress:
    running = [owned for owned in having if owned.task and owned.phase is Phase.RUNNING]
    overlays = [owned.task.overlays[name] for owned in running if owned.task]
    usages = [_usage(overlay) for overlay in overlays]
    custom = {"stateOnDiskBytes": sum(usage.disk_bytes for usage in usages)}
    if name in gathered.duplicates:
        custom[DUPLICATES] = gathered.duplicates[name]
    if not all(overlay.rows.exact for overlay in overlays):
        custom[ESTIMATE] = 1
    return StateOperatorProgress(
        operator_name=name,
        num_rows_total=sum(overlay.rows.total for overlay in overlays),
        num_rows_updated=gathered.updated[name],
        all_updates_time_ms=round(gathered.updating_s.get(name, 0.0) * 1000),
        num_rows_removed=gathered.removed[name],
        all_removals_time_ms=round(gathered.removing_s.get(name, 0.0) * 1000),
        commit_time_ms=round(wrote_s * 1000),
        memory_used_bytes=sum(overlay.memory_bytes for overlay in overlays)
        + sum(usage.memory_bytes for usage in usages),
        num_rows_dropped_by_watermark=gathered.late[name],
        num_shuffle_partitions=max((owned.lead.tasks for owned in having), default=0),
        num_state_store_instances=len(running),
        custom_metrics=custom,
    )


def _usage(overlay: Overlay) -> Usage:
    try:
        return overlay.store.usage()
    except StateError:  # what is wrong with the disk, the next write says
        return Usage()
