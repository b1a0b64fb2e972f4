"""The front: one server for all workers of a supervisor.

    /metrics              the workers' metrics, combined by the catalogue's rules
    /status               the first worker's, with all their tasks, and each one under "workers"
    /healthz, /readyz     over all workers
    /workers/N/...        a worker's own
    everything else       the first worker's that answers

It knows of its workers what they say over HTTP; it loads neither the application nor a client of
Kafka.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from penstock.query.web.access import Access, allowed_hosts
from penstock.query.web.answers import answer, failed, refusal
from penstock.query.web.asking import Asked, NoAnswer, ask
from penstock.query.web.binding import Address, shown
from penstock.query.web.combining import Combining, Scraped
from penstock.query.web.metrics import CONTENT_TYPE, Name
from penstock.query.web.server import HttpServer
from penstock.query.web.team import Member, Team
from penstock.version import __version__

log = logging.getLogger("penstock")

ANSWER_S: Final = 3.0  # for what is asked of all workers
RETRY: Final = {"retry-after": "1"}
# What concerns one connection, and what the front itself has to say.
_NOT_PASSED: Final = frozenset(
    b"connection content-length host keep-alive proxy-authenticate proxy-authorization te trailer"
    b" transfer-encoding upgrade authorization".split()
)
_NOT_RETURNED: Final = _NOT_PASSED - {b"content-length"} | {b"date"}


def serve_front(address: Address, team: Team) -> HttpServer:
    """Serve all workers of a team on one address.

    Raises:
        TopologyError: if the address cannot be listened on.
    """
    listener = address.bind()
    port: int = listener.getsockname()[1]
    hosts = allowed_hosts(address.host, loopback=address.is_loopback)
    server = HttpServer(Access(make_front(team), lambda: team.token, hosts), listener)
    taken = f" Port {address.port} is taken." if port != address.port and address.port else ""
    log.info("All workers are shown at %s.%s", shown(address.host, port), taken)
    return server


def make_front(team: Team) -> Starlette:
    """Return what answers for a team of workers."""
    front = _Front(team)
    routes = [
        Route("/metrics", front.metrics),
        Route("/status", front.status),
        Route("/healthz", front.healthz),
        Route("/readyz", front.readyz),
        Route("/workers/{number:int}/{path:path}", front.of_one),
        Route("/{path:path}", front.of_any),
    ]
    web = Starlette(routes=routes, exception_handlers={Exception: failed})
    web.router.redirect_slashes = False  # the address would be made of the Host header
    return web


class _Front:
    """The endpoints."""

    def __init__(self, team: Team) -> None:
        self._team = team
        self._combining = Combining()

    async def metrics(self, _: Request) -> Response:
        answers = await self._ask_all("/metrics")
        members = self._team.members
        texts = {
            number: Scraped(members[number].restarts, body.decode(errors="replace"))
            for number, (status, body) in answers.items()
            if status == 200
        }
        own: list[tuple[Name, dict[str, str], float]] = [
            ("penstock_workers", {"state": "up"}, len(texts)),
            ("penstock_workers", {"state": "down"}, len(members) - len(texts)),
            *(
                ("penstock_worker_restarts_total", {"worker": str(of.number)}, of.restarts)
                for of in members
            ),
        ]
        return Response(
            self._combining.combined(texts, own), headers={"content-type": CONTENT_TYPE}
        )

    async def status(self, _: Request) -> Response:
        answers = await self._ask_all("/status")
        told: dict[int, dict[str, Any]] = {
            number: msgspec.json.decode(body)
            for number, (status, body) in answers.items()
            if status == 200
        }
        first: dict[str, Any] = next(iter(told.values()), _nothing_yet())
        workers = [
            {**told.get(of.number, {}), "number": of.number, "pid": of.pid, "restarts": of.restarts}
            for of in self._team.members
        ]
        tasks = [task for of in told.values() for task in of["tasks"]]
        return answer({**first, "tasks": tasks, "workers": workers, "supervisorPid": os.getpid()})

    async def healthz(self, _: Request) -> Response:
        """A worker that is not there yet is the supervisor's to mend; one that hangs is not."""
        answers = await self._ask_all("/healthz")
        asked = [of.number for of in self._team.members if of.port is not None]
        return _over_all(asked, answers, "alive")

    async def readyz(self, _: Request) -> Response:
        answers = await self._ask_all("/readyz")
        return _over_all([of.number for of in self._team.members], answers, "ready")

    async def of_one(self, request: Request) -> Response:
        number = request.path_params["number"]
        found = [of for of in self._team.members if of.number == number]
        if not found:
            return refusal(404, "not-found", "There is no worker with this number. See /status.")
        prefix = f"/workers/{number}".encode()
        target = request.scope["raw_path"].removeprefix(prefix)
        return await _passed(found, request, target)

    async def of_any(self, request: Request) -> Response:
        return await _passed(self._team.members, request, request.scope["raw_path"])

    async def _ask_all(self, path: str) -> dict[int, tuple[int, bytes]]:
        """Return the answers of all that answer in time, by their numbers."""
        members = [of for of in self._team.members if of.port is not None]
        found = await asyncio.gather(*(_read(of, path) for of in members))
        return {of.number: got for of, got in zip(members, found, strict=True) if got is not None}


async def _read(member: Member, path: str) -> tuple[int, bytes] | None:
    try:
        async with asyncio.timeout(ANSWER_S):
            found = await ask(member.port or 0, b"GET", path.encode(), _shown_to(member))
            return found.status, await found.read()
    except (NoAnswer, TimeoutError):
        return None


async def _passed(members: Sequence[Member], request: Request, target: bytes) -> Response:
    """Return what the first worker says that can be reached."""
    query: bytes = request.scope["query_string"]
    target += b"?" + query if query else b""
    for member in members:
        if member.port is None:
            continue
        headers = [(k, v) for k, v in request.headers.raw if k.lower() not in _NOT_PASSED]
        try:
            found = await ask(
                member.port, request.method.encode(), target, [*headers, *_shown_to(member)]
            )
        except NoAnswer:
            continue
        return _returned(found)
    why = "No worker answers at this moment: they start, or have ended. Try again; see /status."
    return refusal(503, "no-worker", why, RETRY)


def _returned(found: Asked) -> Response:
    response = StreamingResponse(found.body(), found.status)
    response.raw_headers = [(k, v) for k, v in found.headers if k.lower() not in _NOT_RETURNED]
    return response


def _shown_to(member: Member) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", f"Bearer {member.token}".encode())] if member.token else []


def _over_all(numbers: Sequence[int], answers: dict[int, tuple[int, bytes]], word: str) -> Response:
    reasons: list[str] = []
    for number in numbers:
        status, body = answers.get(number, (0, b""))
        if status != 200:
            why = msgspec.json.decode(body)["error"] if status else "It does not answer."
            reasons.append(f"Worker {number}: {why}")
    return (
        answer({"status": word}) if not reasons else refusal(503, f"not-{word}", " ".join(reasons))
    )


def _nothing_yet() -> dict[str, Any]:
    status = {"message": "Initializing", "isDataAvailable": False, "isTriggerActive": False}
    unknown = dict.fromkeys(("id", "runId", "instanceId", "name", "startedAt"))
    return {**unknown, "host": socket.gethostname(), "status": status, "version": __version__}
