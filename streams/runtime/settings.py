"""Settings: every limit and every interval of an application has a name and a default here.

Groups are frozen and keyword-only; unknown names are refused. Kafka client settings are
passed through, except those that exactly-once rests on; those that may be secrets show in no repr.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from penstock.errors import TopologyError
from penstock.secret import Secret, hidden
from penstock.state.definition import check_name

Guarantee: TypeAlias = Literal["exactly_once", "at_least_once"]
GroupProtocol: TypeAlias = Literal["classic", "consumer"]
Setting: TypeAlias = str | int | float | bool | Secret | Callable[..., Any]

LEAST_TOKEN: Final = 16  # characters

OWNED: Final[dict[str, str]] = {
    "bootstrap.servers": "it is brokers= of App",
    "metadata.broker.list": "it is brokers= of App",
    "group.id": "it is the application id",
    "client.id": "it carries the layout of the application's inputs",
    "transactional.id": "it is the identity of the worker's slot",
    "enable.auto.commit": "offsets are committed with the outputs",
    "enable.auto.offset.store": "offsets are committed with the outputs",
    "isolation.level": "inputs are read_committed, or aborted records would be processed",
    "enable.idempotence": "the producer is idempotent, or retries would double records",
    "auto.offset.reset": "start positions are start= of stream()",
    "partition.assignment.strategy": "it is cooperative-sticky; see KafkaSettings.protocol",
    "group.protocol": "it is KafkaSettings.protocol",
    "group.instance.id": "it is the identity of the worker's slot",
    "partitioner": "partitions are chosen as Kafka's default partitioner does",
    "enable.partition.eof": "the worker steps over the markers of transactions by it",
    "max.poll.interval.ms": "it is KafkaSettings.max_poll_interval_ms",
    "session.timeout.ms": "it is KafkaSettings.session_timeout_ms",
    "transaction.timeout.ms": "it is KafkaSettings.transaction_timeout_ms",
    "enable.metrics.push": "what a worker measures stays in its own progress",
}


@dataclass(frozen=True, kw_only=True)
class KafkaSettings:
    """How to talk to the cluster.

    Attributes:
        client: librdkafka settings for all clients, such as `security.protocol`. Values that
            may be secrets are hidden: `repr` does not show them.
        consumer: librdkafka settings for the input consumer alone.
        producer: librdkafka settings for the producer alone.
        protocol: "classic" (cooperative-sticky, static membership) or "consumer" (KIP-848).
        session_timeout_ms: a worker that is silent for longer loses its partitions.
        max_poll_interval_ms: a worker that is stuck for longer loses its partitions.
        transaction_timeout_ms: the broker aborts a transaction that is open for longer.
        request_timeout_ms: bound of one call to the cluster.
        connect_timeout_ms: how long to wait for the cluster at start.
        topic_check_ms: how often to look whether topics have grown or were made anew.
        group_check_ms: how long after a rebalance to look whether each partition has an owner,
            and how often until then; under the "classic" protocol.
    """

    client: Mapping[str, Setting] = field(default_factory=dict[str, Setting])
    consumer: Mapping[str, Setting] = field(default_factory=dict[str, Setting])
    producer: Mapping[str, Setting] = field(default_factory=dict[str, Setting])
    protocol: GroupProtocol = "classic"
    session_timeout_ms: int = 10_000
    max_poll_interval_ms: int = 60_000
    transaction_timeout_ms: int = 15_000
    request_timeout_ms: int = 10_000
    connect_timeout_ms: int = 30_000
    topic_check_ms: int = 10_000
    group_check_ms: int = 3_000

    def __post_init__(self) -> None:
        for name in (*self.client, *self.consumer, *self.producer):
            if name in OWNED:
                raise TopologyError(
                    f"The Kafka setting {name!r} belongs to Penstock: {OWNED[name]}. Leave it out."
                )
        for group in ("client", "consumer", "producer"):
            object.__setattr__(self, group, hidden(getattr(self, group)))
        ordered = (self.request_timeout_ms, self.transaction_timeout_ms, self.max_poll_interval_ms)
        if not ordered[0] < ordered[1] < ordered[2]:
            raise TopologyError(
                "Timeouts must rise: request_timeout_ms < transaction_timeout_ms <"
                f" max_poll_interval_ms, but they are {ordered[0]}, {ordered[1]}, {ordered[2]}."
                " Correct them in KafkaSettings."
            )
        if self.session_timeout_ms > self.max_poll_interval_ms:
            raise TopologyError(
                f"session_timeout_ms is {self.session_timeout_ms}, and may not be longer than"
                f" max_poll_interval_ms, which is {self.max_poll_interval_ms}. Correct them in"
                " KafkaSettings."
            )


@dataclass(frozen=True, kw_only=True)
class StateSettings:
    """Local state.

    Attributes:
        memory_bytes: for all stores of a worker together: half decoded entries, half RocksDB.
        flush_interval_ms: written state is made durable at least this often.
        lock_timeout_ms: how long to wait for a store that another process holds.
        restore_slice_ms: how long restoring may keep the other tasks waiting at a time.
        cleanup_delay_ms: what no worker of this host has had open for longer is deleted from its
            disk, and so is what was set aside for longer. After half of a changelog's
            `delete.retention.ms` (12 hours by default) state would not be used any more.
    """

    memory_bytes: int = 256 * 1024 * 1024
    flush_interval_ms: int = 30_000
    lock_timeout_ms: int = 10_000
    restore_slice_ms: int = 50
    cleanup_delay_ms: int = 86_400_000


@dataclass(frozen=True, kw_only=True)
class CommitSettings:
    """When a batch ends.

    Attributes:
        interval_ms: a batch is committed at the latest after this time; up to 400 ms later
            where records wait and commits take long.
        min_interval_ms: and, once its input is drained, not sooner than this after the last.
        max_batch_records: a batch is committed at the latest after this many records.
        max_batch_bytes: and at the latest after this many bytes of input.
        chunk_ms: chunks are cut so that processing one takes about this long.
        chunk_records: the most records that one chunk holds.
        max_idle_ms: an input without records holds those of others that it is ordered with
            back for at most this long, and the event time behind repartition topics.
        purge_interval_ms: what is committed is deleted from repartition topics this often.
    """

    interval_ms: int = 100
    min_interval_ms: int = 20
    max_batch_records: int = 1_000_000
    max_batch_bytes: int = 512 * 1024 * 1024
    chunk_ms: int = 50
    chunk_records: int = 5_000
    max_idle_ms: int = 1_000
    purge_interval_ms: int = 30_000


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """The worker as a process and as a member of the group.

    Attributes:
        worker_id: a lasting name for the worker, where its host gives it one (the name of a
            pod in a StatefulSet). It takes the place of the random one in the state folder:
            a worker that comes back with an empty disk is the same member, and ends its own
            open transaction. No two running workers may have the same. Left out, it is the
            environment's PENSTOCK_WORKER_ID.
        leave: whether the worker is a dynamic member, which gives its partitions back at once
            when it stops. A static one keeps them until it starts again or its session ends.
        watchdog: whether a loop that stalls for longer than `max_poll_interval_ms` ends the
            process. It is for `app.run()` and `penstock run`; `app.start()` has none.
        stop_timeout_ms: a stop that takes longer ends the process and abandons the open batch.
            Container platforms kill after ten seconds.
    """

    worker_id: str | None = None
    leave: bool = False
    watchdog: bool = True
    stop_timeout_ms: int = 9_000

    def __post_init__(self) -> None:
        if self.worker_id is not None:
            check_name(self.worker_id, "a worker")


@dataclass(frozen=True, kw_only=True)
class ProgressSettings:
    """What a worker tells of its progress.

    Attributes:
        interval_ms: the shortest time between two records of progress.
        topic: where they are written; "<application id>-progress" if left out.
        publish: whether they are written to a topic at all.
        retention_ms: how long a progress topic that is made here keeps them.
    """

    interval_ms: int = 1_000
    topic: str | None = None
    publish: bool = True
    retention_ms: int = 604_800_000

    def __post_init__(self) -> None:
        if self.interval_ms < 100:
            raise TopologyError(
                f"ProgressSettings(interval_ms={self.interval_ms}) is too short: a record of"
                " progress costs a millisecond. Give 100 or more."
            )


@dataclass(frozen=True, kw_only=True)
class HttpSettings:
    """The worker's own HTTP server: metrics, status, tables, and the page.

    Attributes:
        enabled: whether there is one. The environment's PENSTOCK_HTTP=off wins.
        host: the address that it listens on. One that others can reach needs a token. The
            environment's PENSTOCK_HTTP=HOST:PORT wins over host and port.
        port: its port; 0 takes any that is free.
        next_port: whether the next free port is taken where this one is not free; else the
            worker refuses to start.
        token: what a caller has to show, as `Authorization: Bearer TOKEN`: 16 characters or
            more. The environment's PENSTOCK_HTTP_TOKEN wins.
        advertised: the host name under which other workers reach this one; `host` if left out.
    """

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = 8321
    next_port: bool = True
    token: Secret | str | None = None
    advertised: str | None = None

    def __post_init__(self) -> None:
        if not self.host or not self.host.isprintable() or " " in self.host:
            raise TopologyError(
                f"HttpSettings(host={self.host!r}) is no address. Give 127.0.0.1 for this host"
                " alone, 0.0.0.0 for all, or the address of one network."
            )
        if not 0 <= self.port <= 65_535:
            raise TopologyError(
                f"HttpSettings(port={self.port}) is no port. Give one from 1 to 65535, or 0 for"
                " any that is free."
            )
        if isinstance(self.token, str):
            object.__setattr__(self, "token", Secret(check_token(self.token)))


def check_token(token: str) -> str:
    """Return the token of an HTTP server, if it can be one.

    Raises:
        TopologyError: if it cannot, without naming it.
    """
    fits = token.isascii() and token.isprintable() and " " not in token
    if len(token) >= LEAST_TOKEN and fits:
        return token
    raise TopologyError(
        f"The token of the HTTP server has to be {LEAST_TOKEN} or more visible ASCII characters"
        " without spaces, or it is guessed, or fits no header. Make one: python -c 'import"
        " secrets; print(secrets.token_urlsafe(24))'. Correct HttpSettings(token=...) or"
        " PENSTOCK_HTTP_TOKEN."
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings beside the application's own: groups of named values.

    Attributes:
        kafka: how to talk to the cluster.
        state: local state.
        commit: when a batch ends.
        worker: the worker as a process and as a member of the group.
        progress: what it tells of its progress.
        http: its HTTP server.
    """

    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    state: StateSettings = field(default_factory=StateSettings)
    commit: CommitSettings = field(default_factory=CommitSettings)
    worker: WorkerSettings = field(default_factory=WorkerSettings)
    progress: ProgressSettings = field(default_factory=ProgressSettings)
    http: HttpSettings = field(default_factory=HttpSettings)
