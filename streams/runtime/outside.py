"""Outside: what the handle on a run asks of the cluster, in the thread of who asks."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from penstock.query.outside import Wait
from penstock.runtime.clients import Clients
from penstock.runtime.consumer import InputConsumer
from penstock.runtime.draining import drain, wait_for_step
from penstock.runtime.following import Follower
from penstock.topics.internal import progress_topic
from penstock.topology.graph import Topology

if TYPE_CHECKING:
    from penstock.app import App
    from penstock.runtime.client_configs import ClientConfigs
    from penstock.runtime.preparation import Prepared
    from penstock.runtime.worker import Worker
    from penstock.topics.admin import Admin

START_PAUSE_S = 0.02


class RunOutside:
    """What lies outside of one run.

    Args:
        app: the application.
        topology: its topology, as declared.
        configs: the settings of its clients.
        clients: the Kafka client's classes, and time.
        reader: makes what reads committed offsets, and joins nothing.
    """

    def __init__(
        self,
        app: "App",
        topology: Topology,
        configs: "ClientConfigs",
        clients: Clients,
        reader: Callable[[], InputConsumer],
    ) -> None:
        self.guarantee: str = app.guarantee
        self._app = app
        self._declared = topology
        self._configs = configs
        self._clients = clients
        self._reader = reader
        self._known: tuple[Prepared, Admin, Worker] | None = None

    def begun(self, prepared: "Prepared", admin: "Admin", worker: "Worker") -> None:
        """Note what the run goes by."""
        self._known = prepared, admin, worker

    @property
    def publishes(self) -> bool:
        """Whether progress is written to a topic."""
        return self._app.settings.progress.publish

    @property
    def topology(self) -> Topology:
        """The application's, with its patterns resolved once the run is prepared."""
        return self._known[0].topology if self._known else self._declared

    @property
    def partitions(self) -> Mapping[str, int]:
        """How many partitions its topics have; nothing before the run is prepared."""
        return self._known[0].partitions if self._known else {}

    def follow(self) -> Follower:
        """Begin to read the progress topic."""
        settings = self._app.settings.progress
        topic = progress_topic(self._app.id, settings.topic, settings.retention_ms)
        return Follower(self._configs.common(), topic.name, self._clients, application=self._app.id)

    def drain(self, wait: Wait) -> None:
        """Wait until what stands in the inputs now is processed and committed.

        Raises:
            BrokerError: if the cluster refuses.
        """
        while (known := self._known) is None:
            wait(START_PAUSE_S, "the application to join its group")
        prepared, admin, worker = known
        timeout_s = self._app.settings.kafka.request_timeout_ms / 1000
        reader = self._reader()
        try:
            drain(prepared.topology, prepared.leads, admin, reader, timeout_s, wait)
        finally:
            reader.close()
        wait_for_step(lambda: worker.steps, wait)
