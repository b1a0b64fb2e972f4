"""Asking: the supervisor's requests to its workers, whose answers may never end."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Final

import h11

from penstock.query.web.answers import BrokenOff

HOST: Final = "127.0.0.1"
CONNECT_S: Final = 1.0
_READ_BYTES: Final = 65_536
_MOST_HEAD_BYTES: Final = 65_536

Headers = Sequence[tuple[bytes, bytes]]


class NoAnswer(BrokenOff):
    """A worker cannot be reached, or has ended before it could answer."""


@dataclass
class Asked:
    """What a worker answers; it has to be closed.

    Attributes:
        status: the code.
        headers: as they came.
    """

    status: int
    headers: Headers
    _connection: h11.Connection
    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter

    async def body(self) -> AsyncGenerator[bytes]:
        """Return the body as it comes, and close.

        Raises:
            NoAnswer: if it breaks off.
        """
        try:
            while not isinstance(
                event := await _event(self._connection, self._reader), h11.EndOfMessage
            ):
                if isinstance(event, h11.Data):
                    yield bytes(event.data)
        finally:
            self.close()

    async def read(self) -> bytes:
        """Return the whole body, and close.

        Raises:
            NoAnswer: if it breaks off.
        """
        return b"".join([part async for part in self.body()])

    def close(self) -> None:
        """Let go of the connection."""
        self._writer.close()


async def ask(port: int, method: bytes, target: bytes, headers: Headers) -> Asked:
    """Ask a worker on this host.

    Args:
        port: of the worker.
        method: GET or HEAD.
        target: path and query, as they came.
        headers: those of the request, without host and connection.

    Raises:
        NoAnswer: if there is none.
    """
    try:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(HOST, port)
    except OSError as error:  # TimeoutError is one
        raise NoAnswer(str(error)) from error
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MOST_HEAD_BYTES)
    own = [(b"host", f"{HOST}:{port}".encode()), (b"connection", b"close")]
    request = h11.Request(method=method, target=target, headers=[*headers, *own])
    try:
        writer.write(connection.send(request) or b"")
        writer.write(connection.send(h11.EndOfMessage()) or b"")
        while not isinstance(event := await _event(connection, reader), h11.Response):
            pass
    except BaseException:
        writer.close()
        raise
    return Asked(event.status_code, event.headers, connection, reader, writer)


async def _event(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Event:
    try:
        while (event := connection.next_event()) is h11.NEED_DATA:
            connection.receive_data(await reader.read(_READ_BYTES))
    except (OSError, h11.RemoteProtocolError) as error:
        raise NoAnswer(str(error)) from error
    if isinstance(event, type | h11.ConnectionClosed):
        raise NoAnswer("the connection has ended")
    return event
