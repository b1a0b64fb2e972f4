"""From an application to a running worker: clients, folders, slot, and the ways to stop it."""

import logging
import os
import threading
import uuid
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException

from penstock.errors import BugError, DataError, PenstockError, TopologyError
from penstock.operators.on_error import DeadLetter
from penstock.query.listener import Listener
from penstock.query.monitor import Monitor
from penstock.query.query import Query
from penstock.query.web.subject import Subject
from penstock.runtime.active import ACTIVE
from penstock.runtime.client_configs import ClientConfigs
from penstock.runtime.clients import Clients
from penstock.runtime.collector import quiet_collector
from penstock.runtime.consumer import InputConsumer
from penstock.runtime.destinations import ClusterDestinations
from penstock.runtime.ending import Ending, exit_now, stopped_by_signals
from penstock.runtime.file_limit import raise_file_limit
from penstock.runtime.following import Follower
from penstock.runtime.group import wait_for_group
from penstock.runtime.headroom import HeadroomWatch
from penstock.runtime.http_address import http_address
from penstock.runtime.loading import from_own_code, refuse_while_loading
from penstock.runtime.orphans import OrphanWatch
from penstock.runtime.outside import RunOutside
from penstock.runtime.overview import Overview
from penstock.runtime.parent import Parent
from penstock.runtime.preparation import Prepared, max_message_bytes, prepare
from penstock.runtime.producer import IdempotentProducer, TransactionalProducer
from penstock.runtime.reporting import Reporter
from penstock.runtime.restorer import Restorer
from penstock.runtime.settings import KafkaSettings
from penstock.runtime.shortage import Shortage
from penstock.runtime.silence import SilenceWatch
from penstock.runtime.tasks import TaskStarter
from penstock.runtime.telemetry import Telemetry
from penstock.runtime.transport import warn_of_weak_transport
from penstock.runtime.upstream import Upstream
from penstock.runtime.watch import TopicWatch
from penstock.runtime.watchdog import Watchdog
from penstock.runtime.worker import Worker
from penstock.secret import without_secrets
from penstock.state.directories import Slot, default_state_dir, make_folder
from penstock.state.disk import Disk, RocksDisk
from penstock.state.rocksdb import RocksMemory
from penstock.topics.admin import Admin
from penstock.topics.internal import progress_topic
from penstock.topology.graph import Topology

if TYPE_CHECKING:
    from penstock.app import App

log = logging.getLogger("penstock")


def run(
    app: "App",
    *,
    listeners: Sequence[Listener] = (),
    parent: Parent | None = None,
    debug: bool = False,
) -> None:
    """Run an application in this thread until it is stopped or fails.

    SIGINT and SIGTERM stop it in order and in bounded time, a second one at once; a loop that
    stalls is ended by the watchdog. With a `parent` it stops when that ends, too.

    A script that lets the error go ends with its message, not with our frames: those of a
    user's function stay, in the cause of a DataError. With `debug` all of its cause stays.
    """
    refuse_while_loading()
    worker = app.settings.worker
    end = partial(exit_now, tell=parent.tell) if parent else exit_now
    watchdog = Watchdog(app.settings.kafka.max_poll_interval_ms, exit_now=end)
    running = Running(
        app,
        watchdog if worker.watchdog else None,
        listeners=listeners,
        serves=parent.serves if parent else None,
    )
    ending = Ending(running.stop, worker.stop_timeout_ms, exit_now=end)
    running.enter()
    try:
        bound = parent.stops(ending) if parent else nullcontext()
        with quiet_collector(), stopped_by_signals(ending), bound:
            running.work()
    except PenstockError as error:
        raise for_people(error, debug=debug)  # noqa: B904 - the cause is kept where it helps
    finally:
        running.leave()


def for_people(error: PenstockError, *, debug: bool = False) -> PenstockError:
    """Return what ended a run without our frames; with `debug` all of its cause stays."""
    log.debug("The application failed.", exc_info=error)
    if isinstance(error, DataError) and error.__cause__ and not debug:
        error.__cause__ = from_own_code(error.__cause__)
    elif not isinstance(error, DataError | BugError):
        error.__cause__ = None
    error.__suppress_context__ = True
    return error.with_traceback(None)


def start(app: "App", *, listeners: Sequence[Listener] = ()) -> Query:
    """Run an application in a thread of its own."""
    running = Running(app, listeners=listeners)
    running.enter()

    def work() -> None:
        with suppress(Exception, SystemExit):  # the handle carries it
            running.work()

    threading.Thread(target=work, name=f"penstock-{app.id}", daemon=True).start()
    return running.query


class Running:
    """One run of an application in this process.

    Args:
        app: the application.
        watchdog: ends the process if the loop stalls; without it nobody does.
        clients: the Kafka client's classes, and time.
        run_id: names this run in committed metadata and progress; random if left out.
        listeners: whom to tell how it goes.
        serves: hears the port and the token of the HTTP server.

    Attributes:
        query: the handle on it.
    """

    def __init__(
        self,
        app: "App",
        watchdog: Watchdog | None = None,
        *,
        clients: Clients | None = None,
        run_id: uuid.UUID | None = None,
        listeners: Sequence[Listener] = (),
        serves: Callable[[int, str | None], None] | None = None,
    ) -> None:
        self._app = app
        self._serves = serves
        self._watchdog = watchdog
        self._clients = clients or Clients()
        self._topology = app.topology()
        self._settings = app.settings
        self._configs = ClientConfigs(app)
        self.run_id = run_id or uuid.uuid4()
        self._listeners = listeners
        self._root = app.state_dir or default_state_dir()
        monitor = Monitor(self._topology, self.run_id)
        self._holdings = monitor.holdings
        self._holdings.lease(self._clients.now, self._settings.kafka.session_timeout_ms / 1000)
        self._reporter = Reporter(
            monitor,
            interval_ms=self._settings.progress.interval_ms,
            now=self._clients.now,
            now_ms=self._clients.now_ms,
        )
        self._outside = RunOutside(app, self._topology, self._configs, self._clients, self._reader)
        self.query = Query(monitor, self.stop, self._outside)
        self._worker: Worker | None = None
        self._stopped = self._entered = False
        self._stepped = self._clients.now()

    def enter(self) -> None:
        """Take the application's place in this process, until `work` has ended.

        Raises:
            TopologyError: if it runs in this process already.
        """
        ACTIVE.enter(self._app.id, self._root)
        self._entered = True

    def leave(self) -> None:
        """Give the place back, where it was taken."""
        if self._entered:
            self._entered = False
            ACTIVE.leave(self._app.id, self._root)

    def stop(self) -> None:
        """Ask the run to end."""
        self._stopped = True
        if self._worker:
            self._worker.stop()

    def work(self) -> None:
        """Prepare, join the group, and work until stopped; tell of it meanwhile."""
        telemetry = Telemetry(
            self._reporter.monitor, self.query, self._listeners, self._clients.now_ms
        )
        try:
            with self.query.running():
                self._work(telemetry)
        finally:
            self._reporter.terminated(self.query.exception())
            telemetry.close()
            self.leave()
            self.query.end()

    def _work(self, telemetry: Telemetry) -> None:
        address = http_address(self._settings.http)
        if address is not None and self._serves:
            address = address.behind()
        root = make_folder(self._root)
        admin = self._connect()
        if self._stopped:
            return
        prepared = prepare(self._topology, admin, self._remembered)
        worker_id = self._settings.worker.worker_id or os.environ.get("PENSTOCK_WORKER_ID")
        slot = Slot.acquire(root, self._app.id, worker_id or None)
        try:
            telemetry.publish(self._settings.progress, self._configs, admin, self._clients)
            self._reporter.started(slot.identity)
            if address is not None:
                port = telemetry.serve(
                    address, self._subject(), self._overview(), self._configs, admin, self._clients
                )
                if self._serves:
                    self._serves(port, address.token)
            self._join(prepared, admin, slot, root, telemetry)
        finally:
            slot.release()

    def worker(self, identity: str, disk: Disk) -> Worker:
        """Prepare, and make a worker that is still to be started.

        Args:
            identity: lasts over restarts, as a slot's does.
            disk: where its stores are.

        Raises:
            PenstockError: as `work` does.
        """
        admin = self._connect()
        prepared = prepare(self._topology, admin, self._remembered)
        consumer = self._consumer(prepared, identity)
        return self._make_worker(prepared, admin, identity, disk, consumer, lambda: False)

    def _connect(self) -> Admin:
        kafka, clients = self._settings.kafka, self._clients
        warn_of_weak_transport(kafka.client, kafka.consumer, kafka.producer)
        with _refused_settings(kafka):
            admin = Admin(
                self._configs.common(),
                timeout_ms=kafka.request_timeout_ms,
                client=clients.admin,
                now=clients.now,
                sleep=clients.sleep,
            )
        admin.connect(kafka.connect_timeout_ms, lambda: self._stopped, tell=log.warning)
        return admin

    def _consumer(self, prepared: Prepared, identity: str) -> InputConsumer:
        with _refused_settings(self._settings.kafka):
            return InputConsumer(
                self._configs.inputs(identity, prepared.leads),
                topics=_topics(prepared.topology),
                with_headers=_topics(prepared.topology, reading="headers"),
                with_messages=_with_dead_letters(prepared.topology),
                clients=self._clients,
            )

    def _join(
        self, prepared: Prepared, admin: Admin, slot: Slot, root: Path, telemetry: Telemetry
    ) -> None:
        consumer = self._consumer(prepared, slot.identity)
        raise_file_limit()
        disk = RocksDisk(root, RocksMemory(self._settings.state.memory_bytes // 2))

        def fenced() -> bool:
            return slot.note_fenced(self._clients.now_ms())

        def admit() -> None:
            wait_for_group(
                admin,
                self._app.id,
                client_id=f"{self._app.id}-{prepared.leads.fingerprint}",
                slot=slot.identity,
                wait_ms=self._settings.kafka.session_timeout_ms,
                stopped=lambda: self._stopped,
                sleep=self._sleep,
            )

        self._worker = self._make_worker(
            prepared, admin, slot.identity, disk, consumer, fenced, admit
        )
        self._outside.begun(prepared, admin, self._worker)
        if self._stopped:
            consumer.close()
            return
        clients = self._clients
        headroom = HeadroomWatch(admin, self._worker.readings, clients.now, clients.now_ms)
        self._reporter.headroom = headroom.of
        telemetry.watch(headroom)
        admit()
        if self._stopped:
            self._worker.stop()
        try:
            with self._watchdog or nullcontext():
                self._worker.run()
        finally:
            if consumer.put_out:
                fenced()

    def _remembered(self, inputs: Sequence[tuple[str, int]]) -> dict[tuple[str, int], str]:
        """Return what stands beside the committed offsets of inputs: the memory of tasks."""
        if not inputs:
            return {}
        reader = self._reader()
        try:
            return reader.remembered(inputs, self._settings.kafka.request_timeout_ms / 1000)
        finally:
            reader.close()

    def _reader(self) -> InputConsumer:
        """Return what reads committed offsets, and joins nothing."""
        return InputConsumer(
            self._configs.memory(),
            topics=frozenset(),
            with_headers=frozenset(),
            clients=self._clients,
        )

    def _make_worker(
        self,
        prepared: Prepared,
        admin: Admin,
        identity: str,
        disk: Disk,
        consumer: InputConsumer,
        fenced: Callable[[], bool],
        admit: Callable[[], None] = lambda: None,
    ) -> Worker:
        app, settings, clients = self._app, self._settings, self._clients
        with _refused_settings(settings.kafka):
            slow = Shortage(admin, prepared.in_sync).tell
            producer = self._producer(identity, prepared.batch_bytes, fenced, slow)
        producer.init(settings.kafka.connect_timeout_ms, lambda: self._stopped)
        restorer = Restorer(self._configs.restore(), clients, self._reporter.restored)
        memory_bytes = settings.state.memory_bytes
        stores = max(
            1, sum(lead.tasks * len(lead.part.stores) for lead in prepared.leads.leads.values())
        )
        starter = TaskStarter(
            prepared,
            consumer=consumer,
            admin=admin,
            restorer=restorer,
            destinations=ClusterDestinations(
                prepared.partitions,
                prepared.max_bytes,
                lambda topic: max_message_bytes(admin, topic),
                admin.topics,
            ),
            disk=disk,
            holdings=self._holdings,
            slot=identity,
            store_bytes=memory_bytes // 2 // stores,
            lock_timeout_ms=settings.state.lock_timeout_ms,
            cleanup_delay_ms=settings.state.cleanup_delay_ms,
            max_idle_ms=settings.commit.max_idle_ms,
            exactly_once=app.guarantee == "exactly_once",
            now_ms=clients.now_ms,
            now=clients.now,
            wrote=self._reporter.wrote,
            sleep=self._sleep,
        )
        return Worker(
            prepared,
            settings=settings,
            consumer=consumer,
            producer=producer,
            restorer=restorer,
            starter=starter,
            reporter=self._reporter,
            watch=TopicWatch(admin, prepared, settings.kafka.topic_check_ms, clients.now() * 1000),
            orphans=self._orphan_watch(prepared, admin, consumer),
            upstream=Upstream(
                prepared.topology,
                prepared.leads,
                admin,
                self._reader,
                settings.commit.max_idle_ms / 1000,
                clients.now,
            ),
            silence=SilenceWatch(consumer, admin, clients.now),
            run=self.run_id.int >> 64,
            now_ms=clients.now_ms,
            now=clients.now,
            alive=self._alive,
            admit=admit,
        )

    def _orphan_watch(
        self, prepared: Prepared, admin: Admin, consumer: InputConsumer
    ) -> OrphanWatch:
        """Under KIP-848 it never looks: the broker itself knows who has to give back what."""
        kafka = self._settings.kafka
        interval_ms = kafka.group_check_ms if kafka.protocol == "classic" else inf
        return OrphanWatch(admin, consumer, self._app.id, prepared.leads, interval_ms)

    def _subject(self) -> Subject:
        self._stepped = self._clients.now()
        return Subject(
            monitor=self._reporter.monitor,
            started_ms=self._clients.now_ms(),
            now_ms=self._clients.now_ms,
            silent_s=lambda: self._clients.now() - self._stepped,
            stall_s=self._settings.kafka.max_poll_interval_ms / 1000,
            is_stopping=lambda: self._stopped,
        )

    def _overview(self) -> Overview:
        progress, clients = self._settings.progress, self._clients
        topic = progress_topic(self._app.id, progress.topic, progress.retention_ms).name

        def follow() -> Follower:
            return Follower(self._configs.common(), topic, clients, application=self._app.id)

        return Overview(follow, clients.now)

    def _alive(self) -> None:
        self._stepped = self._clients.now()
        self._holdings.renew()
        if self._watchdog:
            self._watchdog.alive()

    def _sleep(self, seconds: float) -> None:
        self._alive()
        self._clients.sleep(seconds)

    def _producer(
        self,
        identity: str,
        batch_bytes: int,
        fenced: Callable[[], bool],
        slow: Callable[[int, float], None],
    ) -> TransactionalProducer:
        kafka = self._settings.kafka
        transactional = self._app.guarantee == "exactly_once"
        return (TransactionalProducer if transactional else IdempotentProducer)(
            self._configs.producer(identity, batch_bytes),
            transaction_timeout_ms=kafka.transaction_timeout_ms,
            request_timeout_ms=kafka.request_timeout_ms,
            clients=self._clients,
            alive=self._alive,
            fenced=fenced,
            slow=slow,
        )


@contextmanager
def _refused_settings(kafka: KafkaSettings) -> Generator[None]:
    try:
        yield
    except KafkaException as error:
        why = without_secrets(error.args[0].str(), kafka.client, kafka.consumer, kafka.producer)
        named = " Name the sasl.mechanism: it is GSSAPI by default." if "GSSAPI" in why else ""
        raise TopologyError(
            f"The Kafka client refuses its settings: {why}.{named} Correct"
            " KafkaSettings(client=..., consumer=..., producer=...)."
        ) from None


def _topics(topology: Topology, *, reading: str | None = None) -> frozenset[str]:
    """Return the input topics, or those of which some step reads a column."""
    return frozenset(
        topic
        for node in topology
        if node.source and (reading is None or topology.reads(node, reading))
        for topic in node.source.topics
    )


def _with_dead_letters(topology: Topology) -> frozenset[str]:
    """Return the input topics whose records may become dead letters."""
    policies = {topic: topology.on_error_of(topic) for topic in topology.readers}
    return frozenset(topic for topic, found in policies.items() if isinstance(found, DeadLetter))
