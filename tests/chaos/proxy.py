"""A proxy in front of a broker that loses, or delays, what a test wants it to.

Kafka's frames are a length of four bytes and a body; a request's body begins with its kind
(two bytes), its version (two) and a number (four) that its answer repeats. All clients of the
broker have to come through here: it has to advertise the proxy's address as its own.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Literal

INIT_PRODUCER_ID = 22
END_TXN = 26
START_S = 10.0
LATE_S = 1.5  # after its sender has given it up, and has gone on with the next one

Fate = Literal["answer lost", "request lost", "request late"]


class Proxy:
    """Pass on everything between clients and the broker at a port, until told otherwise.

    Attributes:
        port: where clients connect.
        done: how many requests have met the fate that was meant for them.

    """

    def __init__(self, broker_port: int) -> None:
        self.port = 0
        self.done = 0
        self._broker_port = broker_port
        self._fate: tuple[Fate, int] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")

    def __enter__(self) -> "Proxy":
        self._thread.start()
        listening = asyncio.run_coroutine_threadsafe(self._listen(), self._loop)
        self.port = listening.result(START_S)
        return self

    def __exit__(self, *error: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(START_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_S)
        self._loop.close()

    def meet(self, fate: Fate, kind: int) -> None:
        """Let the next request of a kind meet a fate."""
        self._fate = (fate, kind)

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _end(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        lost: set[bytes] = set()
        try:
            broker, to_broker = await asyncio.open_connection("127.0.0.1", self._broker_port)
        except OSError:
            to_client.close()
            return
        try:
            requests = _each(client, lambda body: self._request(body, to_broker, lost))
            answers = _each(broker, lambda body: self._answer(body, to_client, lost))
            ways = [asyncio.ensure_future(requests), asyncio.ensure_future(answers)]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        finally:
            to_broker.close()
            to_client.close()
            self._tasks.discard(task)

    async def _request(self, body: bytes, broker: asyncio.StreamWriter, lost: set[bytes]) -> None:
        fate = self._fate
        if fate is None or int.from_bytes(body[:2], "big") != fate[1]:
            await _send(broker, body)
            return
        self._fate = None
        if fate[0] == "answer lost":
            lost.add(body[4:8])
            await _send(broker, body)
        elif fate[0] == "request late":
            self._loop.call_later(LATE_S, _send_now, broker, body)
        self.done += fate[0] != "answer lost"

    async def _answer(self, body: bytes, client: asyncio.StreamWriter, lost: set[bytes]) -> None:
        if body[:4] in lost:
            lost.remove(body[:4])
            self.done += 1
            return
        await _send(client, body)


async def _each(reader: asyncio.StreamReader, handle: Callable[[bytes], Awaitable[None]]) -> None:
    """Handle the body of each frame until the connection ends."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            length = int.from_bytes(await reader.readexactly(4), "big")
            await handle(await reader.readexactly(length))


async def _send(writer: asyncio.StreamWriter, body: bytes) -> None:
    _send_now(writer, body)
    await writer.drain()


def _send_now(writer: asyncio.StreamWriter, body: bytes) -> None:
    if not writer.is_closing():
        writer.write(len(body).to_bytes(4, "big") + body)
