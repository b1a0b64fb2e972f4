"""The producers: a transactional one for exactly once, an idempotent one for at least once.

Both have the same verbs, so that the worker's loop is one. Records are produced with explicit
partitions and without callbacks of their own, except the last one of each changelog
partition, whose offset the store has to know: a commit fails if any record of it failed.
"""

import logging
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from itertools import islice, repeat
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from penstock.errors import BrokerError
from penstock.operators.sink import Outgoing
from penstock.runtime.clients import Clients
from penstock.runtime.faults import ABOUT_DATA, Abortable, Unknown, sorted_out
from penstock.runtime.message import Message
from penstock.secret import revealed

log = logging.getLogger("penstock")

Offsets = Mapping[tuple[str, int], tuple[int, str]]

FULL_QUEUE_WAIT_S = 0.05
RETRY_PAUSE_S = 0.2
INIT_SLICE_S = 2.0  # a stop waits for two of them at most
FLUSH_SLICE_S = 0.5
SLOW_S = 3.0  # a start, or an acknowledgement, that takes longer is told
OVERRUN_S = 1.0
_FENCED = (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)
# The client calls these final where it asks for metadata; brokers come back.
_AWAY = (KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN)


def _nobody(_records: int, _seconds: float) -> None:
    """Tell nobody that records wait for long."""


def _nothing() -> None:
    """Be called where nobody listens."""


class Connections:
    """What a client logs of its connections: it mends them by itself, and tells nobody else.

    Args:
        log: the client's log.

    Attributes:
        broken: how the one to the transaction coordinator has ended.
    """

    def __init__(self, log: Any) -> None:
        self._log = log
        self.broken = ""

    def log(self, level: int, message: str, *args: object) -> None:
        """Take a line of the client."""
        line = message % args
        if line.startswith("FAIL") and "TxnCoordinator" in line:
            self.broken = line
        self._log.log(level, message, *args)


class TransactionalProducer:
    """Produce in transactions.

    Args:
        config: librdkafka settings, `transactional.id` among them.
        transaction_timeout_ms: bound of everything that happens in one transaction.
        request_timeout_ms: bound of one call.
        clients: the Kafka client's classes, and time.
        alive: called before each wait for the cluster; each of them is bounded.
        fenced: called when another producer has taken its identity; returns whether to leave
            it to that one.
        slow: called once in a flush that takes long: with how many records wait, and for how
            many seconds they have.

    Attributes:
        delivered: per (changelog topic, partition), the offset behind the last record that
            the broker has acknowledged.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        transaction_timeout_ms: int,
        request_timeout_ms: int,
        clients: Clients,
        alive: Callable[[], None] = _nothing,
        fenced: Callable[[], bool] = lambda: False,
        slow: Callable[[int, float], None] = _nobody,
    ) -> None:
        self._config = dict(config)
        self._connections = Connections(config.get("logger"))
        if "logger" in config:
            self._config["logger"] = self._connections
        self._clients = clients
        self._transaction_timeout_s = transaction_timeout_ms / 1000
        self._timeout_s = request_timeout_ms / 1000
        self._alive = alive
        self._fenced = fenced
        self._slow = slow
        self._slow_s = min(SLOW_S, self._transaction_timeout_s / 2)
        self._began = 0.0
        self.delivered: dict[tuple[str, int], int] = {}
        self._producer: Producer = self._clients.producer(revealed(self._config))

    def init(self, wait_ms: int, stopped: Callable[[], bool] = lambda: False) -> None:
        """Fence predecessors and end their transactions, unless somebody says stop meanwhile.

        Raises:
            BrokerError: if the cluster does not answer within wait_ms or refuses.
        """
        began, told = self._clients.now(), False
        deadline = began + wait_ms / 1000
        slice_s = min(INIT_SLICE_S, self._timeout_s)
        while not stopped():
            self._alive()
            try:
                # Connected, it finds its coordinator at once; else it tries again after 0.5 s.
                self._producer.list_topics("__transaction_state", slice_s)
                self._producer.init_transactions(slice_s)  # one that has timed out goes on
                return
            except KafkaException as error:
                problem = error.args[0]
                passing = problem.retriable() or problem.code() in _AWAY
                if not passing or self._clients.now() > deadline:
                    raise BrokerError(
                        f"The transactional producer {self._config['transactional.id']} cannot"
                        f" start: {problem.str()}. Check that the cluster's transaction state"
                        " topic is healthy, and that this user may use the transactional id."
                    ) from error
                if not told and self._clients.now() > began + SLOW_S:
                    told = True
                    log.warning(
                        "The transactional producer %s cannot start yet: %s. Trying for up to"
                        " %g s.",
                        self._config["transactional.id"],
                        problem.str(),
                        wait_ms / 1000,
                    )
            self._clients.sleep(RETRY_PAUSE_S)

    def renew(self, wait_ms: int) -> None:
        """Replace the producer: what the old one still has on its way is fenced.

        Raises:
            BrokerError: as `init` does.
        """
        self._producer = self._clients.producer(revealed(self._config))
        self.init(wait_ms)

    def begin(self) -> None:
        """Begin a transaction."""
        self._began = self._clients.now()
        with self._sorted_out():
            self._producer.begin_transaction()

    def produce(self, out: Outgoing) -> None:
        """Queue encoded records: 0.6 us each."""
        rows = zip(
            repeat(out.topic),
            out.values,
            out.keys,
            out.partitions,
            repeat(None),
            repeat(None),
            out.timestamps,
            *([] if out.headers is None else [out.headers]),
            strict=False,
        )
        with self._sorted_out():
            if out.store:
                self._queue(islice(rows, len(out.values) - 1))
                last = next(rows)
                self._queue([(*last[:4], self._acknowledged, None, *last[6:])])
            else:
                self._queue(rows)
            self._producer.poll(0)

    def _queue(self, rows: Iterable[tuple[Any, ...]]) -> None:
        produce = self._producer.produce
        for row in rows:
            try:
                produce(*row)
            except BufferError:
                self._queue_slowly(row)

    def _queue_slowly(self, row: tuple[Any, ...]) -> None:
        """Queue a record while the queue is full: wait for room, for as long as it may take."""
        deadline = self._clients.now() + self._transaction_timeout_s
        while True:
            self._producer.poll(FULL_QUEUE_WAIT_S)
            try:
                self._producer.produce(*row)
                return
            except BufferError:
                if self._clients.now() > deadline:
                    raise Abortable(
                        "the producer's queue stayed full for"
                        f" {self._transaction_timeout_s:g} s: the broker takes no records"
                    ) from None

    def flush(self) -> None:
        """Wait until the broker has acknowledged every record.

        Raises:
            Abortable: if it has not within the transaction's timeout.
            Unknown: if the producer is unusable.
        """
        self._alive()
        began, told = self._clients.now(), False
        deadline = began + self._transaction_timeout_s
        while True:
            with self._sorted_out():
                left = self._producer.flush(FLUSH_SLICE_S)
                if not left:
                    return
                self._raise_failure()
            if not told and self._clients.now() > began + self._slow_s:
                told = True
                self._slow(left, self._slow_s)
            if self._clients.now() > deadline:
                raise Abortable(
                    f"{left} records were not acknowledged within"
                    f" {self._transaction_timeout_s:g} s (transaction_timeout_ms)"
                )

    def _raise_failure(self) -> None:
        """Raise what has made the transaction fail: nothing more of it is sent then.

        The client tells it to who asks for what cannot be: to begin another one.
        """
        try:
            self._producer.begin_transaction()
        except KafkaException as error:
            if error.args[0].code() != KafkaError._STATE:
                raise

    def send_offsets(self, offsets: Offsets, consumer: Consumer) -> None:
        """Put offsets with their metadata into the transaction, with fresh group metadata."""
        positions = [
            TopicPartition(topic, partition, offset, metadata)
            for (topic, partition), (offset, metadata) in offsets.items()
        ]
        producer, timeout_s = self._producer, self._timeout_s
        self._alive()
        with self._sorted_out():
            group = consumer.consumer_group_metadata()
            self._clients.bounded(
                lambda: producer.send_offsets_to_transaction(positions, group, timeout_s),
                timeout_s + OVERRUN_S,
                "sending offsets",
            )

    def commit(self) -> None:
        """Commit the transaction.

        Where a connection breaks meanwhile, the client sends the commit once more by itself. The
        first one may still be on its way, and would end the next transaction: unknown, too.

        Raises:
            Abortable: if it can be aborted instead.
            Unknown: if nobody knows whether it is committed, or how often it will be.
        """
        self._alive()
        self._connections.broken = ""
        with self._sorted_out():
            self._producer.commit_transaction(self._timeout_s)
            self._clients.hear(self._producer)
        if self._connections.broken:
            raise Unknown(f"a connection broke meanwhile: {self._connections.broken}")

    def abort(self) -> None:
        """Abort the transaction.

        Raises:
            Unknown: if that fails.
        """
        self._alive()
        try:
            with self._sorted_out():
                self._producer.abort_transaction(self._timeout_s)
        except Abortable as error:
            raise Unknown(str(error)) from error

    def close(self) -> None:
        """Let go of the producer; an open transaction is aborted."""
        with suppress(KafkaException, SystemError):  # whatever it still had to say, it is over
            self._producer.flush(0)

    @contextmanager
    def _sorted_out(self) -> Generator[None]:
        """Sort errors out, and find out whether another producer has our identity.

        Raises:
            BrokerError: if that one has to be left to it.
        """
        try:
            with sorted_out():
                yield
        except Unknown as fault:
            if self._is_fenced(fault) and self._fenced():
                raise BrokerError(
                    f"Another worker has taken {self._config['transactional.id']}, again. This"
                    " one has a new identity from its next start on: start it. Nothing of the"
                    " open batch is committed."
                ) from fault
            raise

    def _is_fenced(self, fault: Unknown) -> bool:
        """Whether a fault is a fence that no timeout of a transaction explains."""
        code = fault.code
        if code == KafkaError._FATAL:
            try:
                with sorted_out():
                    self._producer.poll(0)  # says which fatal error it is
            except Unknown as told:
                code = told.code
        open_s = self._clients.now() - self._began
        return code in _FENCED and open_s < self._transaction_timeout_s

    def _acknowledged(self, error: Any, message: Message) -> None:
        if error is None:
            self.delivered[message.topic(), message.partition()] = message.offset() + 1


class IdempotentProducer(TransactionalProducer):
    """Produce without transactions: flush, then commit offsets.

    Verbs and errors are those of `TransactionalProducer`. Each record has a callback, because
    no commit tells of one that failed.
    """

    def __init__(self, config: Mapping[str, Any], **options: Any) -> None:
        super().__init__({**config, "on_delivery": self._report}, **options)
        self._failures: list[KafkaError] = []

    def init(self, wait_ms: int, stopped: Callable[[], bool] = lambda: False) -> None:
        """Do nothing: there is nobody to fence."""

    def begin(self) -> None:
        """Forget the failures of the batch before."""
        self._failures = []

    def _raise_failure(self) -> None:
        """Do nothing: what failed is reported."""

    def flush(self) -> None:
        """Wait until the broker has acknowledged every record.

        Raises:
            Abortable: if one has failed.
        """
        super().flush()
        if self._failures:
            raise Abortable(
                f"{len(self._failures)} records failed: {self._failures[0]}",
                about_data=any(failed.code() in ABOUT_DATA for failed in self._failures),
            )

    def send_offsets(self, offsets: Offsets, consumer: Consumer) -> None:
        """Commit offsets with their metadata to the group.

        Raises:
            Abortable: if the group does not take them.
        """
        positions = [
            TopicPartition(topic, partition, offset, metadata)
            for (topic, partition), (offset, metadata) in offsets.items()
        ]
        try:
            consumer.commit(offsets=positions, asynchronous=False)
        except KafkaException as error:
            raise Abortable(error.args[0].str()) from error

    def commit(self) -> None:
        """Do nothing: the offsets are committed."""

    def abort(self) -> None:
        """Do nothing: what is produced is produced."""

    def _report(self, error: Any, _message: Message) -> None:
        if error is not None:
            self._failures.append(error)
