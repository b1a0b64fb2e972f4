"""A server on this host, asked by the plainest of clients."""

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

WAIT_S = 30.0


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Web:
    """One server."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.port = port
        self._host = host

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """Ask, and return whatever comes."""
        connection = http.client.HTTPConnection(self._host, self.port, timeout=WAIT_S)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers=named)
            found = connection.getresponse()
            names = {name.lower(): value for name, value in found.getheaders()}
            return Answer(found.status, names, found.read())
        finally:
            connection.close()

    def json(self, path: str, **headers: str) -> Any:
        """Ask for something that has to be there."""
        found = self.get(path, **headers)
        assert found.status == 200, found
        assert found.headers["content-type"] == "application/json"
        return found.json()

    def ready(self) -> bool:
        """Whether all that there is runs; where not, the error says why."""
        found = self.get("/readyz")
        assert found.status == 200, found.body
        return True

    def events(self, path: str, **headers: str) -> Iterator[tuple[str, Any]]:
        """Listen to server-sent events until the server ends them."""
        connection = http.client.HTTPConnection(self._host, self.port, timeout=WAIT_S)
        try:
            connection.request("GET", path, headers=headers)
            found = connection.getresponse()
            assert found.status == 200, found.read()
            name = ""
            for line in found:
                field, _, value = line.decode().rstrip("\n").partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    yield name, json.loads(value)
        finally:
            connection.close()

    def wait_until(self, reached: Callable[[], bool], what: str) -> None:
        """Wait, also for the server to be there."""
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                if reached():
                    return
            except (ConnectionError, AssertionError) as error:
                last: object = error
            else:
                last = None
            assert time.monotonic() < deadline, f"not within {WAIT_S:g} s: {what} ({last})"
            time.sleep(0.05)


def free_port() -> int:
    """A port that nobody has at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
