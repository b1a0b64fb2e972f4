"""An application in a file of its own, as `penstock run` and the commands beside it take it."""

import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

from tests.kafka import checking
from tests.kafka.feeding import Row, feed
from tests.kafka.workers import QUICK, STOP_S, WAIT_S

SOURCE = """
from operator import add

import penstock as ps

settings = ps.Settings(
    kafka=ps.KafkaSettings(**{quick}),
    progress=ps.ProgressSettings(interval_ms=200),
)
app = ps.App({id!r}, state_dir={state_dir!r}, settings=settings)
orders = app.stream({orders!r}, key=str, value=int)
orders.group_by_key().count(name="totals")
orders.group_by_key().window(ps.tumbling("1m")).reduce(add, name="per-minute")
orders.group_by_key().window(ps.session("10s")).count(name="visits")
orders.group_by_key().window(ps.sliding("10s")).count(name="lately")
app.table({accounts!r}, key=str, value=dict, name="accounts")
"""


class Shop:
    """The application, its topics, and its workers, each a process.

    Args:
        servers: the cluster.
        folder: where its file and its state go.
        orders: the topic of its orders.
        accounts: the topic of its accounts.
    """

    def __init__(self, servers: str, folder: Path, orders: str, accounts: str) -> None:
        self.servers, self.orders, self.accounts = servers, orders, accounts
        self.id = f"shop-{uuid.uuid4().hex[:8]}"
        self.file = folder / f"{self.id.replace('-', '_')}.py"
        self.file.write_text(
            SOURCE.format(
                id=self.id,
                orders=orders,
                accounts=accounts,
                state_dir=str(folder / "state"),
                quick=QUICK,
            )
        )
        self.log = folder / f"{self.id}.log"
        self.workers: list[subprocess.Popen[bytes]] = []

    def start(self) -> "subprocess.Popen[bytes]":
        """Start one more worker."""
        command = [sys.executable, "-m", "penstock.cli", "run", str(self.file)]
        with self.log.open("ab") as log:
            worker = subprocess.Popen(
                [*command, "--brokers", self.servers], stdin=subprocess.DEVNULL, stderr=log
            )
        self.workers.append(worker)
        return worker

    def order(self, rows: list[Row]) -> None:
        feed(self.servers, self.orders, rows)

    def wait_drained(self) -> None:
        """Wait until all orders and accounts are committed."""
        deadline = time.monotonic() + WAIT_S
        while self.behind():
            assert time.monotonic() < deadline, self.log.read_text()
            assert any(worker.poll() is None for worker in self.workers), self.log.read_text()
            time.sleep(0.05)

    def behind(self) -> bool:
        topics = [self.orders, self.accounts]
        done = checking.committed(self.servers, self.id, topics)
        return any(done.get(at, 0) < end for at, end in checking.ends(self.servers, topics).items())

    def close(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End all workers."""
        for worker in self.workers:
            worker.send_signal(how)
        for worker in self.workers:
            worker.wait(STOP_S)
        self.workers.clear()
