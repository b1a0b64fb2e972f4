"""Announcing: where a worker can be asked for which partitions, and where the others can.

One thread for both: it follows the topic of the workers, and writes to it when the partitions that
can be read here have changed, and from time to time. Nothing of the loop waits for it. What cannot
be written costs a warning: tables of other workers are then not found here, or ours not there.
"""

import logging
import platform
import threading
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from penstock.errors import PenstockError
from penstock.query.monitor import Monitor
from penstock.query.peers import REFRESH_S, Announcement, Peers
from penstock.query.reading import Holdings
from penstock.runtime.client_configs import ClientConfigs
from penstock.runtime.clients import Clients
from penstock.secret import revealed
from penstock.topics.admin import Admin
from penstock.topics.internal import workers_topic

log = logging.getLogger("penstock")

POLL_S = 0.2
CLOSE_S = 1.0
RETRY_S = 5.0
WARN_S = 60.0
_EVERY = ("", "0.0.0.0", "::")  # noqa: S104 - told apart, not listened on


def peers_of(monitor: Monitor, token: str | None, clients: Clients) -> Peers:
    """Return who takes what the other workers of an application say.

    Args:
        monitor: of the run, which has begun.
        token: of its HTTP server.
        clients: time.
    """
    return Peers(monitor.instance_id, platform.node(), token, clients.now)


def announce(
    monitor: Monitor,
    peers: Peers,
    address: tuple[str, int],
    configs: ClientConfigs,
    admin: Admin,
    clients: Clients,
) -> "Announcing":
    """Announce the worker of a run, and follow what the others announce, until that is closed.

    Args:
        monitor: of the run.
        peers: as its endpoints of tables have them.
        address: host and port under which other workers reach its HTTP server. One that stands
            for every address of the machine is told by the machine's name.
        configs: of the application's clients.
        admin: makes the topic where it is not there.
        clients: the Kafka client's classes, and time.
    """
    topic = workers_topic(monitor.topology.application)
    host, port = address
    me = Announcement(
        instance_id=monitor.instance_id,
        run_id=str(monitor.run_id),
        host=platform.node(),
        address=platform.node() if host in _EVERY else host,
        port=port,
        stores={},
    )

    def make() -> None:
        if topic.name not in admin.topics():
            admin.create([topic])

    return Announcing(
        me,
        topic.name,
        holdings=monitor.holdings,
        peers=peers,
        make=make,
        writes={**configs.telemetry(), "client.id": topic.name},
        reads=configs.following(),
        clients=clients,
    )


class Announcing:
    """Announce a worker, and follow what the others announce.

    Args:
        me: the worker, without its stores.
        topic: of the workers.
        holdings: what this worker has.
        peers: who takes what the others say.
        make: makes the topic where it is not there.
        writes: librdkafka settings of a producer.
        reads: those of a consumer.
        clients: the Kafka client's classes, and time.
    """

    def __init__(
        self,
        me: Announcement,
        topic: str,
        *,
        holdings: Holdings,
        peers: Peers,
        make: Callable[[], None],
        writes: Mapping[str, Any],
        reads: Mapping[str, Any],
        clients: Clients,
    ) -> None:
        self._me = me
        self._topic = topic
        self._holdings = holdings
        self._peers = peers
        self._make = make
        self._writes = writes
        self._reads = reads
        self._clients = clients
        self._told = (-1, 0.0)  # version of the holdings, when
        self._warned = -WARN_S
        self._closed = threading.Event()
        holdings.owner = peers.describe
        self._thread = threading.Thread(target=self._run, name="penstock-workers", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take the announcement back, in bounded time."""
        self._closed.set()
        self._thread.join(3 * CLOSE_S)

    def _run(self) -> None:
        try:
            self._make()
        except PenstockError as error:
            self._warn(str(error))
        try:
            producer: Any = self._clients.producer(revealed(self._writes))
            consumer: Any = self._clients.consumer(revealed(self._reads))
        except KafkaException as error:
            self._warn(error.args[0].str())
            return
        consumer.assign([TopicPartition(self._topic, 0, OFFSET_BEGINNING)])
        while not self._closed.is_set():
            self._announce(producer)
            producer.poll(0)
            self._take(consumer.poll(POLL_S))
        self._write(producer, None)
        producer.flush(CLOSE_S)
        consumer.close()

    def _announce(self, producer: Any) -> None:
        version, now = self._holdings.version, self._clients.now()
        # One that has stood still may not have what it thinks it has.
        if self._holdings.stands_still or (
            version == self._told[0] and now - self._told[1] < REFRESH_S
        ):
            return
        self._told = (version, now)
        stores = {store.name: self._holdings.here(store.name) for store in self._holdings.stores}
        me = msgspec.structs.replace(self._me, stores=stores).signed(self._peers.token)
        self._write(producer, msgspec.json.encode(me))

    def _write(self, producer: Any, data: bytes | None) -> None:
        try:
            producer.produce(
                self._topic, data, self._me.instance_id.encode(), on_delivery=self._delivered
            )
        except BufferError:  # the broker is away
            self._again()

    def _take(self, message: Any) -> None:
        if message is None:
            return
        if message.error():
            self._warn(message.error().str())
            return
        key = message.key()
        if key is not None:
            self._peers.take(key.decode(errors="replace"), message.value())

    def _delivered(self, error: KafkaError | None, _: object) -> None:
        if error is not None and not self._closed.is_set():
            self._again()
            self._warn(error.str())

    def _again(self) -> None:
        self._told = (self._told[0], self._clients.now() - REFRESH_S + RETRY_S)

    def _warn(self, why: str) -> None:
        now = self._clients.now()
        if now - self._warned >= WARN_S:
            self._warned = now
            log.warning(
                "Workers cannot tell each other what they have over %s: %s. A table is shown by the"
                " worker alone that has the key.",
                self._topic,
                why,
            )
