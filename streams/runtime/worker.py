"""The worker: one process, one consumer, one transactional producer, many tasks, one loop.

The loop fetches, lets the engine work, and performs what the engine's table of transactions
asks for. All decisions over commit and abort stand in `engine.transaction`; what stands here
is how each command is carried out, and what its answer is.

Rule 1: the group's callbacks run inside `fetch`. A revoke ends the open batch before it
        returns, and closes the stores; a lost partition discards it.
Rule 2: a batch whose flush failed is run again record by record, which names the culprit.
"""

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

from penstock.engine.batch import Batch, Pace
from penstock.engine.delivery import deliver
from penstock.engine.flush import Spent
from penstock.engine.metadata import BatchId, Metadata, short_hash
from penstock.engine.narrowing import Narrowing
from penstock.engine.task import FlushFailed
from penstock.engine.transaction import Command, Event, State, Transaction
from penstock.errors import BrokerError, DataError, PenstockError
from penstock.operators.source import Fetched, total_bytes
from penstock.query.monitor import View
from penstock.runtime.advance import Advance, due_tasks
from penstock.runtime.consumer import InputConsumer, Membership
from penstock.runtime.cost import RecordCost
from penstock.runtime.failure_log import FailureLog
from penstock.runtime.faults import Abortable, Unknown
from penstock.runtime.headroom import Reading
from penstock.runtime.intake import Intake
from penstock.runtime.maintenance import Maintenance
from penstock.runtime.orphans import OrphanWatch
from penstock.runtime.outcome import find_outcome, stable_offsets
from penstock.runtime.preparation import Prepared
from penstock.runtime.producer import IdempotentProducer, TransactionalProducer
from penstock.runtime.reporting import Reporter
from penstock.runtime.restorer import Restorer
from penstock.runtime.settings import Settings
from penstock.runtime.silence import SilenceWatch
from penstock.runtime.tasks import OwnedTask, TaskStarter, offsets_to_commit
from penstock.runtime.upstream import Upstream
from penstock.runtime.viewing import status_of, task_views
from penstock.runtime.watch import PATIENCE_MS, TopicWatch
from penstock.state.store import Position

log = logging.getLogger("penstock")
T = TypeVar("T")

IDLE_WAIT_S = 0.1
HELD_WAIT_S = 0.005
UNASSIGNED_WAIT_S = 0.01  # an assignment comes inside `fetch`, which then waits to the end
SAME_FAILURES = 5
KEEPALIVE_S = 1.0
_ASKING = (Command.SEND_OFFSETS, Command.COMMIT, Command.ABORT, Command.RESOLVE)


class Worker:
    """Run the tasks that the group gives to this process.

    Args:
        prepared: what is known of the cluster.
        settings: limits and intervals.
        run: random 64 bits that name this run in committed metadata.
        now_ms: the wall clock.
        alive: called at each step, and while one waits for the cluster within its limits.
        now: monotonic seconds.
        admit: called once, as a member of the group, before anything is taken.

    Attributes:
        steps: how many the loop has made; what a step commits is handed over before its end.
    """

    def __init__(
        self,
        prepared: Prepared,
        *,
        settings: Settings,
        consumer: InputConsumer,
        producer: TransactionalProducer,
        restorer: Restorer,
        starter: TaskStarter,
        reporter: Reporter,
        watch: TopicWatch,
        orphans: OrphanWatch,
        upstream: Upstream,
        silence: SilenceWatch,
        run: int,
        now_ms: Callable[[], int],
        alive: Callable[[], None],
        now: Callable[[], float],
        admit: Callable[[], None] = lambda: None,
    ) -> None:
        self._prepared = prepared
        self._settings = settings
        self._consumer = consumer
        self._producer = producer
        self._restorer = restorer
        self._starter = starter
        self._reporter = reporter
        reporter.latest = consumer.latest
        reporter.monitor.look = self.view
        self._run_id = run
        self._now_ms = now_ms
        self._alive = alive
        self._now = now
        self._transaction = Transaction()
        commit = settings.commit
        self._pace = Pace(
            commit.interval_ms,
            commit.min_interval_ms,
            commit.max_batch_records,
            commit.max_batch_bytes,
        )
        self._tasks: dict[tuple[str, int], OwnedTask] = {}
        self._advance = Advance(starter, restorer, settings.state.restore_slice_ms, now, admit)
        self._intake = Intake(consumer)
        self._batches = 0
        self._batch = self._new_batch()
        self._maintenance = Maintenance(
            settings,
            prepared.leads,
            starter=starter,
            reporter=reporter,
            watch=watch,
            orphans=orphans,
            upstream=upstream,
            silence=silence,
            now=now,
        )
        self._narrowing = Narrowing()
        self._failure_log = FailureLog(prepared.topology)
        self._touched: dict[int, OwnedTask] = {}
        self._careful: dict[tuple[str, int], int] = {}
        self._cost = RecordCost(settings, prepared.topology)
        self._commit_began = 0.0
        self._asked: float | None = None  # since when the loop waits for the cluster
        self._polled = now()
        self._failures = 0
        self._stopping = False
        self._error: Exception | None = None
        self.steps = 0

    def stop(self) -> None:
        """Ask the loop to end; safe to call from a signal handler or another thread."""
        self._stopping = True

    def run(self) -> None:
        """Join the group and work until stopped.

        Raises:
            PenstockError: whatever made it impossible to go on.
        """
        self.start()
        with self.ending():
            while not self._stopping:
                self.step()

    def start(self) -> None:
        """Join the group.

        Raises:
            BrokerError: if the cluster does not answer.
        """
        membership = Membership(self._assigned, self._revoked, self._lost)
        timeout_s = self._settings.kafka.request_timeout_ms / 1000
        self._consumer.subscribe(self._prepared.leads.topics, membership, timeout_s)
        if self._settings.kafka.protocol == "consumer":
            self._maintenance.joined()  # who is given nothing is told nothing there

    @contextmanager
    def ending(self) -> Generator[None]:
        """Commit what is open behind the block, or abort it where the block fails, and close."""
        try:
            yield
            self._end_batch()
        except BaseException as error:
            self._discard()
            if isinstance(error, BrokerError):
                self._maintenance.explain()
            raise
        finally:
            self._close()

    def view(self) -> View:
        """Return what the worker is doing now; safe to call from another thread."""
        tasks = list(self._tasks.values())
        lags = self._reporter.known_lags
        status = status_of(
            tasks,
            is_open=self._transaction.state is not State.IDLE,
            is_stopping=self._stopping,
            lag=sum(lags.values()),
            is_cluster_away=self._maintenance.is_cluster_away or self._waits_for_cluster(),
        )
        return View(status=status, tasks=task_views(tasks, lags))

    def _waits_for_cluster(self) -> bool:
        """Whether the open batch has waited for the cluster for as long as one is waited for."""
        asked = self._asked
        return asked is not None and (self._now() - asked) * 1000 >= PATIENCE_MS

    def readings(self) -> dict[tuple[str, int], Reading]:
        """Return where the inputs stand; safe to call from another thread."""
        return self._reporter.readings(list(self._tasks.values()))

    def step(self) -> None:
        """Do what there is to do, for as long as one fetch or one chunk takes.

        Raises:
            PenstockError: whatever makes it impossible to go on.
        """
        self._alive()
        # Fetch first: its callbacks may drop what is queued.
        if self._now() - self._polled > KEEPALIVE_S:
            self._fetch(0, 0)
        fetched = self._intake.next(self._now() * 1000)
        if fetched is None:
            self._fetch(self._wait_s(), self._cost.records())
            fetched = self._intake.next(self._now() * 1000)
        drained = fetched is None
        if fetched is not None:
            self._process(fetched)
        self._raise_from_callback()
        self._advance.step(self._tasks.values())
        if self._transaction.state is State.IDLE:
            self._settle()
        if self._transaction.state is State.OPEN and self._due(drained=drained):
            self._drive(Event.DUE)
        self._maintenance.look(
            self._tasks.values(), between_batches=self._transaction.state is State.IDLE
        )
        self.steps += 1

    # Fetching and processing

    def _fetch(self, wait_s: float, limit: int) -> None:
        self._reporter.fetching(self._now())
        waited_s = self._consumer.waited_s
        self._intake.fetch(wait_s, limit)
        self._polled = self._now()
        self._reporter.fetched(self._polled, self._consumer.waited_s - waited_s)

    def _wait_s(self) -> float:
        if self._advance.restoring:
            return 0.0
        if self._restorer.busy or self._intake.holds:
            return HELD_WAIT_S
        if self._transaction.state is State.OPEN:
            return self._pace.poll_ms(self._batch, self._now() * 1000) / 1000
        if not self._advance.all_run:
            return 0.0
        return IDLE_WAIT_S if self._tasks else UNASSIGNED_WAIT_S

    def _process(self, fetched: Fetched) -> None:
        owned = self._intake.owner(fetched)
        if owned is None or owned.task is None:
            return
        if not fetched.offsets:
            self._reach_end(owned, fetched)
            return
        if self._transaction.state is State.IDLE:
            self._open_batch()
        limit = self._cost.room(
            self._batch, self._narrowing.room(self._batch, self._cost.records_of(fetched))
        )
        if len(fetched.offsets) > limit:
            self._intake.put_back(fetched.part(limit, len(fetched.offsets)))
            fetched = fetched.part(0, limit)
        started = self._now()
        try:
            self._run_task(owned, fetched)
        except FlushFailed as error:
            self._drive(self._flush_failed(error))
            return
        except DataError as error:
            self._drive(Event.FAILED)
            raise error
        seconds = self._now() - started
        self._attempt(lambda: self._measure(fetched, seconds))
        self._attempt(lambda: self._produce(owned))  # nothing, where that took too long

    def _measure(self, fetched: Fetched, seconds: float) -> None:
        try:
            self._cost.measured(fetched, seconds)
        except DataError as error:
            if self._prepared.topology.on_error_of(fetched.topic) == "fail":
                raise
            self._narrowing.blame((fetched.topic, fetched.partition), fetched.offsets[0], error)
            self._failures = -1  # a step forward, not a failure again
            raise Abortable(f"{error} The batch is run again without the record") from error

    def _reach_end(self, owned: OwnedTask, end: Fetched) -> None:
        """Commit the end of an input where it is behind the last record: lag is then nothing."""
        at = (end.topic, end.partition)
        reached = self._batch.next_offsets.get(at, -1) if id(owned) in self._touched else -1
        if end.next_offset <= max(reached, owned.offsets[at]):
            return
        if self._transaction.state is State.IDLE:
            self._open_batch()
        self._touched[id(owned)] = owned
        self._batch.positions.setdefault(at, owned.offsets[at])
        self._batch.add(at, owned.offsets[at], end.next_offset, 0)

    def _run_task(self, owned: OwnedTask, fetched: Fetched) -> None:
        task = owned.task
        if task is None:
            return
        at = (fetched.topic, fetched.partition)
        self._touched[id(owned)] = owned
        task.process(
            fetched,
            careful=fetched.offsets[0] < self._careful.get(at, -1),
            refused=self._narrowing.found_in(at),
            now_ms=self._now_ms(),
        )
        self._batch.positions.setdefault(at, owned.offsets.get(at, fetched.offsets[0]))
        self._batch.add(at, fetched.offsets[0], fetched.next_offset, len(fetched.offsets))
        self._batch.bytes_in += total_bytes(fetched.values)
        self._reporter.processed(at, fetched.timestamps)

    def _produce(self, owned: OwnedTask) -> None:
        if owned.task is None:
            return
        topology, batch = self._prepared.topology, self._batch
        outputs, owned.task.outputs = owned.task.outputs, []
        for out in outputs:
            self._producer.produce(out)
            if out.store is None and out.topic not in topology.repartitions:
                batch.wrote(out.topic, len(out.values), dead=out.dead)

    # The transaction

    def _due(self, *, drained: bool) -> bool:
        due = self._pace.due(self._batch, self._now() * 1000, drained=drained)
        return due or self._narrowing.full(self._batch) or self._cost.fills(self._batch)

    def _open_batch(self) -> None:
        """Begin a batch; those who have something to commit without records are part of it.

        Else they would wait, while records come for others, until none do.
        """
        self._touched = {id(owned): owned for owned in self._due_tasks()}
        self._batch = self._new_batch()
        self._reporter.begin(self._now(), self._now_ms())
        self._drive(Event.RECORDS)

    def _new_batch(self) -> Batch:
        return Batch(BatchId(self._run_id, self._batches), self._now() * 1000)

    def _drive(self, event: Event | None) -> None:
        """Let the table say what follows an event, until it says nothing."""
        while event is not None:
            command = self._transaction.on(event)
            event = None if command is None else self._perform(command)

    def _attempt(self, action: Callable[[], object]) -> None:
        """Do something to the open transaction; a failure aborts or resolves it."""
        try:
            action()
        except Abortable as fault:
            self._failed(fault)
            self._drive(Event.FAILED)
        except Unknown as fault:
            self._failed(fault)
            self._drive(Event.UNKNOWN)

    def _perform(self, command: Command) -> Event | None:
        self._asked = self._now() if command in _ASKING else None
        try:
            return self._COMMANDS[command](self)
        except Abortable as fault:
            self._failed(fault)
            return Event.FAILED
        except Unknown as fault:
            self._failed(fault)
            return Event.UNKNOWN
        finally:
            self._asked = None

    def _begin(self) -> None:
        self._producer.begin()

    def _flush(self) -> Event:
        self._commit_began = self._now()
        self._reporter.phase("addBatch", self._now())
        spent, most = Spent(), self._cost.closings()
        for owned in self._touched.values():
            if owned.task is None:
                continue
            try:
                owned.task.flush(self._now_ms(), len(self._touched), most)
            except FlushFailed as error:
                return self._flush_failed(error)
            spent.add(owned.task.take_spent())
            self._produce(owned)
        self._cost.flushed(self._batch, spent)
        self._asked = self._now()
        self._producer.flush()
        self._reporter.phase("walCommit", self._now())
        return Event.FLUSHED

    def _flush_failed(self, error: Exception) -> Event:
        if self._careful:
            self._error = error
        log.warning("A step behind a store failed (%s): running its batch record by record.", error)
        self._careful = dict(self._batch.next_offsets)
        return Event.FAILED

    def _send_offsets(self) -> Event:
        offsets: dict[tuple[str, int], tuple[int, str]] = {}
        for owned in self._touched.values():
            offsets.update(
                offsets_to_commit(owned, self._batch.next_offsets, self._metadata(owned))
            )
        self._producer.send_offsets(offsets, self._consumer.client)
        return Event.OFFSETS_SENT

    def _metadata(self, owned: OwnedTask) -> Metadata:
        clocks = owned.task.clocks if owned.task else {}
        return Metadata(
            self._batch.id,
            frozenset(map(short_hash, owned.lead.known)),
            {short_hash(store.name): store.describe() for store in owned.lead.part.stores},
            {short_hash(name): clock for name, clock in clocks.items()},
        )

    def _commit(self) -> Event:
        self._producer.commit()
        return Event.COMMITTED

    def _apply(self) -> Event:
        self._reporter.phase("commitOffsets", self._now())
        now_ms = self._now_ms()
        for owned in self._touched.values():
            owned.metadata = self._metadata(owned)
            owned.offsets.update(
                {at: n for at, n in self._batch.next_offsets.items() if at in owned.offsets}
            )
            owned.settled, owned.committed_ms = True, now_ms
            self._apply_stores(owned, now_ms)
            failures = owned.task.take_failures() if owned.task else []
            self._batch.rows_failed += len(failures)
            self._failure_log.tell(failures, self._now())
            self._reporter.failed(failures)
        self._reporter.phase("stateCommit", self._now())
        self._batches += 1
        self._failures, self._careful = 0, {}
        self._narrowing.committed(self._batch, self._settings.commit.max_batch_records)
        self._pace.committed(self._commit_began * 1000, self._now() * 1000)
        self._reporter.committed(self._batch, self._touched.values(), now_ms)
        touched, self._touched = self._touched, {}
        running = [owned.task for owned in self._tasks.values() if owned.task]
        deliver(
            self._batch.id.number, [owned.task for owned in touched.values() if owned.task], running
        )
        return Event.APPLIED

    def _apply_stores(self, owned: OwnedTask, now_ms: int) -> None:
        for name, opened in owned.stores.items():
            overlay = owned.task.overlays[name] if owned.task else None
            if overlay is None:
                continue
            if not overlay.changed:
                overlay.trim()
                continue
            offset = self._producer.delivered.get((opened.restore.topic, owned.partition))
            if offset is None:
                raise BrokerError(
                    f"The changelog offset of {name} is not known after its commit. Restart"
                    " the worker: the store is restored from its changelog.",
                    store=name,
                )
            began = self._now()
            overlay.commit(Position(offset, opened.topic_id, now_ms))
            self._reporter.wrote(name, self._now() - began)

    def _abort(self) -> Event:
        self._producer.abort()
        return Event.ABORTED

    def _rewind(self) -> None:
        if isinstance(self._producer, IdempotentProducer):
            # What was produced stays: stores have to follow their changelogs.
            self._reopen()
            return
        for owned in self._touched.values():
            if owned.task is None:
                continue
            owned.task.discard(owned.clocks)
            self._intake.rewind(owned)
        self._touched = {}
        self._count_failure()

    def _resolve(self) -> Event:
        kafka = self._settings.kafka
        self._producer.renew(kafka.connect_timeout_ms)
        timeout_s = kafka.request_timeout_ms / 1000
        return find_outcome(
            self._batch.id,
            self._touched.values(),
            self._tasks.values(),
            lambda leads: stable_offsets(self._consumer, leads, timeout_s, self._alive),
        )

    def _reopen(self) -> None:
        for owned in self._touched.values():
            self._starter.close(owned)
            self._intake.drop(owned)
            if owned in self._tasks.values():
                self._consumer.pause(owned.inputs)
                self._advance.all_run = False
        self._touched = {}
        self._count_failure()

    _COMMANDS: "dict[Command, Callable[[Worker], Event | None]]" = {  # noqa: RUF012 - constant
        Command.BEGIN: _begin,
        Command.FLUSH: _flush,
        Command.SEND_OFFSETS: _send_offsets,
        Command.COMMIT: _commit,
        Command.APPLY: _apply,
        Command.ABORT: _abort,
        Command.REWIND: _rewind,
        Command.RESOLVE: _resolve,
        Command.REOPEN: _reopen,
    }

    def _failed(self, fault: Exception) -> None:
        log.warning(
            "Batch %d fails while %s: %s.", self._batches, self._transaction.state.value, fault
        )
        self._error = fault
        refused = isinstance(fault, Abortable) and fault.about_data
        if refused and self._narrowing.refused(self._batch, fault):
            self._failures = -1  # a step forward, not a failure again

    def _count_failure(self) -> None:
        self._failures += 1
        if self._failures >= SAME_FAILURES:
            raise BrokerError(
                f"The batch failed {self._failures} times in a row without progress, at last"
                f" with: {self._error}. Nothing of it is committed. Correct the cause and"
                " start again."
            ) from self._error

    # Tasks

    def _settle(self) -> None:
        """Commit for those who have something to commit, though no records come."""
        if self._due_tasks():
            self._open_batch()

    def _due_tasks(self) -> list[OwnedTask]:
        return due_tasks(self._tasks.values(), self._now_ms(), self._prepared.recommit_ms)

    # The group's callbacks; an error in one is raised in the loop

    def _assigned(self, found: list[tuple[str, int]]) -> None:
        self._advance.all_run = False
        self._maintenance.rebalanced()
        taken: list[tuple[str, int]] = []
        for topic, partition in found:
            owned = OwnedTask(self._prepared.leads.leads[topic], partition)
            self._tasks[topic, partition] = owned
            self._intake.take(owned)
            taken += owned.inputs
        log.info("Assigned: %s.", ", ".join(f"{t}/{p}" for t, p in taken) or "nothing")
        self._reporter.rebalanced(taken, [], self._inputs())

    def _revoked(self, found: list[tuple[str, int]]) -> list[tuple[str, int]]:
        began = self._now()
        self._in_callback(self._end_batch)
        return self._give_up(found, began)

    def _lost(self, found: list[tuple[str, int]]) -> list[tuple[str, int]]:
        began = self._now()
        self._in_callback(self._discard)
        return self._give_up(found, began)

    def _give_up(self, found: list[tuple[str, int]], began: float) -> list[tuple[str, int]]:
        given: list[tuple[str, int]] = []
        self._starter.withdraw([self._tasks[at] for at in found if at in self._tasks])
        for at in found:
            owned = self._tasks.pop(at, None)
            if owned is None:
                continue
            self._intake.give_up(owned)
            self._starter.close(owned)
            given += owned.inputs
        if given:
            log.info("Given back: %s.", ", ".join(f"{t}/{p}" for t, p in given))
            self._reporter.rebalanced([], given, self._inputs(), self._now() - began)
        return given

    def _inputs(self) -> list[tuple[str, int]]:
        return [at for owned in self._tasks.values() for at in owned.inputs]

    def _in_callback(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - the client swallows what callbacks raise
            self._error = error
            self._callback_failed = True

    _callback_failed = False

    def _raise_from_callback(self) -> None:
        if self._callback_failed and self._error:
            raise self._error

    # The end

    def _end_batch(self) -> None:
        """Commit the open batch, or abort it if that fails."""
        if self._transaction.state is State.OPEN:
            self._drive(Event.DUE)

    def _discard(self) -> None:
        """Abort the open batch."""
        if self._transaction.state is State.OPEN:
            try:
                self._drive(Event.FAILED)
            except PenstockError as error:
                log.warning("While aborting: %s", error)

    def _close(self) -> None:
        self._reporter.ended(self._tasks.values(), self._now())
        self._reporter.monitor.holdings.end()
        self._starter.withdraw(self._tasks.values())
        for owned in list(self._tasks.values()):
            self._starter.close(owned)
        self._tasks = {}
        self._restorer.close()
        self._maintenance.close()
        self._consumer.close()
        self._producer.close()
