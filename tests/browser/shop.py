"""The orders application at work as a process, with its page."""

import os
import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path

from tests.browser import orders
from tests.kafka import checking
from tests.kafka.conftest import create_topic
from tests.kafka.feeding import feed
from tests.web import Web, free_port

STOP_S = 15.0


class Shop:
    """The orders application as a process, with its page.

    Args:
        servers: the cluster.
        folder: where state and log go.
        prefix: of its topics.
        name: of the application.
    """

    def __init__(self, servers: str, folder: Path, prefix: str, name: str | None = None) -> None:
        self.servers = servers
        self.id = name or f"{prefix}app"
        self.orders = f"{prefix}orders"
        self.repartitions = [f"{self.id}-by-{name}-repartition" for name in ("customer", "country")]
        self.web = Web(free_port())
        self._folder, self._prefix = folder, prefix
        self._process: subprocess.Popen[bytes] | None = None
        for name, partitions in orders.topics(prefix).items():
            create_topic(servers, name, partitions)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.web.port}/"

    def start(self) -> None:
        """Start the worker, and wait until it is ready."""
        command = [sys.executable, orders.__file__, "--brokers", self.servers, "--id", self.id]
        command += ["--state-dir", str(self._folder / "state"), "--prefix", self._prefix]
        place = {"PENSTOCK_HTTP": f"127.0.0.1:{self.web.port}"}
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **place, "PYTHONPATH": path},
            )
        self.web.wait_until(lambda: self.web.get("/readyz").status == 200, "the worker is ready")

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        assert self._process.wait(STOP_S) == -signal.SIGKILL

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(STOP_S)

    def feed(self, count: int, *, seed: int = 1) -> None:
        """Write orders that are good."""
        feed(self.servers, self.orders, islice(orders.orders(seed=seed), count))

    def ends(self) -> dict[tuple[str, str], int]:
        """Return the ends of all inputs, as the broker has them, without markers behind."""
        found = checking.read(self.servers, self.orders, *self.repartitions).records
        last: dict[tuple[str, str], int] = {}
        for record in found:
            at = (record.topic, str(record.partition))
            last[at] = max(last.get(at, 0), record.offset + 1)
        return last
