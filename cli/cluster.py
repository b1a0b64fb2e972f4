"""The way to the cluster that all commands share. Importing this module loads confluent-kafka."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from penstock.cli.client_file import VARIABLE, client_file
from penstock.cli.terminal import waiting
from penstock.errors import BrokerError, TopologyError
from penstock.secret import check_brokers, hidden
from penstock.topics.admin import Admin
from penstock.topics.internal import InternalTopic

Partition = tuple[str, int]
CONNECT_TIMEOUT_S = 10.0
_TIMEOUT_MS = int(CONNECT_TIMEOUT_S * 1000)
ADVICE = (
    "Start a broker with 'penstock broker', or name yours with --brokers HOST:PORT; one that asks"
    " for TLS or a password takes penstock --client-config FILE."
)


def client_config(brokers: str) -> dict[str, Any]:
    """Make the settings that every client has here.

    Raises:
        TopologyError: if the addresses have credentials in them, which messages would show, or
            the file of settings cannot be read.
    """
    # Errors arrive by callback; librdkafka's own lines on stderr would only repeat them.
    servers = check_brokers(brokers)
    own = {"bootstrap.servers": servers, "log_level": 0, "enable.metrics.push": False}
    return {**client_file(), **own}


def connect(brokers: str) -> Admin:
    """Return an admin client of a cluster that has answered.

    Raises:
        TopologyError: if the client refuses its settings.
        BrokerError: if it does not within 10 seconds.
    """
    try:
        admin = make_admin(brokers)
    except KafkaException as error:
        raise TopologyError(
            f"The Kafka client refuses its settings: {error.args[0].str().rstrip('.')}. Correct"
            f" the file that --client-config or {VARIABLE} names; the names are librdkafka's."
        ) from None
    with waiting(f"Waiting for Kafka at {brokers} ..."):
        admin.connect(_TIMEOUT_MS, advice=ADVICE)
    return admin


def make_admin(brokers: str) -> Admin:
    """Return an admin client, of a cluster that may be away.

    Raises:
        KafkaException: if the client refuses its settings.
    """
    return Admin(hidden(client_config(brokers)), timeout_ms=_TIMEOUT_MS)


def create_missing(admin: Admin, names: Iterable[str], partitions: int) -> None:
    """Create the topics that are missing; one that exists keeps the partitions that it has.

    The replication factor is the broker's default.

    Raises:
        BrokerError: if the cluster does not answer or refuses.
    """
    existing = admin.topics()
    # It is fine if somebody else is faster.
    admin.create([InternalTopic(name, partitions, {}) for name in names if name not in existing])


def partitions_of(
    admin: Admin, topic: str, brokers: str, advice: str = "'penstock topics' lists those that do."
) -> list[Partition]:
    """Return the partitions of a topic.

    All topics are listed for it: to ask for one creates it on a cluster that does so by itself.

    Args:
        admin: asks the cluster.
        topic: which.
        brokers: the cluster, for the message.
        advice: what to do if there is no such topic.

    Raises:
        BrokerError: if there is none.
    """
    known = admin.topics()
    if topic not in known:
        raise BrokerError(
            f"Topic {topic} does not exist on {brokers}.{did_you_mean(topic, known)} {advice}",
            topic=topic,
        )
    return [(topic, number) for number in range(known[topic])]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Name those that a mistyped name may have meant, as a sentence that goes on behind another.

    >>> did_you_mean("page-vews", ["orders", "page-views"])
    ' Did you mean page-views?'
    """
    found = get_close_matches(name, known, n=3, cutoff=0.75)
    return f" Did you mean {' or '.join(found)}?" if found else ""


def group_client(brokers: str, group: str, *, stable: bool = False) -> Any:
    """Make a client that speaks for a group, and joins nothing.

    Args:
        brokers: the cluster.
        group: its id.
        stable: whether offsets in open transactions are waited for.
    """
    level = "read_committed" if stable else "read_uncommitted"
    config = {
        "group.id": group,
        "isolation.level": level,
        "enable.auto.commit": False,
        "session.timeout.ms": int(CONNECT_TIMEOUT_S * 1000),  # how long a commit is tried
    }
    return Consumer(client_config(brokers) | config)


def committed(
    client: Any, partitions: Iterable[Partition], timeout_s: float = CONNECT_TIMEOUT_S
) -> dict[Partition, TopicPartition]:
    """Return what the group of a client has committed, with its metadata.

    The admin client is not asked: its list_consumer_group_offsets ends the process with a
    segmentation fault while the group's coordinator is away (librdkafka 2.16.0).

    Raises:
        BrokerError: if the cluster does not say.
    """
    asked = [TopicPartition(*at) for at in partitions]
    try:
        found: list[TopicPartition] = client.committed(asked, timeout_s) if asked else []
        for at in found:
            if at.error is not None:
                raise KafkaException(at.error)
    except KafkaException as error:
        raise BrokerError(
            f"Committed offsets cannot be looked up: {error.args[0].str()}. Check that the"
            " cluster is healthy, and that this user may read the group."
        ) from error
    return {(at.topic, at.partition): at for at in found if at.offset >= 0}
