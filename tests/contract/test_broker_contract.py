"""One contract for clusters: what Penstock relies on of Apache Kafka holds on SimBroker too.

Where they disagree, Kafka is right.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import NewTopic

from penstock.topics.admin import Owners
from tests.contract.cluster import CALL_S, COMMITTED, Cluster, Member, Reader

SHORT = {"session.timeout.ms": 1_500, "max.poll.interval.ms": 2_000}

both_protocols = pytest.mark.usefixtures("protocol")
consumer_protocol = pytest.mark.usefixtures("consumer_protocol")


def write(producer: Any, topic: str, values: Iterable[str], partition: int = 0) -> None:
    for value in values:
        producer.produce(topic, value, "key", partition)
    assert producer.flush(CALL_S) == 0


def written(cluster: Cluster, topic: str, values: Iterable[str], *, commit: bool = True) -> None:
    """Write values in a transaction."""
    producer = cluster.transactional()
    producer.begin_transaction()
    write(producer, topic, values)
    if commit:
        producer.commit_transaction(CALL_S)
    else:
        producer.abort_transaction(CALL_S)


def send_offsets(producer: Any, member: Any, topic: str, offset: int, text: str = "") -> None:
    positions = [TopicPartition(topic, 0, offset, text)]
    producer.send_offsets_to_transaction(positions, member.consumer_group_metadata(), CALL_S)


def begun_with_a_record(cluster: Cluster, topic: str) -> Any:
    """Make a producer in a transaction."""
    producer = cluster.transactional()
    producer.begin_transaction()
    write(producer, topic, ["a"])
    return producer


def refused(producer: Any, metadata: Any, topic: str, partition: int = 0) -> KafkaError | None:
    """Put an offset into the transaction, and return what the broker has against it, if so."""
    try:
        positions = [TopicPartition(topic, partition, 1)]
        producer.send_offsets_to_transaction(positions, metadata, CALL_S)
    except KafkaException as caught:
        problem: KafkaError = caught.args[0]
        assert (problem.txn_requires_abort(), problem.fatal()) == (True, False)
        return problem
    return None


def try_offsets(
    cluster: Cluster, metadata: Any, topic: str, partition: int = 0
) -> KafkaError | None:
    """Do so in a transaction of its own, which is ended."""
    producer = begun_with_a_record(cluster, topic)
    problem = refused(producer, metadata, topic, partition)
    if problem:
        producer.abort_transaction(CALL_S)
    else:
        producer.commit_transaction(CALL_S)
    return problem


def poll_until(cluster: Cluster, members: Sequence[Member], reached: Any, what: str) -> None:
    """Let members poll until something is so."""

    def asked() -> bool:
        for member in members:
            member.poll()
        return bool(reached())

    shown = [member.history for member in members]
    cluster.wait_until(asked, f"{what}: {shown}")


def shared(members: Sequence[Member], partitions: int) -> bool:
    """Whether all partitions are owned, each once, and evenly."""
    owned = [number for member in members for number in member.owned]
    sizes = [len(member.owned) for member in members]
    return sorted(owned) == list(range(partitions)) and max(sizes) - min(sizes) <= 1


# The log


def test_records_and_markers_take_offsets(cluster: Cluster) -> None:
    """A marker takes one offset that nobody reads; the end steps over it."""
    topic = cluster.topic()
    written(cluster, topic, ["a", "b"])
    write(cluster.producer(), topic, ["c"])
    written(cluster, topic, ["d"], commit=False)
    reader = cluster.reader(topic)
    reader.wait_end(6)
    assert (reader.values, reader.offsets) == ([b"a", b"b", b"c"], [0, 1, 3])
    assert cluster.end(topic) == 6


def test_the_end_is_told_once(cluster: Cluster) -> None:
    """And again behind new records, or after a seek."""
    topic = cluster.topic()
    written(cluster, topic, ["a"])
    reader = cluster.reader(topic)
    reader.wait_end(2)
    cluster.pass_time(0.2)
    reader.poll()
    assert reader.ends == [2]
    write(cluster.producer(), topic, ["b"])
    reader.wait_end(3)
    reader.consumer.seek(TopicPartition(topic, 0, 0))
    cluster.wait_until(lambda: reader.poll() or len(reader.ends) > 2, "the end again")
    assert reader.values == [b"a", b"b", b"a", b"b"]
    assert reader.ends == [2, 3, 3]


def test_aborted_records_are_seen_by_uncommitted_readers_only(cluster: Cluster) -> None:
    topic = cluster.topic()
    written(cluster, topic, ["a"], commit=False)
    written(cluster, topic, ["b"])
    committed = cluster.reader(topic)
    everything = cluster.reader(topic, **{"isolation.level": "read_uncommitted"})
    committed.wait_end(4)
    everything.wait_end(4)
    assert committed.values == [b"b"]
    assert everything.values == [b"a", b"b"]


@pytest.mark.parametrize("commit", [True, False])
def test_an_open_transaction_holds_later_records_back(cluster: Cluster, commit: bool) -> None:
    """The last stable offset is where the oldest open transaction begins."""
    topic = cluster.topic()
    plain, producer = cluster.producer(), cluster.transactional()
    write(plain, topic, ["a"])
    producer.begin_transaction()
    write(producer, topic, ["b"])
    write(plain, topic, ["c"])
    written(cluster, topic, ["d"])
    reader = cluster.reader(topic)
    reader.wait_end(1)
    assert reader.values == [b"a"]
    assert (cluster.end(topic, isolation=COMMITTED), cluster.end(topic)) == (1, 5)
    if commit:
        producer.commit_transaction(CALL_S)
    else:
        producer.abort_transaction(CALL_S)
    reader.wait_end(6)
    assert reader.values == ([b"a", b"b", b"c", b"d"] if commit else [b"a", b"c", b"d"])
    assert cluster.end(topic, isolation=COMMITTED) == 6


def test_a_position_before_the_start_is_an_error(cluster: Cluster) -> None:
    """Deleted records are gone, and nobody who waits for them goes on in silence."""
    topic = cluster.topic()
    write(cluster.producer(), topic, ["a", "b", "c"])
    cluster.delete_before(topic, 2)
    assert (cluster.start(topic), cluster.end(topic)) == (2, 3)
    cluster.reader(topic, offset=1).wait_error(KafkaError._AUTO_OFFSET_RESET)
    reader = cluster.reader(topic, offset=2)
    reader.wait_end(3)
    assert reader.values == [b"c"]


def test_a_position_behind_the_end_is_an_error(cluster: Cluster) -> None:
    topic = cluster.topic()
    write(cluster.producer(), topic, ["a"])
    cluster.reader(topic, offset=7).wait_error(KafkaError._AUTO_OFFSET_RESET)


def test_a_pause_outlasts_what_is_read(cluster: Cluster) -> None:
    """A partition that is given up while it is paused, and taken again, is not read before."""
    topic = cluster.topic()
    written(cluster, topic, ["a"])
    reader, at = Reader(cluster, cluster.consumer()), TopicPartition(topic, 0, 0)
    reader.consumer.incremental_assign([at])
    reader.wait_end(2)
    reader.consumer.pause([at])
    reader.consumer.incremental_unassign([at])
    reader.consumer.incremental_assign([at])
    for _ in range(10):
        reader.poll()
        cluster.pass_time(0.05)
    assert reader.values == [b"a"]
    reader.consumer.resume([at])
    cluster.wait_until(lambda: reader.poll() or len(reader.values) == 2, "it is read again")


def test_offsets_are_found_by_time(cluster: Cluster) -> None:
    """The first record at or after a time; -1 where there is none."""
    topic, producer = cluster.topic(), cluster.producer()
    now_ms = 1_700_000_000_000
    for seconds in range(3):
        producer.produce(topic, "a", "key", 0, timestamp=now_ms + 1_000 * seconds)
        producer.flush(CALL_S)
    found = [cluster.at_time(topic, now_ms + late) for late in (0, 1, 1_000, 2_001)]
    assert found == [0, 1, 1, -1]


def test_a_topic_is_created_once(cluster: Cluster) -> None:
    topic = cluster.topic()
    (asked,) = cluster.admin.create_topics([NewTopic(topic, num_partitions=1)]).values()
    with pytest.raises(KafkaException) as caught:
        asked.result(timeout=CALL_S)
    assert caught.value.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS


# Producers


def test_acknowledged_records_tell_their_offsets(cluster: Cluster) -> None:
    """The callback runs in `flush`."""
    topic, producer = cluster.topic(), cluster.transactional()
    found: list[tuple[Any, int]] = []
    producer.begin_transaction()
    producer.produce(topic, "a", "key", 0)
    producer.produce(topic, "b", "key", 0, lambda e, m: found.append((e, m.offset())))
    assert producer.flush(CALL_S) == 0
    assert found == [(None, 1)]
    producer.commit_transaction(CALL_S)


def test_calls_have_an_order(cluster: Cluster) -> None:
    """Out of it they fail, and break nothing."""
    topic, producer = cluster.topic(), cluster.transactional()
    for call in (producer.commit_transaction, lambda: producer.produce(topic, "a")):
        with pytest.raises(KafkaException) as caught:
            call()
        assert caught.value.args[0].code() == KafkaError._STATE
    producer.begin_transaction()
    with pytest.raises(KafkaException) as caught:
        producer.begin_transaction()
    assert caught.value.args[0].code() == KafkaError._STATE
    write(producer, topic, ["a"])
    producer.commit_transaction(CALL_S)


def test_an_empty_transaction_can_be_ended(cluster: Cluster) -> None:
    producer = cluster.transactional()
    for end in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        end(CALL_S)


def test_initialising_aborts_what_a_predecessor_left(cluster: Cluster) -> None:
    """And its commit is refused for good."""
    topic, name = cluster.topic(), cluster.unique("producer")
    zombie = cluster.transactional(name)
    zombie.begin_transaction()
    write(zombie, topic, ["a"])
    heir = cluster.transactional(name)
    cluster.wait_until(lambda: cluster.end(topic, isolation=COMMITTED) == 2, "it is aborted")
    with pytest.raises(KafkaException) as caught:
        zombie.commit_transaction(CALL_S)
    problem = caught.value.args[0]
    assert (problem.code(), problem.fatal()) == (KafkaError._FENCED, True)
    heir.begin_transaction()
    write(heir, topic, ["b"])
    heir.commit_transaction(CALL_S)
    reader = cluster.reader(topic)
    reader.wait_end(4)
    assert reader.values == [b"b"]


@pytest.mark.parametrize("called_back", [False, True])
def test_a_fenced_producer_writes_nothing(cluster: Cluster, called_back: bool) -> None:
    """Polling and flushing raise it once, and whatever it tries next fails too.

    Where a callback is due at that moment, the client runs it and then breaks: SystemError.
    """
    topic, name = cluster.topic(), cluster.unique("producer")
    zombie = cluster.transactional(name)
    cluster.transactional(name)
    failed: list[Any] = []
    zombie.begin_transaction()
    note = (lambda error, _: failed.append(error)) if called_back else None
    zombie.produce(topic, "a", "key", 0, note)
    with pytest.raises((KafkaException, SystemError)) as raised:
        zombie.flush(CALL_S)
    problem = raised.value.__cause__ if called_back else raised.value
    assert isinstance(problem, KafkaException)
    assert (problem.args[0].code(), problem.args[0].fatal()) == (KafkaError._FENCED, True)
    assert len(failed) == called_back
    assert zombie.flush(CALL_S) == 0
    with pytest.raises(KafkaException) as caught:
        zombie.commit_transaction(CALL_S)
    assert caught.value.args[0].fatal()
    with pytest.raises(KafkaException) as caught:
        zombie.abort_transaction(CALL_S)
    assert caught.value.args[0].fatal()
    assert cluster.end(topic) == 0


def test_a_transaction_ends_with_its_timeout(cluster: Cluster) -> None:
    """The broker aborts it; its producer cannot commit it any more."""
    topic = cluster.topic()
    producer = cluster.transactional(**{"transaction.timeout.ms": 1_000})
    producer.begin_transaction()
    write(producer, topic, ["a"])
    assert cluster.end(topic, isolation=COMMITTED) == 0
    cluster.wait_until(lambda: cluster.end(topic, isolation=COMMITTED) == 2, "it is aborted")
    with pytest.raises(KafkaException) as caught:
        producer.commit_transaction(CALL_S)
    problem = caught.value.args[0]
    assert not problem.retriable()
    assert problem.code() == KafkaError._FENCED
    reader = cluster.reader(topic)
    reader.wait_end(2)
    assert reader.values == []


# Offsets in transactions


@both_protocols
@pytest.mark.parametrize("commit", [True, False])
def test_offsets_are_committed_with_the_transaction(cluster: Cluster, commit: bool) -> None:
    """With their metadata, or not at all; until then there is no stable answer."""
    topic, group = cluster.topic(), cluster.unique("group")
    member = cluster.member(group, topic)
    poll_until(cluster, [member], lambda: member.owned, "it has the partition")
    assert cluster.committed(group, topic) == (-1001, "")
    producer = begun_with_a_record(cluster, topic)
    send_offsets(producer, member.consumer, topic, 5, "memory")
    assert cluster.committed(group, topic) is None
    if commit:
        producer.commit_transaction(CALL_S)
    else:
        producer.abort_transaction(CALL_S)
    wanted = (5, "memory") if commit else (-1001, "")
    cluster.wait_until(lambda: cluster.committed(group, topic) == wanted, "it is ended")


@both_protocols
def test_only_members_put_offsets_into_a_transaction(cluster: Cluster) -> None:
    """A member that was put out can abort, and nothing of it is committed."""
    topic, group = cluster.topic(), cluster.unique("group")
    member = cluster.member(group, topic)
    poll_until(cluster, [member], lambda: member.owned, "it has the partition")
    metadata = member.consumer.consumer_group_metadata()
    member.consumer.close()
    producer = begun_with_a_record(cluster, topic)
    problem = refused(producer, metadata, topic)
    assert problem
    assert problem.code() == KafkaError.UNKNOWN_MEMBER_ID
    with pytest.raises(KafkaException) as caught:
        producer.commit_transaction(CALL_S)
    assert caught.value.args[0].txn_requires_abort()
    producer.abort_transaction(CALL_S)
    assert cluster.committed(group, topic) == (-1001, "")
    producer.begin_transaction()
    write(producer, topic, ["b"])
    producer.commit_transaction(CALL_S)


def shared_since(cluster: Cluster) -> tuple[str, Member, Member, Any]:
    """Let two members share a topic, and return what the first one was known by before."""
    topic, group = cluster.topic(2), cluster.unique("group")
    first = cluster.member(group, topic)
    poll_until(cluster, [first], lambda: shared([first], 2), "it has all")
    metadata = first.consumer.consumer_group_metadata()
    second = cluster.member(group, topic)
    poll_until(cluster, [first, second], lambda: shared([first, second], 2), "they share")
    return topic, first, second, metadata


@both_protocols
def test_an_older_generation_is_refused(cluster: Cluster) -> None:
    """For what is another member's since."""
    topic, _, second, metadata = shared_since(cluster)
    problem = try_offsets(cluster, metadata, topic, *second.owned)
    assert problem
    assert problem.code() == KafkaError.ILLEGAL_GENERATION


def test_an_epoch_is_good_for_what_one_has_had_since(cluster: Cluster, protocol: str) -> None:
    """The consumer protocol asks how long each partition is the member's (KIP-1251).

    Who comes with the latest epoch is not asked at all: it could commit what is another's.
    """
    topic, first, second, metadata = shared_since(cluster)
    kept = try_offsets(cluster, metadata, topic, *first.owned)
    assert (kept is None) == (protocol == "consumer")
    latest = first.consumer.consumer_group_metadata()
    assert try_offsets(cluster, latest, topic, *first.owned) is None
    assert try_offsets(cluster, latest, topic, *second.owned) is None


@both_protocols
def test_who_is_no_member_at_all_is_let_pass(cluster: Cluster) -> None:
    """With a transaction only, once there are members: nothing fences it."""
    topic, group = cluster.topic(), cluster.unique("group")
    outsider = cluster.consumer(group)
    outsider.commit(offsets=[TopicPartition(topic, 0, 1)], asynchronous=False)
    member = cluster.member(group, topic)
    poll_until(cluster, [member], lambda: member.owned, "it has the partition")
    assert try_offsets(cluster, outsider.consumer_group_metadata(), topic) is None
    with pytest.raises(KafkaException) as caught:
        outsider.commit(offsets=[TopicPartition(topic, 0, 2)], asynchronous=False)
    assert caught.value.args[0].code() == KafkaError.UNKNOWN_MEMBER_ID


# Groups


@both_protocols
def test_members_share_without_stopping(cluster: Cluster) -> None:
    """Who comes second takes half; the first gives back that half and keeps the rest."""
    topic, group = cluster.topic(4), cluster.unique("group")
    first = cluster.member(group, topic)
    poll_until(cluster, [first], lambda: shared([first], 4), "it has all")
    second = cluster.member(group, topic)
    poll_until(cluster, [first, second], lambda: shared([first, second], 4), "they share")
    assert first.history == [("assign", {0, 1, 2, 3}), ("revoke", second.owned)]
    assert second.history == [("assign", second.owned)]


@both_protocols
def test_who_leaves_gives_back(cluster: Cluster) -> None:
    topic, group = cluster.topic(2), cluster.unique("group")
    first, second = cluster.member(group, topic), cluster.member(group, topic)
    poll_until(cluster, [first, second], lambda: shared([first, second], 2), "they share")
    had = set(second.owned)
    second.consumer.close()
    assert second.history[-1] == ("revoke", had)
    poll_until(cluster, [first], lambda: shared([first], 2), "the first has all")


@both_protocols
def test_a_static_member_comes_back_without_a_rebalance(cluster: Cluster) -> None:
    """It has what it had, and nobody else hears of it."""
    topic, group = cluster.topic(2), cluster.unique("group")
    first = cluster.member(group, topic, **{"group.instance.id": "first"})
    second = cluster.member(group, topic, **{"group.instance.id": "second"})
    poll_until(cluster, [first, second], lambda: shared([first, second], 2), "they share")
    had, before = set(second.owned), list(first.history)
    second.consumer.close()
    assert second.history[-1] == ("revoke", had)
    heir = cluster.member(group, topic, **{"group.instance.id": "second"})
    poll_until(cluster, [first, heir], lambda: heir.owned, "it is back")
    assert heir.owned == had
    assert first.history == before


@both_protocols
def test_a_static_member_that_stays_away_is_put_out(cluster: Cluster) -> None:
    """After its session; a clean close does not shorten that."""
    topic, group = cluster.topic(2), cluster.unique("group")
    first = cluster.member(group, topic, **SHORT, **{"group.instance.id": "first"})
    second = cluster.member(group, topic, **SHORT, **{"group.instance.id": "second"})
    poll_until(cluster, [first, second], lambda: shared([first, second], 2), "they share")
    second.consumer.close()
    first.poll()
    assert len(first.owned) == 1
    poll_until(cluster, [first], lambda: shared([first], 2), "the first has all")


def test_a_static_member_that_is_replaced_is_fenced(cluster: Cluster) -> None:
    """It hears of it by a fatal error, but by no callback, and commits nothing more."""
    topic, group = cluster.topic(), cluster.unique("group")
    zombie = cluster.member(group, topic, **{"group.instance.id": "one"})
    poll_until(cluster, [zombie], lambda: zombie.owned, "it has the partition")
    metadata = zombie.consumer.consumer_group_metadata()
    heir = cluster.member(group, topic, **{"group.instance.id": "one"})
    poll_until(cluster, [heir], lambda: heir.owned, "the heir has it")
    problem = try_offsets(cluster, metadata, topic)
    assert problem
    assert problem.code() == KafkaError.FENCED_INSTANCE_ID
    assert not zombie.wait_error(KafkaError._FATAL).fatal()  # only its code says so
    cluster.pass_time(1.0)
    zombie.poll()
    assert zombie.history == [("assign", {0})]
    zombie.consumer.close()
    assert zombie.history == [("assign", {0})]
    heir.poll()
    assert heir.owned == {0}


@both_protocols
@pytest.mark.parametrize("static", [False, True])
def test_who_does_not_poll_loses_what_it_has(cluster: Cluster, static: bool) -> None:
    """It hears of it when it polls, and comes back; until then it can commit nothing."""
    topic, group = cluster.topic(2), cluster.unique("group")
    names = [{"group.instance.id": name} if static else {} for name in ("first", "second")]
    first, second = (cluster.member(group, topic, **SHORT, **name) for name in names)
    poll_until(cluster, [first, second], lambda: shared([first, second], 2), "they share")
    had = set(second.owned)
    poll_until(cluster, [first], lambda: shared([first], 2), "the first has all")
    problem = try_offsets(cluster, second.consumer.consumer_group_metadata(), topic)
    assert problem
    assert problem.code() == KafkaError.UNKNOWN_MEMBER_ID
    second.wait_error(KafkaError._MAX_POLL_EXCEEDED)
    poll_until(cluster, [first, second], lambda: shared([first, second], 2), "they share again")
    assert second.history[-2:] == [("lost", had), ("assign", second.owned)]


def test_a_partition_that_moves_is_lost_with_its_static_owner(cluster: Cluster) -> None:
    """One that is replaced before it has given a partition back: nobody has it then.

    It is in nobody's assignment, its owner comes back without a rebalance, and nothing begins
    another one until a member joins again. Subscribing to the same topics is not enough.
    """
    topic, group = cluster.topic(2), cluster.unique("group")
    first = cluster.member(group, topic, **{"group.instance.id": "first"})
    poll_until(cluster, [first], lambda: shared([first], 2), "it has all")
    second = cluster.member(group, topic, **{"group.instance.id": "second"})
    cluster.pass_time(1.0)  # the first joins in the background, and does not poll
    heir = cluster.member(group, topic, **{"group.instance.id": "first"})
    poll_until(cluster, [heir, second], lambda: heir.owned, "it is back")
    for topics in ([], [topic]):
        if topics:
            second.subscribe(topics)
        for _ in range(12):  # four times as long as a heartbeat takes
            heir.poll()
            second.poll()
            cluster.pass_time(0.1)
        assert len(heir.owned | second.owned) == 1
    assert cluster.owners(group) == Owners(True, described(topic, heir, second))
    second.rejoin("(no topic)")
    poll_until(cluster, [heir, second], lambda: shared([heir, second], 2), "they share")
    assert all(kind == "assign" for kind, _ in heir.history + second.history)


def test_who_gets_nothing_is_told_by_the_classic_protocol_only(
    cluster: Cluster, protocol: str
) -> None:
    """By an empty assignment."""
    topic, group = cluster.topic(), cluster.unique("group")
    first = cluster.member(group, topic)
    poll_until(cluster, [first], lambda: first.owned, "it has the partition")
    second = cluster.member(group, topic)
    for _ in range(30):
        first.poll()
        second.poll()
        cluster.pass_time(0.1)
    assert second.calls == (["assign"] if protocol == "classic" else [])
    assert not second.owned


@consumer_protocol
def test_a_static_identity_that_lives_is_refused(cluster: Cluster) -> None:
    """The newcomer is out for good, by a fatal error; nobody else hears of it."""
    topic, group = cluster.topic(), cluster.unique("group")
    one = {"group.instance.id": "one"}
    first = cluster.member(group, topic, **one)
    poll_until(cluster, [first], lambda: first.owned, "it has the partition")
    early = cluster.member(group, topic, **one)
    assert not early.wait_error(KafkaError._FATAL).fatal()  # only its code says so
    first.consumer.close()
    metadata = early.consumer.consumer_group_metadata()
    for _ in range(10):
        early.poll()
        cluster.pass_time(0.1)
    assert early.calls == []
    problem = try_offsets(cluster, metadata, topic)
    assert problem
    assert problem.code() == KafkaError.UNKNOWN_MEMBER_ID
    heir = cluster.member(group, topic, **one)
    poll_until(cluster, [heir], lambda: heir.owned, "it was released")


@consumer_protocol
def test_a_released_identity_commits_nothing(cluster: Cluster) -> None:
    """Neither before somebody takes it over, nor then."""
    topic, group = cluster.topic(), cluster.unique("group")
    one = {"group.instance.id": "one"}
    first = cluster.member(group, topic, **one)
    poll_until(cluster, [first], lambda: first.owned, "it has the partition")
    metadata = first.consumer.consumer_group_metadata()
    first.consumer.close()
    released = try_offsets(cluster, metadata, topic)
    heir = cluster.member(group, topic, **one)
    poll_until(cluster, [heir], lambda: heir.owned, "it is taken over")
    replaced = try_offsets(cluster, metadata, topic)
    assert released
    assert replaced
    assert released.code() == KafkaError.ILLEGAL_GENERATION
    assert replaced.code() == KafkaError.UNKNOWN_MEMBER_ID


@consumer_protocol
def test_nobody_gets_what_its_owner_has_not_given_up(cluster: Cluster) -> None:
    """Until then the owner commits; who takes too long is put out, and loses the rest too."""
    topic, group = cluster.topic(2), cluster.unique("group")
    first = cluster.member(group, topic)
    poll_until(cluster, [first], lambda: shared([first], 2), "it has all")
    second = cluster.member(group, topic)
    for _ in range(25):
        second.poll()
        cluster.pass_time(0.1)
    assert second.owned == set()
    metadata = first.consumer.consumer_group_metadata()
    assert [try_offsets(cluster, metadata, topic, number) for number in (0, 1)] == [None, None]
    for _ in range(50):  # its session would last longer
        second.poll()
        cluster.pass_time(0.1)
    assert shared([second], 2)
    problem = try_offsets(cluster, first.consumer.consumer_group_metadata(), topic)
    assert problem
    assert problem.code() == KafkaError.UNKNOWN_MEMBER_ID
    poll_until(cluster, [first, second], lambda: shared([first, second], 2), "they share")
    moved, kept = first.history[1][1], first.history[2][1]
    assert first.history[1:3] == [("revoke", moved), ("lost", kept)]
    assert moved | kept == {0, 1}


@consumer_protocol
def test_who_polls_again_within_its_session_joins_anew(cluster: Cluster) -> None:
    """It was a member all the time, and could commit; it loses what it has all the same."""
    topic, group = cluster.topic(2), cluster.unique("group")
    first, second = cluster.member(group, topic), cluster.member(group, topic)
    poll_until(cluster, [first, second], lambda: shared([first, second], 2), "they share")
    had, metadata = set(second.owned), second.consumer.consumer_group_metadata()
    for _ in range(70):
        first.poll()
        cluster.pass_time(0.1)
    assert len(first.owned) == 1
    assert try_offsets(cluster, metadata, topic, *had) is None
    second.wait_error(KafkaError._MAX_POLL_EXCEEDED)
    poll_until(cluster, [first, second], lambda: shared([first, second], 2), "they share again")
    assert second.history[1:3] == [("lost", had), ("assign", second.owned)]
    assert try_offsets(cluster, metadata, topic, *second.owned)


def test_a_topic_that_does_not_exist_begins_a_rebalance(cluster: Cluster) -> None:
    """Who subscribes to it for a moment joins again, and everybody keeps what there is.

    The leader, another one, and one that has nothing; each of them more than once.
    """
    topic, group = cluster.topic(2), cluster.unique("group")
    members: list[Member] = []
    for name in ("a", "b", "c"):
        members.append(cluster.member(group, topic, **{"group.instance.id": name}))
        poll_until(cluster, members, lambda: members[-1].assigns, "it is in")
        poll_until(cluster, members, lambda: shared(members, 2), "they share")
    owned = [set(member.owned) for member in members]
    for number, member in enumerate([*members, *members]):
        cluster.pass_time(1.0)
        poll_until(cluster, members, lambda: True, "no rebalance goes on")
        before = [one.assigns for one in members]
        member.rejoin(f"(no topic {number})")
        poll_until(
            cluster,
            members,
            lambda before=before: all(m.assigns > n for m, n in zip(members, before, strict=True)),
            "a rebalance",
        )
        assert {problem.code() for problem in member.errors} == {KafkaError.UNKNOWN_TOPIC_OR_PART}
    assert [member.owned for member in members] == owned
    assert all(kind != "lost" for member in members for kind, _ in member.history)


def test_a_group_tells_who_has_what(cluster: Cluster) -> None:
    """By the ids that the members know themselves; not stable while one has still to join."""
    topic, group = cluster.topic(2), cluster.unique("group")
    assert not cluster.consumer(group).memberid()
    first = cluster.member(group, topic, **{"group.instance.id": "first"})
    poll_until(cluster, [first], lambda: first.owned, "it has all")
    assert cluster.owners(group) == Owners(True, described(topic, first))
    first.consumer.close()
    second = cluster.member(group, topic)
    poll_until(cluster, [second], second.consumer.memberid, "it is in")
    found = cluster.owners(group)
    assert found is not None
    assert not found.stable
    poll_until(cluster, [second], lambda: second.owned, "it has all")
    assert cluster.owners(group) == Owners(True, described(topic, second))


def described(topic: str, *members: Member) -> dict[str, frozenset[tuple[str, int]]]:
    """What the cluster should say that members have."""
    return {
        member.consumer.memberid(): frozenset((topic, number) for number in member.owned)
        for member in members
    }
