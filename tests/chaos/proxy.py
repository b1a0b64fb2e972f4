"""A proxy in front of a broker that loses, delays, repeats or cuts off what a test wants it to.

Kafka's frames are a length of four bytes and a body; a request's body begins with its kind
(two bytes), its version (two) and a number (four) that its answer repeats. All clients of the
broker have to come through here: it has to advertise the proxy's address as its own.

What comes late comes on a connection of its own: the client has long closed the one on which it
was sent, and a broker still handles what it has received.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

PRODUCE = 0
OFFSET_FETCH = 9
INIT_PRODUCER_ID = 22
ADD_PARTITIONS_TO_TXN = 24
ADD_OFFSETS_TO_TXN = 25
END_TXN = 26
TXN_OFFSET_COMMIT = 28
START_S = 10.0
LATE_S = 1.5  # after its sender has given it up, and has gone on with the next one

Fate = Literal[
    "answer lost",
    "request lost",
    "request late",
    "request twice",
    "cut in front of it",
    "cut behind it",
]


@dataclass
class Meeting:
    """A request that is waited for, and what is to become of it.

    Attributes:
        fate: what.
        kind: what kind of request it is.
        about: what stands in it.
        until: where it is late, the kind of request in front of which it comes; that one is lost.
        cut_s: after how long the connection is cut on which it was sent.
    """

    fate: Fate
    kind: int
    about: bytes
    until: int | None = None
    cut_s: float | None = None

    def is_with(self, body: bytes) -> bool:
        return int.from_bytes(body[:2], "big") == self.kind and self.about in body


@dataclass
class Watch:
    """Requests that are counted as they pass.

    Attributes:
        kind: what kind they are.
        about: what stands in them.
        passed: how many have passed.
    """

    kind: int
    about: bytes
    passed: int = 0


@dataclass
class Link:
    """A connection of a client, and the one to the broker that goes with it."""

    client: asyncio.StreamWriter
    broker: asyncio.StreamWriter
    lost: set[bytes] = field(default_factory=set[bytes])
    once: set[bytes] = field(default_factory=set[bytes])
    cut: set[bytes] = field(default_factory=set[bytes])


class Proxy:
    """Pass on everything between clients and the broker at a port, until told otherwise.

    Attributes:
        port: where clients connect.
        done: how many requests have met the fate that was meant for them.
        late: what the broker has answered to ends of transactions that came late, as error codes.
        held: how many requests wait.
    """

    def __init__(self, broker_port: int) -> None:
        self.port = 0
        self.done = 0
        self.late: list[int] = []
        self.held = 0
        self._broker_port = broker_port
        self._meetings: list[Meeting] = []
        self._waiting: list[tuple[Meeting, bytes]] = []
        self._held_back: Meeting | None = None
        self._watches: list[Watch] = []
        self._tasks: set[asyncio.Future[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._released = asyncio.Event()
        self._turn = asyncio.Lock()
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

    def meet(
        self,
        fate: Fate,
        kind: int,
        about: str = "",
        *,
        until: int | None = None,
        cut_s: float | None = None,
    ) -> None:
        """Let the next request of a kind meet a fate.

        Args:
            fate: what becomes of it.
            kind: the kind.
            about: what has to stand in it, such as a transactional id or a topic.
            until: where it is late, it comes only with the next request of this kind; that one
                is lost, so that its transaction stays open.
            cut_s: the connection on which it was sent is cut after so many seconds.
        """
        self._meetings.append(Meeting(fate, kind, about.encode(), until, cut_s))

    def watch(self, kind: int, about: str) -> Watch:
        """Count requests of a kind in which something stands, from now on."""
        self._watches.append(Watch(kind, about.encode()))
        return self._watches[-1]

    @contextmanager
    def holding(self, kind: int, about: str) -> Generator[None]:
        """Keep requests back, in their order, until the context ends; others overtake them."""
        self._released.clear()
        self._held_back = Meeting("request late", kind, about.encode())
        try:
            yield
        finally:
            self._held_back = None
            self._loop.call_soon_threadsafe(self._released.set)

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
        try:
            broker, to_broker = await asyncio.open_connection("127.0.0.1", self._broker_port)
        except OSError:
            to_client.close()
            return
        link = Link(to_client, to_broker)
        try:
            requests = _each(client, lambda body: self._request(body, link))
            answers = _each(broker, lambda body: self._answer(body, link))
            ways = [asyncio.ensure_future(requests), asyncio.ensure_future(answers)]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        finally:
            to_broker.close()
            to_client.close()
            self._tasks.discard(task)

    async def _request(self, body: bytes, link: Link) -> None:
        for watch in self._watches:
            watch.passed += _kind(body) == watch.kind and watch.about in body
        if self._held_back and self._held_back.is_with(body):
            self._in_background(self._hold(body, link.client))
            return
        waiting = [late for late in self._waiting if late[0].until == _kind(body)]
        if waiting:
            self._waiting.remove(waiting[0])
            await self._deliver_late(waiting[0][1])
            return
        found = next((meeting for meeting in self._meetings if meeting.is_with(body)), None)
        if found is None:
            await _send(link.broker, body)
            return
        self._meetings.remove(found)
        await self._meets(found, body, link)

    async def _meets(self, meeting: Meeting, body: bytes, link: Link) -> None:
        number = body[4:8]
        if meeting.cut_s is not None:
            self._loop.call_later(meeting.cut_s, link.client.transport.abort)
        match meeting.fate:
            case "request lost":
                self.done += 1
            case "cut in front of it":
                self.done += 1
                raise ConnectionAbortedError
            case "request late" if meeting.until is None:
                self._in_background(self._come_late(body))
            case "request late":
                self._waiting.append((meeting, body))
            case "request twice":
                link.once.add(number)
                await _send(link.broker, body)
                await _send(link.broker, body)
            case "answer lost":
                link.lost.add(number)
                await _send(link.broker, body)
            case "cut behind it":
                link.cut.add(number)
                await _send(link.broker, body)

    async def _answer(self, body: bytes, link: Link) -> None:
        number = body[:4]
        if number in link.once:
            link.once.remove(number)
            link.lost.add(number)  # the second one
            await _send(link.client, body)
            return
        if number in link.lost:
            link.lost.remove(number)
            self.done += 1
            return
        if number in link.cut:
            self.done += 1
            raise ConnectionAbortedError
        await _send(link.client, body)

    async def _come_late(self, body: bytes) -> None:
        await asyncio.sleep(LATE_S)
        await self._deliver_late(body)

    async def _deliver_late(self, body: bytes) -> None:
        self.late.append(_error(body, await self._ask(body)))
        self.done += 1

    async def _hold(self, body: bytes, client: asyncio.StreamWriter) -> None:
        async with self._turn:
            self.held += 1
            await self._released.wait()
            self.held -= 1
            await _send(client, await self._ask(body))

    async def _ask(self, body: bytes) -> bytes:
        """Ask the broker on a connection of its own."""
        broker, to_broker = await asyncio.open_connection("127.0.0.1", self._broker_port)
        try:
            await _send(to_broker, body)
            length = int.from_bytes(await broker.readexactly(4), "big")
            return await broker.readexactly(length)
        finally:
            to_broker.close()

    def _in_background(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _kind(body: bytes) -> int:
    return int.from_bytes(body[:2], "big")


def _error(request: bytes, answer: bytes) -> int:
    """Return the error code of an answer to the end of a transaction."""
    flexible = int.from_bytes(request[2:4], "big") >= 3
    at = 4 + flexible + 4  # the number, no tags, how long it was throttled
    return int.from_bytes(answer[at : at + 2], "big", signed=True)


async def _each(reader: asyncio.StreamReader, handle: Callable[[bytes], Awaitable[None]]) -> None:
    """Handle the body of each frame until the connection ends."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            length = int.from_bytes(await reader.readexactly(4), "big")
            await handle(await reader.readexactly(length))


async def _send(writer: asyncio.StreamWriter, body: bytes) -> None:
    if not writer.is_closing():
        writer.write(len(body).to_bytes(4, "big") + body)
        await writer.drain()
