"""From an application to a running worker: clients, folders, slot, and the ways to stop it."""

import gc
import logging
import os
import signal
import threading
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException

from penstock.engine.assignment import LeadMap
from penstock.errors import BugError, DataError, PenstockError, TopologyError
from penstock.query.query import Query
from penstock.runtime.clock import now_ms
from penstock.runtime.consumer import InputConsumer
from penstock.runtime.destinations import ClusterDestinations
from penstock.runtime.group import wait_for_group
from penstock.runtime.preparation import Prepared, max_message_bytes, prepare
from penstock.runtime.producer import IdempotentProducer, TransactionalProducer
from penstock.runtime.reporting import Reporter
from penstock.runtime.restorer import Restorer
from penstock.runtime.tasks import TaskStarter
from penstock.runtime.watch import TopicWatch
from penstock.runtime.worker import Worker
from penstock.state.directories import Slot, default_state_dir, make_folder
from penstock.state.rocksdb import RocksMemory
from penstock.topics.admin import Admin
from penstock.topology.graph import Topology

if TYPE_CHECKING:
    from penstock.app import App

log = logging.getLogger("penstock")

DEFAULT_BROKERS = "localhost:9092"
BYTES_PER_ENTRY = 350  # measured: a key of 16 bytes with a count and a timestamp in a dict


def run(app: "App") -> None:
    """Run an application in this thread until it is stopped or fails.

    A script that lets the error go ends with its message, not with our frames: those of a
    user's function stay, in the cause of a DataError.
    """
    running = Running(app)
    try:
        with _quiet_collector(), _stopped_by_signals(running):
            running.work()
    except PenstockError as error:
        log.debug("The application failed.", exc_info=error)
        if not isinstance(error, DataError | BugError):
            error.__cause__, error.__suppress_context__ = None, True
        raise error.with_traceback(None)  # noqa: B904 - the cause is kept where it helps


def start(app: "App") -> Query:
    """Run an application in a thread of its own."""
    running = Running(app)
    query = Query(app.id, running.run_id, running.recent_progress, running.stop)
    thread = threading.Thread(
        target=query.watch, args=(running.work,), name=f"penstock-{app.id}", daemon=True
    )
    thread.start()
    return query


class Running:
    """One run of an application in this process."""

    def __init__(self, app: "App") -> None:
        self._app = app
        self._topology = app.topology()
        self._settings = app.settings
        self.run_id = uuid.uuid4()
        self._reporter = Reporter(self._topology, self.run_id)
        self._worker: Worker | None = None
        self._stopped = False

    def stop(self) -> None:
        """Ask the run to end."""
        self._stopped = True
        if self._worker:
            self._worker.stop()

    def recent_progress(self) -> list[Any]:
        """Return the progress of the last batches."""
        return list(self._reporter.recent)

    def work(self) -> None:
        """Prepare, join the group, and work until stopped."""
        app, kafka = self._app, self._settings.kafka
        root = make_folder(app.state_dir or default_state_dir())
        with _refused_settings():
            admin = Admin(self._client_config(), timeout_ms=kafka.request_timeout_ms)
        admin.connect(kafka.connect_timeout_ms, lambda: self._stopped)
        if self._stopped:
            return
        prepared = prepare(self._topology, admin, self._leading)
        slot = Slot.acquire(root, app.id)
        try:
            self._worker = self._make_worker(prepared, admin, slot)
            wait_for_group(
                admin,
                app.id,
                client_id=f"{app.id}-{prepared.leads.fingerprint}",
                slot=slot.identity,
                wait_ms=kafka.session_timeout_ms,
                stopped=lambda: self._stopped,
            )
            if self._stopped:
                self._worker.stop()
            self._worker.run()
        finally:
            slot.release()

    def _leading(self, topics: list[str]) -> frozenset[str]:
        """Return those of some inputs whose committed offset carries a task's memory."""
        if not topics:
            return frozenset()
        reader = InputConsumer(
            {**self._client_config(), "group.id": self._app.id},
            topics=frozenset(),
            with_headers=frozenset(),
        )
        try:
            return reader.remembering(topics, self._settings.kafka.request_timeout_ms / 1000)
        finally:
            reader.close()

    def _make_worker(self, prepared: Prepared, admin: Admin, slot: Slot) -> Worker:
        app, settings = self._app, self._settings
        with _refused_settings():
            producer = self._producer(slot, prepared.batch_bytes)
            consumer = InputConsumer(
                self._consumer_config(slot, prepared.leads),
                topics=_topics(prepared.topology),
                with_headers=_topics(prepared.topology, reading="headers"),
            )
        producer.init(settings.kafka.connect_timeout_ms)
        restorer = Restorer(self._restore_config(), now_ms)
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
                prepared.partitions, lambda topic: max_message_bytes(admin, topic), admin.topics
            ),
            root=app.state_dir or default_state_dir(),
            slot=slot.identity,
            memory=RocksMemory(memory_bytes // 2),
            cache_entries=max(1_000, memory_bytes // 2 // BYTES_PER_ENTRY // stores),
            lock_timeout_ms=settings.state.lock_timeout_ms,
            max_idle_ms=settings.commit.max_idle_ms,
            exactly_once=app.guarantee == "exactly_once",
            now_ms=now_ms,
            sleep=time.sleep,
        )
        return Worker(
            prepared,
            settings=settings,
            consumer=consumer,
            producer=producer,
            restorer=restorer,
            starter=starter,
            reporter=self._reporter,
            watch=TopicWatch(
                admin, prepared, settings.kafka.topic_check_ms, time.monotonic() * 1000
            ),
            run=self.run_id.int >> 64,
            now_ms=now_ms,
        )

    def _client_config(self) -> dict[str, Any]:
        brokers = self._app.brokers or os.environ.get("PENSTOCK_BROKERS") or DEFAULT_BROKERS
        return {
            # A broker that comes up, or comes back, is found within a second; by default in ten.
            "reconnect.backoff.max.ms": 1_000,
            **self._settings.kafka.client,
            "bootstrap.servers": brokers,
            "enable.metrics.push": False,
            "logger": _kafka_log(),
        }

    def _consumer_config(self, slot: Slot, leads: LeadMap) -> dict[str, Any]:
        kafka = self._settings.kafka
        config = {
            **self._client_config(),
            # The first two decide the speed: 0.4 M records/s without, 1.6 to 2.3 M with them.
            "fetch.queue.backoff.ms": 10,
            # An input is known to be at its end that long after its last record.
            "fetch.wait.max.ms": 100,
            "queued.min.messages": 200_000,
            "queued.max.messages.kbytes": 65_536,
            **kafka.consumer,
            "group.id": self._app.id,
            "client.id": f"{self._app.id}-{leads.fingerprint}",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "max.poll.interval.ms": kafka.max_poll_interval_ms,
            "group.protocol": kafka.protocol,
        }
        if kafka.protocol == "classic":
            # Three in a session; the client's own is one in 3 s, however short the session.
            config.setdefault("heartbeat.interval.ms", min(3_000, kafka.session_timeout_ms // 3))
            config |= {
                "session.timeout.ms": kafka.session_timeout_ms,
                "partition.assignment.strategy": "cooperative-sticky",
                "group.instance.id": f"{slot.identity}-{leads.fingerprint}",
            }
        return config

    def _restore_config(self) -> dict[str, Any]:
        return {
            **self._client_config(),
            "fetch.queue.backoff.ms": 10,
            # At the end of a changelog the broker keeps a fetch waiting this long.
            "fetch.wait.max.ms": 10,
            "queued.min.messages": 500_000,
            "queued.max.messages.kbytes": 65_536,
            "group.id": f"{self._app.id}-restore",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "check.crcs": True,
        }

    def _producer(self, slot: Slot, batch_bytes: int) -> TransactionalProducer:
        kafka = self._settings.kafka
        config = {
            **self._client_config(),
            "linger.ms": 5,
            "batch.num.messages": 10_000,
            "batch.size": min(900_000, batch_bytes),
            # The client's largest: sizes are checked against each topic's own limit.
            "message.max.bytes": 1_000_000_000,
            "queue.buffering.max.messages": 1_000_000,
            # A transaction takes 5 ms with this and 103 ms with the default.
            "retry.backoff.ms": 1,
            "retry.backoff.max.ms": 50,
            **kafka.producer,
            "enable.idempotence": True,
        }
        timeouts = {
            "transaction_timeout_ms": kafka.transaction_timeout_ms,
            "request_timeout_ms": kafka.request_timeout_ms,
        }
        if self._app.guarantee == "at_least_once":
            return IdempotentProducer(config, **timeouts)
        config |= {
            "transactional.id": f"{self._app.id}-{slot.identity}",
            "transaction.timeout.ms": kafka.transaction_timeout_ms,
        }
        return TransactionalProducer(config, **timeouts)


def _kafka_log() -> logging.Logger:
    """Return the logger of the Kafka clients, as information at most.

    The client reports every connection that it will try again as an error. What stops the
    application is an error of ours.
    """
    logger = logging.getLogger("penstock.kafka")
    if not logger.filters:
        logger.addFilter(_as_information)
    return logger


def _as_information(record: logging.LogRecord) -> bool:
    record.levelno = min(record.levelno, logging.INFO)
    record.levelname = logging.getLevelName(record.levelno)
    return True


@contextmanager
def _refused_settings() -> Generator[None]:
    try:
        yield
    except KafkaException as error:
        raise TopologyError(
            f"The Kafka client refuses its settings: {error.args[0].str()}. Correct"
            " KafkaSettings(client=..., consumer=..., producer=...)."
        ) from error


def _topics(topology: Topology, *, reading: str | None = None) -> frozenset[str]:
    """Return the input topics, or those of which some step reads a column."""
    return frozenset(
        topic
        for node in topology
        if node.source and (reading is None or topology.reads(node, reading))
        for topic in node.source.topics
    )


@contextmanager
def _quiet_collector() -> Generator[None]:
    """Collect garbage rarely: messages are tracked objects, and 33 % of the time went there."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


@contextmanager
def _stopped_by_signals(running: Running) -> Generator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        running.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
