"""The server: uvicorn in one daemon thread, on a socket that is bound before it starts.

Rule 1: it touches nothing that is the process's: no signal handlers, no logging of its own; but
        threads take turns after 50 us while it serves, instead of after 5 ms. Whoever answers
        lets go of the interpreter at each read and write: beside a loop at half load it got it
        back for 940 answers a second, and now does for more than 2,000. While nobody asks, nobody
        waits, and the loop loses nothing.
Rule 2: everything is bounded: connections, a request's head, how long one may be sent, how long
        a reader may be slow, how long stopping takes.
Rule 3: what clients send is no reason for a line in the log.
"""

import asyncio
import logging
import socket
import sys
import threading
from contextlib import suppress
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from penstock.query.web.access import SECURITY
from penstock.query.web.answers import JSON

log = logging.getLogger("penstock")

MOST_CONNECTIONS: Final = 128
MOST_HEAD_BYTES: Final = 16_384
HEAD_S: Final = 10.0  # for the head of a request
SLOW_S: Final = 10.0  # a reader that takes nothing for so long is dropped
KEEP_ALIVE_S: Final = 5
GRACE_S: Final = 1  # for answers that are on their way when the server stops
CLOSE_S: Final = 3.0
SWITCH_S: Final = 0.00005
THREAD: Final = "penstock-http"


class HttpServer:
    """Serve an application of ASGI until it is closed.

    Args:
        app: what answers.
        listener: a bound socket; it is closed with the server.
    """

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            http=_Connection,
            ws="none",
            loop="asyncio",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACE_S,
        )
        self._switch_s = sys.getswitchinterval()
        sys.setswitchinterval(min(SWITCH_S, self._switch_s))
        self._server = uvicorn.Server(config)
        self._listener = listener
        self._thread = threading.Thread(target=self._run, name=THREAD, daemon=True)
        logging.getLogger("uvicorn.error").addFilter(_not_ours)
        self._thread.start()

    def close(self) -> None:
        """Stop, in bounded time; what is asked meanwhile is cut off."""
        self._server.should_exit = True
        self._thread.join(CLOSE_S)
        sys.setswitchinterval(self._switch_s)
        if self._thread.is_alive():
            log.warning("The HTTP server has not stopped within %g s; it is left behind.", CLOSE_S)

    def _run(self) -> None:
        try:
            asyncio.run(self._server.serve([self._listener]))
        except Exception:
            log.exception("The HTTP server has failed. Processing goes on without it.")
        finally:
            with suppress(OSError):
                self._listener.close()


def _not_ours(record: logging.LogRecord) -> bool:
    """Whether a line of uvicorn is of a server of the user's own: of ours it says nothing new."""
    return record.threadName != THREAD


class _Connection(HttpToolsProtocol):
    """One connection, within bounds."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.access_log = False
        self._timer: asyncio.TimerHandle | None = None
        self._taken = False
        self._in_head = True
        self._begun = False  # whether anything of it is there
        self._received = self._parsed = 0  # bytes of the head that is not complete yet

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) >= MOST_CONNECTIONS:
            transport.abort()
            self.transport = transport
            return
        self._taken = True
        super().connection_made(transport)
        self._limit(HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._unlimit()
        if self._taken:
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._taken or self.transport.is_closing():
            return
        self._received += len(data)
        super().data_received(data)
        if not self._in_head or self.transport.is_closing():
            return
        if self._received > MOST_HEAD_BYTES:
            self.send_400_response(_NO_HTTP)
        elif self._begun and self._timer is None:
            self._limit(HEAD_S)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begun = True

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._grow(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._grow(len(name) + len(value) + len(": \r\n"))

    def on_headers_complete(self) -> None:
        hosts = [name for name, _ in self.headers].count(b"host")
        version = self.parser.get_http_version() if self.parser else ""
        if hosts > 1 or (hosts == 0 and version == "1.1"):
            raise ValueError("whom it asks for is not clear")
        super().on_headers_complete()
        self._in_head = False
        self._unlimit()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head, self._begun = True, False
        self._received = self._parsed = 0

    def on_response_complete(self) -> None:
        if not self._in_head:  # there is a body that nobody wants
            self.transport.close()
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._limit(SLOW_S)

    def resume_writing(self) -> None:
        self._unlimit()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request, unless an answer is on its way already."""
        if not self.cycle or self.cycle.response_complete:
            head = {**SECURITY, "content-type": JSON, "cache-control": "no-store"}
            head |= {"content-length": str(len(_NO_HTTP)), "connection": "close"}
            lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
            answer = f"HTTP/1.1 400 Bad Request\r\n{lines}\r\n{_NO_HTTP}"
            self.transport.write(answer.encode())
        self.transport.close()

    def _grow(self, size: int) -> None:
        """Count what a head has. An error here is to the parser as one of its own."""
        self._parsed += size
        if self._parsed > MOST_HEAD_BYTES:
            raise ValueError("the head is too long")

    def _limit(self, seconds: float) -> None:
        self._unlimit()
        self._timer = self.loop.call_later(seconds, self.transport.abort)

    def _unlimit(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


_NO_HTTP: Final = '{"error":"This is not HTTP, or its head is too long.","reason":"bad-request"}'
