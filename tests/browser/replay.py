"""A worker that is none: it serves the page, and tells what a real one has told once.

What it tells can be changed at will, for what a real worker is in for moments only, and for
names and errors that nobody should have.
"""

import asyncio
import copy
import datetime
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from penstock.query.web.access import Access
from penstock.query.web.page import page_routes

RECORDING = Path(__file__).with_name("recording.json")
WAIT_S = 10.0
STATUS_S = 0.25  # four times as often as a real one: tests wait for it


class Replay:
    """Serves a recording as if it were happening, until its block ends.

    Args:
        port: to listen on; any that is free if left out.
        count: how many records of progress there are at the beginning.
        age_ms: how long ago the last of them ended.

    Attributes:
        facts: what the endpoints tell, by path; may be changed at any time.
        port: that it listens on.
        token: what has to be shown, nothing if None.
        before_listening: is called before somebody may listen.
        silent: whether nothing is told any more, on connections that stay.
    """

    def __init__(self, port: int = 0, *, count: int = 30, age_ms: int = 0) -> None:
        recorded = json.loads(RECORDING.read_text())
        self.facts: dict[str, Any] = rebased(recorded, age_ms)
        self.facts["progress"]["recent"] = self.facts["progress"]["recent"][-count:]
        self.port = port
        self.token: str | None = None
        self.silent = False
        self.before_listening: Callable[[], object] = lambda: None
        self._clients: set[asyncio.Queue[bytes | None]] = set()
        self._loop = asyncio.new_event_loop()
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        routes = [Route(f"/{path}", self._facts) for path in self.facts]
        app = Starlette(routes=[*routes, Route("/events", self._events), *page_routes()])
        web = Access(app, lambda: self.token, None)
        config = uvicorn.Config(web, port=self.port, log_level="critical", lifespan="off")
        listener = config.bind_socket()
        self.port = listener.getsockname()[1]
        server = self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: self._serve(server, listener))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        assert self._thread is not None
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(WAIT_S)

    def _serve(self, server: uvicorn.Server, listener: socket.socket) -> None:
        """Serve until the end, and drop whoever still listens, as a killed worker does."""
        self._loop.run_until_complete(server.serve([listener]))
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.05))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.port}/"

    def tell(self, name: str, found: Any) -> None:
        """Send an event to everybody who listens."""
        chunk = f"event: {name}\ndata: {json.dumps(found)}\n\n".encode()
        for client in list(self._clients):
            self._loop.call_soon_threadsafe(client.put_nowait, chunk)

    def terminate(self, error_class: str, exception: str) -> None:
        """Tell that the worker has ended with an error."""
        run = {"runId": self.facts["status"]["runId"], "timestamp": iso_now()}
        ended = {"event": "terminated", "errorClass": error_class, "exception": exception}
        self.tell("terminated", ended | run)

    def hang_up(self) -> None:
        """End the connections of those who listen."""
        for client in list(self._clients):
            self._loop.call_soon_threadsafe(client.put_nowait, None)

    def progress(self, **changed: Any) -> dict[str, Any]:
        """Tell a record of progress that is like the last one, but for what is changed."""
        recent = self.facts["progress"]["recent"]
        found = copy.deepcopy(recent[-1]) | {"timestamp": iso_now(-1000)}
        found |= {"batchId": found["batchId"] + 20, **changed}
        recent.append(found)
        self.tell("progress", found)
        return found

    async def _facts(self, request: Request) -> Response:
        found = self.facts[request.url.path.strip("/")]
        return Response(status_code=404) if found is None else JSONResponse(found)

    async def _events(self, _: Request) -> Response:
        self.before_listening()
        told: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._clients.add(told)  # before the headers, which the page takes for a connection
        return StreamingResponse(self._listen(told), media_type="text/event-stream")

    async def _listen(self, queue: asyncio.Queue[bytes | None]) -> AsyncIterator[bytes]:
        try:
            while True:
                while self.silent:
                    await asyncio.sleep(STATUS_S)
                yield f"event: status\ndata: {json.dumps(self.facts['status'])}\n\n".encode()
                try:
                    told = await asyncio.wait_for(queue.get(), STATUS_S)
                except TimeoutError:
                    continue
                if told is None:
                    return
                yield told
        finally:
            self._clients.discard(queue)


def rebased(recorded: dict[str, Any], age_ms: int) -> dict[str, Any]:
    """Move a recording in time, so that its last record of progress ended some time ago."""
    last = recorded["progress"]["recent"][-1]["timestamp"]
    by = datetime.datetime.fromisoformat(iso_now(-1000 - age_ms)) - datetime.datetime.fromisoformat(
        last
    )

    def moved(found: Any) -> Any:
        match found:
            case dict():
                return {name: moved(value) for name, value in found.items()}
            case list():
                return [moved(value) for value in found]
            case str() if len(found) == 24 and found.endswith("Z"):
                return _iso(datetime.datetime.fromisoformat(found) + by)
        return found

    found: dict[str, Any] = moved(recorded)
    return found


def iso_now(milliseconds: int = 0) -> str:
    """Return the present moment as progress writes it, moved by some milliseconds."""
    now = datetime.datetime.now(datetime.UTC)
    return _iso(now + datetime.timedelta(milliseconds=milliseconds))


def _iso(moment: datetime.datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
