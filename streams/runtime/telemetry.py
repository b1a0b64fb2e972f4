"""Telemetry: everything that looks at a run from outside its loop, begun and ended with it."""

from collections.abc import Callable, Sequence

from penstock.query.alerting import Alerts
from penstock.query.listener import Listener
from penstock.query.monitor import Monitor
from penstock.query.query import Query
from penstock.query.web.binding import Address
from penstock.query.web.subject import Subject
from penstock.runtime.client_configs import ClientConfigs
from penstock.runtime.clients import Clients
from penstock.runtime.headroom import HeadroomWatch
from penstock.runtime.listening import ListenerThread, close_all
from penstock.runtime.overview import Overview
from penstock.runtime.publishing import Publisher
from penstock.runtime.settings import ProgressSettings
from penstock.topics.admin import Admin
from penstock.topics.internal import progress_topic


class Telemetry:
    """The listeners, the progress topic and the HTTP server of a run.

    Args:
        monitor: what they look at.
        query: what listeners are told of.
        listeners: the user's.
        now_ms: the wall clock.
    """

    def __init__(
        self,
        monitor: Monitor,
        query: Query,
        listeners: Sequence[Listener],
        now_ms: Callable[[], int],
    ) -> None:
        self._monitor = monitor
        self._listeners = [ListenerThread(listener, query) for listener in listeners]
        self._ends: list[Callable[[], None]] = []
        for thread in self._listeners:
            monitor.attach(thread.take)
        self._alerts = [listener for listener in listeners if isinstance(listener, Alerts)]
        for alerts in self._alerts:
            alerts.bind(monitor, now_ms)

    def publish(
        self, settings: ProgressSettings, configs: ClientConfigs, admin: Admin, clients: Clients
    ) -> None:
        """Write progress to its topic from now on."""
        if not (settings.publish or self._alerts):
            return
        application = self._monitor.topology.application
        topic = progress_topic(application, settings.topic, settings.retention_ms)

        def make() -> None:
            # One that is there is as somebody wants it.
            if settings.publish and topic.name not in admin.topics():
                admin.create([topic])

        publisher = Publisher(topic.name, configs.telemetry(), make, clients)
        if settings.publish:
            self._monitor.attach(publisher.take)
        for alerts in self._alerts:
            alerts.write_by(publisher.write)
        self._ends.append(publisher.close)

    def watch(self, headroom: HeadroomWatch) -> None:
        """Look at what retention is about to delete from now on."""
        headroom.start()
        self._ends.append(headroom.close)

    def serve(
        self,
        address: Address,
        subject: Subject,
        overview: Overview,
        configs: ClientConfigs,
        admin: Admin,
        clients: Clients,
    ) -> int:
        """Show the run over HTTP from now on, and return the port.

        Raises:
            TopologyError: if the address cannot be listened on.
        """
        # Loaded here: where nothing is served, nothing of it costs memory or time.
        from penstock.query.web.page import page_routes
        from penstock.query.web.routes import application_route
        from penstock.query.web.serving import serve
        from penstock.query.web.stores import store_routes
        from penstock.runtime.announcing import announce, peers_of

        monitor = self._monitor
        peers = peers_of(monitor, address.token, clients)
        routes = [
            application_route(overview.application),
            *store_routes(monitor.holdings, peers),
            *page_routes(),
        ]
        serving = serve(address, subject, routes)
        self._ends += [overview.close, serving.close]
        if monitor.holdings.stores:
            reached = (address.advertised, serving.port)
            announcing = announce(monitor, peers, reached, configs, admin, clients)
            self._ends.append(announcing.close)
        return serving.port

    def close(self) -> None:
        """End all of it, in bounded time, after the last that was told."""
        if self._listeners:
            close_all(self._listeners)
        for end in reversed(self._ends):  # the last alerts are written, too
            end()
