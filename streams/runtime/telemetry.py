"""Telemetry: everything that looks at a run from outside its loop, begun and ended with it."""

from collections.abc import Callable, Sequence

from penstock.query.listener import Listener
from penstock.query.monitor import Monitor
from penstock.query.query import Query
from penstock.runtime.client_configs import ClientConfigs
from penstock.runtime.clients import Clients
from penstock.runtime.listening import ListenerThread, close_all
from penstock.runtime.publishing import ProgressTopic
from penstock.runtime.settings import ProgressSettings
from penstock.topics.admin import Admin
from penstock.topics.internal import progress_topic


class Telemetry:
    """The listeners, the progress topic and the HTTP server of a run.

    Args:
        monitor: what they look at.
        query: what listeners are told of.
        listeners: the user's.
    """

    def __init__(self, monitor: Monitor, query: Query, listeners: Sequence[Listener]) -> None:
        self._monitor = monitor
        self._listeners = [ListenerThread(listener, query) for listener in listeners]
        self._ends: list[Callable[[], None]] = []
        for thread in self._listeners:
            monitor.attach(thread.take)

    def publish(
        self, settings: ProgressSettings, configs: ClientConfigs, admin: Admin, clients: Clients
    ) -> None:
        """Write progress to its topic from now on."""
        if not settings.publish:
            return
        application = self._monitor.topology.application
        topic = progress_topic(application, settings.topic, settings.retention_ms)

        def make() -> None:
            if topic.name not in admin.topics():  # one that is there is as somebody wants it
                admin.create([topic])

        publisher = ProgressTopic(topic.name, configs.telemetry(), make, clients)
        self._monitor.attach(publisher.take)
        self._ends.append(publisher.close)

    def close(self) -> None:
        """End all of it, in bounded time, after the last that was told."""
        for end in reversed(self._ends):
            end()
        if self._listeners:
            close_all(self._listeners)
