"""The input consumer: the group's membership, and records as columns.

The group subscribes to lead topics. Whoever is assigned one takes its siblings by
`incremental_assign`. Where to begin is asked for in the loop, because a predecessor's
transaction may still be pending; the client is told of an input only then. (Given at once and
paused, an input that is resumed waits up to a second until the client's broker thread wakes.)
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any, cast

from confluent_kafka import (
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from penstock.errors import BrokerError
from penstock.operators.source import Fetched
from penstock.runtime.clients import Clients
from penstock.runtime.message import Message
from penstock.secret import revealed

Inputs = Iterable[tuple[str, int]]

MOST_RUNS = 16
AWAKE_S = 1.0
WATERMARK_TIMEOUT_S = 2.0
WAKE_TIMEOUT_S = 0.2
NO_TOPIC = "(rejoin "


@dataclass(frozen=True)
class Membership:
    """What the group's callbacks call: with what was assigned, revoked, or lost.

    They run inside `fetch` and `close`. `revoked` and `lost` return the inputs to give back:
    the leads and their siblings.
    """

    assigned: Callable[[list[tuple[str, int]]], None]
    revoked: Callable[[list[tuple[str, int]]], list[tuple[str, int]]]
    lost: Callable[[list[tuple[str, int]]], list[tuple[str, int]]]


class InputConsumer:
    """Read the inputs of this worker.

    Args:
        config: librdkafka settings, `group.id` among them.
        topics: all inputs.
        with_headers: those whose headers somebody reads.
        with_messages: those of which all that a record has may be needed later.
        clients: the Kafka client's classes, and time.

    Attributes:
        put_out: whether the group has put this worker out for good.
        waited_s: seconds for which `fetch` has waited for a first record, in all.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        topics: frozenset[str],
        with_headers: frozenset[str],
        with_messages: frozenset[str] = frozenset(),
        clients: Clients,
    ) -> None:
        self.client: Consumer = clients.consumer(revealed(config))
        self._now = clients.now
        self._topics = topics
        self.put_out = False
        self.waited_s = 0.0
        self._begun: set[tuple[str, int]] = set()
        self._leads: list[str] = []
        self._membership: Membership | None = None
        self._rejoins = 0
        self._shared_anew = False
        self._newcomer = True
        self._empty_handed = False
        self._sought = -AWAKE_S
        self._cooperative = config.get("group.protocol") == "classic"
        self._with_headers = with_headers
        self._with_messages = with_messages

    def subscribe(self, topics: Sequence[str], membership: Membership, timeout_s: float) -> None:
        """Join the group.

        Raises:
            BrokerError: if the cluster does not answer.
        """
        try:
            # Without it about half of the starts wait 1.0 s for metadata.
            for topic in sorted(self._topics):
                self.client.list_topics(topic, timeout_s)
            self._leads, self._membership = list(topics), membership
            self._subscribe(self._leads, membership)
        except KafkaException as error:
            raise _failed("Joining the group", error) from error

    @property
    def member_id(self) -> str | None:
        """The id that this member has in the group; None where it is not in it."""
        return self.client.memberid() or None

    def rejoin(self) -> None:
        """Join the group again and keep what there is: so a rebalance begins.

        The client has no call for that, but it looks a new topic up when it subscribes to one,
        and joins again after that. No topic can have this name. It is taken back at once: for as
        long as the topic is not there, the client would look it up again and never join. (A
        pattern that matches nothing does it once in a quarter of an hour only.)
        """
        if self._membership is None or self.member_id is None:
            return  # it joins already; the client would end the process on an assertion
        self._rejoins += 1  # a name that this user may not look up would be remembered
        with suppress(KafkaException):  # what is wrong with the client, `fetch` says
            for topics in ([*self._leads, f"{NO_TOPIC}{self._rejoins})"], self._leads):
                self._subscribe(topics, self._membership)

    def ask_for_more(self) -> None:
        """Join again as a newcomer that has got nothing: others give some of theirs back now.

        They give it to nobody at first, and who is to have it hears of that by a heartbeat, and
        may join once a second only: it would be nobody's for one to three seconds. Who
        subscribes again joins at once: 5 ms.
        """
        if self._cooperative:
            self.rejoin()

    def fetch(self, timeout_s: float, limit: int) -> list[Fetched]:
        """Return what there is, waiting at most timeout_s for a first record.

        Where an input has come to its end, that is told by no records and the offset behind
        it, which steps over the markers and aborted records of transactions.

        `poll` first, then `consume` without a wait: `consume` with one waits the whole time.

        Raises:
            BrokerError: if an input cannot be read, or its position is gone.
        """
        began = self._now()
        first = self.client.poll(timeout_s)
        self.waited_s += self._now() - began
        if self._shared_anew:
            self._shared_anew = False
            self._wake()
        if self._empty_handed:
            self._empty_handed = False
            self.ask_for_more()
        if first is None:
            return []
        fetched = [first, *self.client.consume(limit, 0)] if limit else [first]
        messages = cast("list[Message]", fetched)
        failed = [message for message in messages if message.error()]
        if failed:
            self._check(failed)
            messages = [message for message in messages if not message.error()]
        sources: Sequence[object] = [message.partition() for message in messages]
        if len(self._topics) > 1:
            sources = list(zip([message.topic() for message in messages], sources, strict=True))
        found = [self._columns(run) for run in runs(messages, sources)]
        return found + [_end(m) for m in failed if _is_end(m)] if failed else found

    def committed(self, inputs: Inputs, timeout_s: float) -> dict[tuple[str, int], Any] | None:
        """Return committed offsets with their metadata, -1 where there is none.

        None says that the group has no stable answer yet: a transaction is pending, or the
        coordinator is busy.

        Raises:
            BrokerError: if the group refuses.
        """
        try:
            found = self.client.committed([TopicPartition(t, p) for t, p in inputs], timeout_s)
        except KafkaException as error:
            problem = error.args[0]
            if problem.retriable() or problem.code() in _NOT_YET:
                return None
            raise _failed("Reading committed offsets", error) from error
        for position in found:
            if position.error:
                raise BrokerError(
                    f"Reading the committed offset of {position.topic}/{position.partition}"
                    f" failed: {position.error.str()}. Check the cluster's health and this user's"
                    " rights on topic and group.",
                    topic=position.topic,
                    partition=position.partition,
                )
        return {
            (at.topic, at.partition): (
                at.offset if at.offset != OFFSET_INVALID else -1,
                at.metadata,
            )
            for at in found
        }

    def remembered(self, inputs: Inputs, timeout_s: float) -> dict[tuple[str, int], str]:
        """Return the metadata beside the committed offsets of inputs, where there is any.

        Raises:
            BrokerError: if the group does not answer in time.
        """
        deadline = self._now() + timeout_s
        while self._now() < deadline:
            found = self.committed(inputs, timeout_s)
            if found is not None:
                return {at: text for at, (_, text) in found.items() if text}
        raise BrokerError(
            f"The group's coordinator has not answered within {timeout_s:g} s. Check the"
            " cluster's health, and start again."
        )

    def seek(self, positions: Mapping[tuple[str, int], int]) -> None:
        """Go to offsets of inputs that are being read; what was fetched is dropped.

        Raises:
            BrokerError: if an input is not ours any more.
        """
        try:
            for (topic, partition), offset in positions.items():
                if (topic, partition) in self._begun:
                    self._sought = self._now()
                    self.client.seek(TopicPartition(topic, partition, offset))
        except KafkaException as error:
            raise _failed("Seeking", error) from error

    def begin(self, positions: Mapping[tuple[str, int], int]) -> None:
        """Let records of inputs come, from these offsets on.

        Raises:
            BrokerError: if an input is not ours any more.
        """
        again = {at: offset for at, offset in positions.items() if at in self._begun}
        new = [TopicPartition(*at, offset) for at, offset in positions.items() if at not in again]
        self.seek(again)
        try:
            self.client.resume([TopicPartition(*at) for at in again])
            self.client.incremental_assign(new)
        except KafkaException as error:
            raise _failed("Taking inputs", error) from error
        self._begun.update(positions)

    def pause(self, inputs: Inputs) -> None:
        """Hold records of these inputs back until they begin again."""
        self.client.pause([TopicPartition(*at) for at in inputs if at in self._begun])

    def resume(self, inputs: Inputs) -> None:
        """Let records of paused inputs come again, from where they are."""
        self.client.resume([TopicPartition(*at) for at in inputs if at in self._begun])

    def latest(self, inputs: Inputs) -> dict[tuple[str, int], int]:
        """Return the ends of the inputs as the client last saw them, -1 where it has not."""
        ends: dict[tuple[str, int], int] = {}
        for topic, partition in inputs:
            try:
                found = self.client.get_watermark_offsets(
                    TopicPartition(topic, partition), cached=True
                )
            except KafkaException:
                found = None
            ends[topic, partition] = found[1] if found else -1
        return ends

    def close(self) -> None:
        """Leave; a static member keeps its partitions until its session ends."""
        self.client.close()

    def _subscribe(self, topics: list[str], membership: Membership) -> None:
        self.client.subscribe(
            topics,
            on_assign=lambda _, found: self._accept(membership, _pairs(found)),
            on_revoke=lambda _, found: self._give(membership.revoked(_pairs(found))),
            on_lost=lambda _, found: self._lose(membership.lost(_pairs(found))),
        )

    def _wake(self) -> None:
        """Let the client read on: a rebalance right behind a seek lets it sleep for a second.

        Any request to the brokers of the inputs wakes the threads that sleep.
        """
        if self._begun and self._now() - self._sought < AWAKE_S:
            asked = [TopicPartition(*at, 0) for at in sorted(self._begun)]
            with suppress(KafkaException):
                self.client.offsets_for_times(asked, WAKE_TIMEOUT_S)

    def _accept(self, membership: Membership, found: list[tuple[str, int]]) -> None:
        self._shared_anew = True
        self._newcomer, self._empty_handed = False, self._newcomer and not found
        membership.assigned(found)
        self.client.incremental_assign([])  # else the client would begin by itself

    def _lose(self, inputs: list[tuple[str, int]]) -> None:
        self._newcomer = True
        self._give(inputs)

    def _give(self, inputs: list[tuple[str, int]]) -> None:
        self._shared_anew = True
        self.resume(inputs)  # a pause outlasts the assignment, and would hold if they came back
        self.client.incremental_unassign(
            [TopicPartition(*at) for at in inputs if at in self._begun]
        )
        self._begun.difference_update(inputs)

    def _may_be_overtaken(self, message: Message) -> bool:
        """Whether what is committed is still there: then its owner goes on, who is not this one."""
        at = TopicPartition(str(message.topic()), message.partition() or 0)
        try:
            start, _ = self.client.get_watermark_offsets(at, WATERMARK_TIMEOUT_S)
            (found,) = self.client.committed([at], WATERMARK_TIMEOUT_S)
        except KafkaException:
            return True
        return bool(found.offset >= start)

    def _check(self, failed: list[Message]) -> None:
        for message in failed:
            problem = message.error()
            if problem is None or (message.topic() or "").startswith(NO_TOPIC):
                continue
            if problem.code() == KafkaError._AUTO_OFFSET_RESET:
                if (message.topic(), message.partition()) not in self._begun:
                    continue  # given back in this very fetch: its next owner has gone on
                if self._may_be_overtaken(message):
                    raise BrokerError(
                        f"The position in {message.topic()}/{message.partition()} is gone:"
                        f" {problem.str()}. Another worker has gone on with it while this one"
                        " stalled, or the cluster does not say. Nothing is lost; start it again.",
                        topic=message.topic(),
                        partition=message.partition(),
                    )
                raise BrokerError(
                    f"The position in {message.topic()}/{message.partition()} is gone:"
                    f" {problem.str()}. Retention has deleted records that were not processed"
                    " yet, or the topic was made anew. Raise retention.ms, and start over under"
                    " a new application id if the loss is acceptable.",
                    topic=message.topic(),
                    partition=message.partition(),
                )
            if problem.fatal() or problem.code() == KafkaError._FATAL:
                self.put_out = True
                raise BrokerError(
                    f"The group has put this worker out: {problem.str()}. Either the cluster"
                    " was away for longer than a session (session_timeout_ms), or another worker"
                    " runs under its identity (a copy of its state folder, or the same"
                    " worker_id), or it was silent for longer than max_poll_interval_ms. Nothing"
                    " is lost; start it again."
                )
            if not (problem.retriable() or problem.code() in _PASSING):
                raise _unreadable(message, problem)

    def _columns(self, messages: list[Message]) -> Fetched:
        """Take the columns out of the messages: 0.15 us per record, 0.09 of it the timestamp."""
        first, last = messages[0], messages[-1]
        topic = first.topic()
        return Fetched(
            topic,
            first.partition(),
            [message.key() for message in messages],
            [message.value() for message in messages],
            [message.timestamp()[1] for message in messages],
            _offsets(messages),
            [m.headers() for m in messages] if topic in self._with_headers else None,
            last.offset() + 1,
            messages if topic in self._with_messages else None,
        )


_NOT_YET = (
    KafkaError._TIMED_OUT,
    KafkaError._TRANSPORT,
    KafkaError._WAIT_COORD,
    KafkaError.UNSTABLE_OFFSET_COMMIT,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.NOT_COORDINATOR,
)
# The client goes on by itself after these.
_PASSING = (
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TRANSPORT,
    KafkaError._RESOLVE,
    KafkaError._TIMED_OUT,
    KafkaError._MAX_POLL_EXCEEDED,
    KafkaError._PARTITION_EOF,
)
_ABOUT_BYTES = (KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION, KafkaError._UNDERFLOW)
_END = KafkaError._PARTITION_EOF


def runs(messages: list[Message], sources: Iterable[object]) -> list[list[Message]]:
    """Split messages where their source changes: 25 ns each.

    A source may come up more than once, in order; where they alternate, they are gathered.
    """
    lengths = [len(list(group)) for _, group in groupby(sources)]
    if len(lengths) <= MOST_RUNS:
        ends = list(accumulate(lengths))
        return [messages[stop - size : stop] for stop, size in zip(ends, lengths, strict=True)]
    runs: dict[tuple[str, int], list[Message]] = defaultdict(list)
    for message in messages:
        runs[message.topic(), message.partition()].append(message)
    return list(runs.values())


def _offsets(messages: list[Message]) -> Sequence[int]:
    """Their offsets, which are a range unless a transaction's marker stands in between."""
    first, last = messages[0].offset(), messages[-1].offset()
    if last - first == len(messages) - 1:
        return range(first, last + 1)
    return [message.offset() for message in messages]


def _is_end(event: Message) -> bool:
    problem = event.error()
    return problem is not None and problem.code() == _END


def _end(event: Message) -> Fetched:
    """Say that nothing stands before an offset any more."""
    return Fetched(event.topic(), event.partition(), [], [], [], [], None, event.offset())


def _pairs(positions: Iterable[TopicPartition]) -> list[tuple[str, int]]:
    return [(position.topic, position.partition) for position in positions]


def _unreadable(message: Message, problem: KafkaError) -> BrokerError:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    if problem.code() in _ABOUT_BYTES:
        return BrokerError(
            f"The batch at {topic}/{partition} offset {offset} cannot be read: {problem.str()}. The"
            " records before it are committed; it is not skipped. Its bytes have changed on the"
            " broker's disk or on the way, or it decompresses to more than the client takes: check"
            " the disks of the brokers that have this partition, and who writes to it.",
            topic=topic,
            partition=partition,
            offset=offset,
        )
    return BrokerError(
        f"Reading {topic or 'the inputs'} failed: {problem.str()}. Check the cluster's health and"
        " this user's rights on topic and group.",
        topic=topic,
    )


def _failed(doing: str, error: KafkaException) -> BrokerError:
    return BrokerError(
        f"{doing} failed: {error.args[0].str()}. Check the cluster's health and this user's"
        " rights on topic and group."
    )
