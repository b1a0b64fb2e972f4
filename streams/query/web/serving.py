"""Serving: a run behind its endpoints, on an address."""

import logging
from collections.abc import Sequence

from starlette.routing import BaseRoute

from penstock.query.web.access import Access, allowed_hosts
from penstock.query.web.binding import Address, shown
from penstock.query.web.feed import Feed
from penstock.query.web.routes import make_web
from penstock.query.web.server import HttpServer
from penstock.query.web.subject import Subject

log = logging.getLogger("penstock")


class Serving:
    """A server and what it serves.

    Attributes:
        port: that it listens on.
        feed: who listens to what happens.
    """

    def __init__(self, port: int, server: HttpServer, feed: Feed) -> None:
        self.port = port
        self._server = server
        self.feed = feed

    def close(self) -> None:
        """Let those who listen hear the end, and stop, in bounded time."""
        self.feed.close()
        self._server.close()


def serve(address: Address, subject: Subject, routes: Sequence[BaseRoute] = ()) -> Serving:
    """Show a run over HTTP until that is closed.

    Args:
        address: where.
        subject: the run.
        routes: more than what every run has: tables, the page.

    Raises:
        TopologyError: if the address cannot be listened on.
    """
    listener = address.bind()
    port: int = listener.getsockname()[1]
    feed = Feed(subject.monitor, subject.status)
    hosts = allowed_hosts(address.host, loopback=address.is_loopback)
    web = Access(make_web(subject, feed, routes), lambda: address.token, hosts)
    server = HttpServer(web, listener)
    taken = f" Port {address.port} is taken." if port != address.port and address.port else ""
    application = subject.monitor.topology.application
    level = logging.INFO if address.told else logging.DEBUG
    log.log(level, "%s is shown at %s.%s", application, shown(address.host, port), taken)
    return Serving(port, server, feed)
