"""The producer of the simulation, idempotent or transactional.

Rule 1: records wait in the producer until `poll`, `flush` or a commit sends them; which ones
        `poll` sends is up to the broker's `draw`.
Rule 2: the first failure of a transaction stays: every later call but the abort reports it.
        After a fatal one every call does.
Rule 3: `poll` and `flush` raise a fatal error once. Where a callback is due at that moment, it
        runs, and then the client breaks: SystemError, with the error as its cause.
Rule 4: a call whose request or answer is lost takes its whole timeout, and says that nobody
        knows what it did.

Source: librdkafka, rdkafka_txnmgr.c.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from penstock.testing.sim.coordinator import GroupMetadata, Partition
from penstock.testing.sim.faults import abortable, error, timed_out
from penstock.testing.sim.log import Row
from penstock.testing.sim.process import Fate, Process
from penstock.testing.sim.topics import ClusterInfo
from penstock.testing.sim.transactions import Session

if TYPE_CHECKING:
    from penstock.testing.sim.broker import SimBroker

Delivery: TypeAlias = Callable[[KafkaError | None, Message], object]
LATE_S = 2.0  # at most, beyond the time that the caller waits


class _Queued(NamedTuple):
    at: Partition
    row: Row
    delivery: Delivery | None


class SimProducer:
    """A client with the names, arguments and errors of confluent_kafka's Producer."""

    def __init__(self, broker: "SimBroker", process: Process, config: Mapping[str, Any]) -> None:
        self._broker = broker
        self._process = process
        self._id: str | None = config.get("transactional.id")
        self._timeout_s = int(config.get("transaction.timeout.ms", 60_000)) / 1000
        self._on_delivery: Delivery | None = config.get("on_delivery")
        self._session: Session | None = None
        self._in_transaction = False
        self._touched = False
        self._problem: KafkaException | None = None
        self._queue: deque[_Queued] = deque()

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> ClusterInfo:
        """Return metadata of all topics."""
        self._process.call("list_topics")
        return self._broker.cluster()

    # Records

    def produce(
        self,
        topic: str,
        value: bytes | str | None = None,
        key: bytes | str | None = None,
        partition: int = 0,
        callback: Delivery | None = None,
        on_delivery: Delivery | None = None,
        timestamp: int = 0,
        headers: Sequence[tuple[str, bytes | None]] | None = None,
    ) -> None:
        """Queue a record.

        Raises:
            KafkaException: if there is no transaction, or it has failed.
        """
        self._process.call("produce")
        if self._id is not None and not self._in_transaction:
            raise error(KafkaError._STATE, "there is no open transaction")
        if self._problem:
            raise self._problem
        time_ms = timestamp or self._broker.clock.now_ms()
        row = Row(_bytes(key), _bytes(value), time_ms, list(headers) if headers else None)
        delivery = callback or on_delivery or self._on_delivery
        self._queue.append(_Queued((topic, partition), row, delivery))

    def poll(self, timeout: float = 0) -> int:
        """Send some of what waits, and call back for it."""
        self._process.call("producer_poll")
        draw, waiting = self._broker.draw, len(self._queue)
        return self._send(draw.randint(0, waiting) if draw else waiting)

    def flush(self, timeout: float = -1) -> int:
        """Send what waits, and return how much of it the broker has not acknowledged."""
        fate = self._process.call("flush")
        if fate is Fate.LOST_REQUEST:
            self._process.wait(timeout)
            return len(self._queue)
        self._send(len(self._queue))
        return 0

    def __len__(self) -> int:
        return len(self._queue)

    def _send(self, limit: int) -> int:
        untold, told = self._problem is None, False
        for _ in range(limit):
            queued = self._queue.popleft()
            try:
                offset, problem = self._append(queued), None
            except KafkaException as failed:
                offset, problem = -1, failed.args[0]
                self._fail(failed)
            if queued.delivery:
                queued.delivery(problem, _delivered(queued, offset, problem))
                told = told or problem is not None
        if untold and self._problem and self._problem.args[0].fatal():
            if told:
                raise SystemError("a callback returned a result with an exception set") from (
                    self._problem
                )
            raise self._problem
        return limit

    def _append(self, queued: _Queued) -> int:
        if self._id is None:
            return self._broker.log(queued.at).append(queued.row)
        if self._problem:
            raise self._problem
        offset = self._broker.transactions.append(self._held(), queued.at, queued.row)
        self._touched = True
        return offset

    # Transactions

    def init_transactions(self, timeout: float = -1) -> None:
        """Fence whoever had the transactional id before, and end its transaction."""
        fate = self._process.call("init_transactions")
        if fate is Fate.LOST_REQUEST:
            self._wait(timeout, "init_transactions")
        assert self._id is not None, "transactional.id is not set"
        session = self._broker.transactions.init(self._id, self._timeout_s)
        if fate is not Fate.DONE:
            self._wait(timeout, "init_transactions")
        self._session = session

    def begin_transaction(self) -> None:
        """Begin a transaction; the broker hears of it with the first record.

        Raises:
            KafkaException: if one is open, or the producer is of no use any more.
        """
        self._process.call("begin_transaction")
        if self._problem:
            raise self._problem
        self._held()
        if self._in_transaction:
            raise error(KafkaError._STATE, "a transaction is open already")
        self._in_transaction, self._touched = True, False

    def send_offsets_to_transaction(
        self, positions: Iterable[TopicPartition], group_metadata: bytes, timeout: float = -1
    ) -> None:
        """Put offsets into the transaction.

        Raises:
            KafkaException: if the group does not know the member, or the transaction failed.
        """
        fate = self._process.call("send_offsets_to_transaction")
        self._check_open()
        if fate is Fate.LOST_REQUEST:
            self._wait(timeout, "send_offsets_to_transaction")
        name, generation, member, instance = json.loads(group_metadata)
        self._touched = True
        with_metadata = {
            (at.topic, at.partition): (at.offset, at.metadata or "") for at in positions
        }
        try:
            self._broker.transactions.add_offsets(
                self._held(),
                self._broker.group(name),
                GroupMetadata(name, generation, member, instance),
                with_metadata,
            )
        except KafkaException as problem:
            self._fail(problem)
            raise
        if fate is not Fate.DONE:
            self._wait(timeout, "send_offsets_to_transaction")

    def commit_transaction(self, timeout: float = -1) -> None:
        """Send what waits and commit.

        Raises:
            KafkaException: if the transaction failed, or nobody knows whether it is committed.
        """
        fate = self._process.call("commit_transaction")
        self._check_open()
        self._send(len(self._queue))
        self._check_open()
        self._end(fate, timeout, commit=True)

    def abort_transaction(self, timeout: float = -1) -> None:
        """Drop what waits and abort.

        Raises:
            KafkaException: if the producer is of no use any more, or the answer is lost.
        """
        fate = self._process.call("abort_transaction")
        if self._problem and self._problem.args[0].fatal():
            raise self._problem
        self._queue.clear()
        self._problem = None
        self._end(fate, timeout, commit=False)

    def _end(self, fate: Fate, timeout: float, *, commit: bool) -> None:
        session = self._held()
        if self._touched and fate is Fate.LATE:
            draw = self._broker.draw
            late_s = max(0.0, timeout) + (draw.uniform(0, LATE_S) if draw else LATE_S)
            self._broker.later(late_s, lambda: self._end_late(session, commit=commit))
        if fate in (Fate.LATE, Fate.LOST_REQUEST):
            self._wait(timeout, "ending the transaction")
        if self._touched:
            try:
                self._broker.transactions.end(session, commit=commit)
            except KafkaException as problem:
                self._fail(problem)
                raise
        self._in_transaction = self._touched = False
        if fate is Fate.LOST_ANSWER:
            self._wait(timeout, "ending the transaction")

    def _end_late(self, session: Session, *, commit: bool) -> None:
        try:
            self._broker.transactions.end(session, commit=commit)
        except KafkaException:
            return  # nobody waits for this answer

    def _wait(self, timeout: float, what: str) -> None:
        self._process.wait(max(0.0, timeout))
        raise timed_out(f"{what} has timed out")

    def _held(self) -> Session:
        if self._session is None:
            raise error(KafkaError._STATE, "init_transactions has not been called")
        return self._session

    def _check_open(self) -> None:
        if self._problem:
            raise self._problem
        if not self._in_transaction:
            raise error(KafkaError._STATE, "there is no open transaction")

    def _fail(self, problem: KafkaException) -> None:
        found: KafkaError = problem.args[0]
        if self._problem and self._problem.args[0].fatal():
            return
        if found.fatal() or found.txn_requires_abort():
            self._problem = problem
        else:
            self._problem = abortable(found.code(), found.str())


def _bytes(data: bytes | str | None) -> bytes | None:
    return data.encode() if isinstance(data, str) else data


def _delivered(queued: _Queued, offset: int, problem: KafkaError | None) -> Message:
    return Message(
        topic=queued.at[0],
        partition=queued.at[1],
        offset=offset,
        key=queued.row.key,
        value=queued.row.value,
        error=problem,
    )
