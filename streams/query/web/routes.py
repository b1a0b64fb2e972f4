"""The endpoints of a worker, as an application of ASGI."""

from collections.abc import Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from penstock.query.monitor import RECENT
from penstock.query.web.answers import answer, failed, refusal
from penstock.query.web.exposition import Exposition
from penstock.query.web.feed import Feed
from penstock.query.web.metrics import CONTENT_TYPE
from penstock.query.web.subject import Subject, topology_document


def make_web(subject: Subject, feed: Feed, routes: Sequence[BaseRoute] = ()) -> Starlette:
    """Return what answers for a run.

    Args:
        subject: the run.
        feed: what happens in it.
        routes: more of them: tables, the page.
    """
    endpoints = _Endpoints(subject)
    own: list[tuple[str, Callable[[Request], Response]]] = [
        ("/status", endpoints.status),
        ("/progress", endpoints.progress),
        ("/topology", endpoints.topology),
        ("/problems", endpoints.problems),
        ("/healthz", endpoints.healthz),
        ("/readyz", endpoints.readyz),
        ("/metrics", endpoints.metrics),
        ("/events", lambda asked: feed.respond(only_head=asked.method == "HEAD")),
    ]
    web = Starlette(
        routes=[*(Route(path, _in_the_loop(of)) for path, of in own), *routes],
        exception_handlers={HTTPException: _refused, Exception: failed},
    )
    web.router.redirect_slashes = False  # the address would be made of the Host header
    return web


def application_route(application: Callable[[], Any]) -> Route:
    """Return the endpoint of what all workers do.

    Args:
        application: returns it; it may wait, and is called in a thread of its own.
    """

    def endpoint(_: Request) -> Response:
        return answer(application())

    return Route("/application", endpoint)


class _Endpoints:
    """What is answered at once, out of the monitor."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._topology = topology_document(subject.monitor.topology)
        self._exposition = Exposition(subject)

    def status(self, _: Request) -> Response:
        return answer(self._subject.status())

    def progress(self, request: Request) -> Response:
        last = request.query_params.get("last", str(RECENT))
        if not last.isascii() or not last.isdigit() or not 1 <= int(last[:9]) <= RECENT:
            why = f"last= is how many records of progress: a number from 1 to {RECENT}."
            return refusal(400, "bad-request", why)
        return answer({"recent": list(self._subject.monitor.recent)[-int(last) :]})

    def topology(self, _: Request) -> Response:
        return answer(self._topology)

    def problems(self, _: Request) -> Response:
        return answer({"problems": list(self._subject.monitor.problems)})

    def metrics(self, _: Request) -> Response:
        return Response(self._exposition.text(), headers={"content-type": CONTENT_TYPE})

    def healthz(self, _: Request) -> Response:
        return _health(self._subject.stalled(), "alive")

    def readyz(self, _: Request) -> Response:
        return _health(self._subject.not_ready(), "ready")


def _health(why: str | None, word: str) -> Response:
    return answer({"status": word}) if why is None else refusal(503, f"not-{word}", why)


def _in_the_loop(of: Callable[[Request], Response]) -> Callable[[Request], object]:
    """Keep a quick answer out of starlette's pool of threads."""

    async def endpoint(request: Request) -> Response:
        return of(request)

    return endpoint


def _refused(_: Request, error: Exception) -> Response:
    """Say in JSON what starlette itself refuses, without its words."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 404:
        why = "There is nothing at this path. See /status, /progress, /topology and /metrics."
        return refusal(404, "not-found", why)
    return refusal(status, "refused", "The request was not understood.")
