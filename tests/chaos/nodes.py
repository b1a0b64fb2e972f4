"""The nodes of a cluster: killed, stopped, started, and their leaderships moved."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from confluent_kafka import ElectionType, KafkaException
from confluent_kafka.admin import AdminClient

from penstock.testing.kafka_server import KafkaServer
from tests.kafka.checking import Partition

ALL = (1, 2, 3)
WAIT_S = 30.0


class Nodes:
    """Three nodes; what is done to several of them happens at once.

    Args:
        server: they.

    Attributes:
        down: those that do not run.
    """

    def __init__(self, server: KafkaServer) -> None:
        self.servers = server.bootstrap_servers
        self.down: set[int] = set()
        self._server = server

    def kill(self, *nodes: int) -> None:
        """Kill nodes."""
        self._each(self._server.kill, nodes)
        self.down.update(nodes)

    def stop(self, *nodes: int) -> None:
        """Stop nodes in order: each gives up what it leads first."""
        self._each(self._server.stop, nodes)
        self.down.update(nodes)

    def start(self, *nodes: int) -> None:
        """Start nodes, and wait until they answer: one alone of three never does."""
        self._each(self._server.restart, nodes)
        self.down.difference_update(nodes)

    def heal(self) -> None:
        """Start all that are down, and wait until each has all that it should."""
        self.start(*sorted(self.down))
        self.wait_in_sync()

    def wait_in_sync(self) -> None:
        """Wait until all replicas of all partitions are in sync."""
        deadline = time.monotonic() + WAIT_S
        while behind := self._behind():
            assert time.monotonic() < deadline, f"not in sync: {behind}"
            time.sleep(0.05)

    def leaders(self) -> Mapping[Partition, int]:
        """Return who leads each partition."""
        found = self._admin().list_topics(timeout=WAIT_S).topics
        return {
            (name, number): of.leader
            for name, topic in found.items()
            for number, of in topic.partitions.items()
        }

    def elect(self) -> int:
        """Let the first replica of each partition lead it; return how many leaders that moved."""
        self.wait_in_sync()
        before = self.leaders()
        admin = self._admin()  # its futures end with it: keep it
        chosen = admin.elect_leaders(ElectionType.PREFERRED).result(WAIT_S)
        moved = [at for at, error in chosen.items() if error is None]
        deadline = time.monotonic() + WAIT_S
        while moved and self.leaders() == before:
            assert time.monotonic() < deadline, f"the leaders of {moved} stay"
            time.sleep(0.05)
        return len(moved)

    def _behind(self) -> list[Partition]:
        try:
            found = self._admin().list_topics(timeout=1.0).topics
        except KafkaException:
            return [("any topic", 0)]
        return [
            (name, number)
            for name, topic in found.items()
            for number, of in topic.partitions.items()
            if of.leader < 0 or len(of.isrs) < len(of.replicas)
        ]

    def _admin(self) -> AdminClient:
        return AdminClient(
            {"bootstrap.servers": self.servers, "reconnect.backoff.max.ms": 200, "log_level": 0}
        )

    @staticmethod
    def _each(action: Callable[[int], None], nodes: tuple[int, ...]) -> None:
        if nodes:
            with ThreadPoolExecutor(len(nodes)) as pool:
                list(pool.map(action, nodes))
