"""docs/quickstart.md, done as it stands there, in an empty folder.

What is left out is said here: the installation (`.ci/run` installs the wheel) and `penstock broker`,
in whose place PENSTOCK_BROKERS names the broker of the tests.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from penstock.testing.kafka_server import KafkaServer
from tests import documents
from tests.kafka import checking
from tests.kafka.workers import WAIT_S

pytestmark = pytest.mark.kafka

PAGE = documents.ROOT / "docs" / "quickstart.md"
LEFT_OUT = ("python3 -m venv", "source ", "pip install", "penstock broker")


class Reader:
    """Somebody who types what a page says.

    Args:
        folder: where.
        brokers: the cluster.

    """

    def __init__(self, folder: Path, brokers: str) -> None:
        self.folder = folder
        self.brokers = brokers
        self.said: dict[str, str] = {}
        self.worker: subprocess.Popen[bytes] | None = None
        self.left_out: list[str] = []

    def do(self, block: documents.Block, output: documents.Block | None) -> None:
        kind = documents.kind_of(block)
        if kind == "python":
            (self.folder / str(documents.named_file(block))).write_text(block.text)
        elif kind == "shell":
            for line in documents.command_lines(block.text):
                self.type(line)
            if output is not None:
                said = self.said[line].replace(str(self.folder), "/home/ann")
                assert said.strip() == output.text.strip()

    def type(self, line: str) -> None:
        if line.startswith(LEFT_OUT):
            self.left_out.append(line)
            return
        program, *arguments = shlex.split(line)
        module = {"penstock": ["-m", "penstock.cli"], "python": []}[program]
        command = [sys.executable, *module, *arguments]
        state = {"XDG_STATE_HOME": str(self.folder / "state"), "PENSTOCK_BROKERS": self.brokers}
        environment = {**os.environ, **state}
        if arguments[0] == "run":  # until Ctrl-C
            self.worker = subprocess.Popen(command, cwd=self.folder, env=environment)
            self.wait_until_done()
            return
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        self.said[line] = done.stdout

    def wait_until_done(self) -> None:
        """Until each customer's count is there, which takes all of the orders."""
        deadline = time.monotonic() + WAIT_S
        while totals(self.brokers) != expected(self.brokers):
            assert time.monotonic() < deadline
            assert self.worker is not None
            assert self.worker.poll() is None
            time.sleep(0.2)


def totals(brokers: str) -> dict[str, int]:
    read = checking.read(brokers, "spent-per-customer").records
    return {(r.key or b"").decode(): int.from_bytes(r.value or b"", "big") for r in read}


def expected(brokers: str) -> dict[str, int]:
    orders = [json.loads(r.value or b"") for r in checking.read(brokers, "orders").records]
    found: Counter[str] = Counter()
    for order in orders:
        found[order["customer"]] += order["cents"] if order["status"] == "paid" else 0
    return found


@pytest.mark.usefixtures("no_topics")
def test_the_page_can_be_followed(kafka: KafkaServer, tmp_path: Path) -> None:
    reader = Reader(tmp_path, kafka.bootstrap_servers)
    try:
        for block, output in documents.load(PAGE).pairs:
            if documents.kind_of(block) != "output":
                reader.do(block, output)
    finally:
        if reader.worker is not None:
            reader.worker.terminate()
            assert reader.worker.wait(WAIT_S) == 0
    assert len(reader.left_out) == 5
    assert reader.said["penstock status spending"].startswith("spending runs: 1 worker")
    consumed = next(said for line, said in reader.said.items() if "--key c7" in line)
    last = consumed.strip().splitlines()[-1]
    assert re.search(rf"\bc7\b.*\b{expected(kafka.bootstrap_servers)['c7']}$", last), last
    assert "1 passed" in reader.said["python -m pytest test_orders.py"]
    listed = reader.said["penstock topics spent-per-customer --create 4"]
    assert re.search(r"^spent-per-customer +4 +0", listed, re.M), listed
