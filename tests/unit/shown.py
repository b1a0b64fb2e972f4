"""A run that nobody runs, shown by a real server: tests say what it does."""

import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import penstock as ps
from penstock.query.monitor import Monitor, StoreView, TaskView, View
from penstock.query.status import Status
from penstock.query.web.binding import Address
from penstock.query.web.serving import Serving, serve
from penstock.query.web.subject import Subject
from tests.web import Web

NOW_MS = 1_750_000_000_000
TOKEN = "sesame-0123456789abcdef"


class Shown:
    """A run and the time, as a test wants them."""

    def __init__(self, app: ps.App | None = None) -> None:
        topology = (app or counting()).topology()
        self.monitor = Monitor(topology, uuid.UUID(int=7))
        self.monitor.instance_id = "host-1"
        self.silent_s = 0.0
        self.stopping = False
        self.show("Processing", task())
        self.subject = Subject(
            monitor=self.monitor,
            started_ms=NOW_MS,
            now_ms=lambda: NOW_MS,
            silent_s=lambda: self.silent_s,
            stall_s=60.0,
            is_stopping=lambda: self.stopping,
            host="here",
        )

    def show(self, message: str, *tasks: TaskView) -> None:
        """Say what the worker does from now on."""
        status = Status(message=message, is_data_available=False, is_trigger_active=False)
        view = View(status=status, tasks=tasks)
        self.monitor.look = lambda: view

    @contextmanager
    def served(self, **changed: Any) -> Iterator[Web]:
        """Serve it, on any port of loopback if nothing else is said."""
        with self.serving(**changed) as serving:
            yield Web(serving.port)

    @contextmanager
    def serving(self, routes: Any = (), **changed: Any) -> Iterator[Serving]:
        serving = serve(address(**changed), self.subject, routes)
        try:
            yield serving
        finally:
            serving.close()


def address(**changed: Any) -> Address:
    usual = {"host": "127.0.0.1", "port": 0, "next_port": True, "token": None, "advertised": ""}
    return Address(**{**usual, **changed})


def counting() -> ps.App:
    app = ps.App("shop")
    app.stream("words", key=str, value=str).group_by_key().count(name="counts").to("out")
    return app


def task(phase: str = "running", **changed: Any) -> TaskView:
    usual = {
        "sub_topology": 0,
        "partition": 3,
        "inputs": {"words": 10},
        "lag": {"words": 5},
        "phase": phase,
        "stores": (StoreView(name="counts", restored=phase == "running", remaining=7),),
    }
    return TaskView(**{**usual, **changed})


def raw(port: int, request: bytes) -> bytes:
    """Send bytes, and return what comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        found = b""
        while part := connection.recv(65_536):
            found += part
        return found
