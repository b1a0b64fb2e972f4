"""The server: uvicorn in one daemon thread, on a socket that is bound before it starts.

Rule 1: it touches nothing that is the process's: no signal handlers, no logging of its own; but
        threads take turns each millisecond while it serves, instead of each five: beside a loop at
        half load it answers twice as many.
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

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
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
SWITCH_S: Final = 0.001
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
            h11_max_incomplete_event_size=MOST_HEAD_BYTES,
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


class _Connection(H11Protocol):
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
        if not self._taken:
            return
        waiting = self.conn.their_state is h11.IDLE
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._unlimit()
        elif waiting and self._timer is None and not self.transport.is_closing():
            self._limit(HEAD_S)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._limit(SLOW_S)

    def resume_writing(self) -> None:
        self._unlimit()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        body = b'{"error":"This is not HTTP, or its head is too long.","reason":"bad-request"}'
        headers = [(name.encode(), value.encode()) for name, value in SECURITY.items()]
        headers += [(b"content-type", JSON.encode()), (b"cache-control", b"no-store")]
        headers += [(b"content-length", str(len(body)).encode()), (b"connection", b"close")]
        with suppress(h11.LocalProtocolError):  # an answer is on its way already
            for event in (
                h11.Response(status_code=400, headers=headers),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _limit(self, seconds: float) -> None:
        self._unlimit()
        self._timer = self.loop.call_later(seconds, self.transport.abort)

    def _unlimit(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
