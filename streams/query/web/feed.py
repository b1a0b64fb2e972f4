"""The feed: what happens, as server-sent events, to everybody who listens.

Rule 1: the loop's thread puts what it tells into a queue and goes on.
Rule 2: each client has a queue of its own with an end to it. One that is too slow is dropped,
        and its browser connects again.
Rule 3: each event is encoded once, whoever listens.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any, Final

import msgspec
from starlette.responses import Response, StreamingResponse

from penstock.query.events import Told
from penstock.query.monitor import Monitor
from penstock.query.progress import Progress
from penstock.query.web.answers import refusal

EVENT_STREAM: Final = "text/event-stream"
MOST_CLIENTS: Final = 32
MOST_WAITING: Final = 256  # events per client
STATUS_S: Final = 1.0
RETRY_MS: Final = 2_000
_LINE_ENDS = re.compile(rb"\r\n|\r|\n")


class Feed:
    """Tell clients what a monitor tells, and a status once a second.

    Args:
        monitor: what is listened to, while somebody listens to us.
        status: what is told once a second.
    """

    def __init__(self, monitor: Monitor, status: Callable[[], Any]) -> None:
        self._monitor = monitor
        self._status = status
        self._clients: set[_Client] = set()
        self._told: deque[Told] = deque(maxlen=MOST_WAITING)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._detach: Callable[[], None] = lambda: None
        self._ticking: asyncio.Task[None] | None = None

    @property
    def clients(self) -> int:
        """How many listen."""
        return len(self._clients)

    def respond(self, *, only_head: bool = False) -> Response:
        """Return the stream of a new client; to be called in the server's loop.

        Args:
            only_head: whether nobody reads it.
        """
        if only_head:
            return Response(media_type=EVENT_STREAM)
        if len(self._clients) >= MOST_CLIENTS:
            return refusal(
                503,
                "too-many-clients",
                f"{MOST_CLIENTS} clients listen already. Close some, and try again.",
                {"retry-after": "10"},
            )
        if not self._clients:
            self._begin()
        client = _Client()
        self._clients.add(client)
        client.put(event("status", self._status()))
        return StreamingResponse(self._events(client), media_type=EVENT_STREAM)

    def close(self) -> None:
        """Let clients hear what waits, and end their streams; from any thread."""
        self._in_loop(self._end)

    async def _events(self, client: "_Client") -> AsyncGenerator[bytes]:
        try:
            yield b"retry: %d\n\n" % RETRY_MS
            while (chunk := await client.next()) is not None:
                yield chunk
        finally:
            self._clients.discard(client)
            if not self._clients:
                self._rest()

    def _begin(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._detach = self._monitor.attach(self._take)
        self._ticking = asyncio.create_task(self._tick())

    def _rest(self) -> None:
        self._detach()
        if self._ticking is not None:
            self._ticking.cancel()
        self._ticking = None

    def _take(self, told: Told) -> None:
        self._told.append(told)
        self._in_loop(self._pass_on)

    def _in_loop(self, action: Callable[[], None]) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # it is closed, and nobody listens
                self._loop.call_soon_threadsafe(action)

    def _pass_on(self) -> None:
        while self._told:
            told = self._told.popleft()
            name = "progress" if isinstance(told, Progress) else type(told).__name__.lower()
            self._put(event(name, told))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(STATUS_S)
            self._put(event("status", self._status()))

    def _put(self, chunk: bytes) -> None:
        for client in self._clients:
            client.put(chunk)

    def _end(self) -> None:
        self._pass_on()
        for client in self._clients:
            client.end()


class _Client:
    """One who listens."""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._awake = asyncio.Event()
        self._over = False

    def put(self, chunk: bytes) -> None:
        if len(self._waiting) >= MOST_WAITING:
            self._over = True
        elif not self._over:
            self._waiting.append(chunk)
        self._awake.set()

    def end(self) -> None:
        self._over = True
        self._awake.set()

    async def next(self) -> bytes | None:
        while not self._waiting:
            if self._over:
                return None
            self._awake.clear()
            await self._awake.wait()
        return self._waiting.popleft()


def event(name: str, found: Any) -> bytes:
    r"""Return a server-sent event.

    >>> event("idle", {"lag": 0})
    b'event: idle\ndata: {"lag":0}\n\n'
    """
    # JSON has no bare line ends; one would end the event.
    data = _LINE_ENDS.sub(b" ", msgspec.json.encode(found))
    return b"event: %s\ndata: %s\n\n" % (name.encode(), data)
