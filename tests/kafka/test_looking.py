"""`penstock status`, `watch` and `progress` beside real workers: what they say is so."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from penstock.cli.main import app as commands
from penstock.testing.kafka_server import KafkaServer
from tests.kafka.commands import objects, refusal
from tests.kafka.conftest import BROKER, TopicFactory, create_topic
from tests.kafka.feeding import BEGIN_MS, Row
from tests.kafka.shops import Shop
from tests.kafka.workers import WAIT_S
from tests.terminals import shown_on

pytestmark = pytest.mark.kafka

ROWS = [Row(f"k{n % 7}", n.to_bytes(8, "big"), BEGIN_MS + n) for n in range(2_000)]


@pytest.fixture
def shop(kafka: KafkaServer, topic: TopicFactory, tmp_path: Path) -> Iterator[Shop]:
    """An application that nobody has started yet."""
    found = Shop(kafka.bootstrap_servers, tmp_path, topic("orders"), topic("accounts"))
    try:
        yield found
    finally:
        found.close()


def status(shop: Shop, named: str = "") -> tuple[int, dict[str, Any]]:
    arguments = ["status", named or shop.id, "--json", "--brokers", shop.servers]
    done = CliRunner().invoke(commands, arguments)
    assert done.stderr == ""
    return done.exit_code, json.loads(done.stdout)


def wait_for(reached: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not reached():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def process(*words: str, shop: Shop, **options: Any) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "penstock.cli", *words, "--brokers", shop.servers]
    return subprocess.Popen(command, text=True, **options)


@pytest.mark.parametrize("command", ["status", "watch", "progress"])
def test_an_application_that_nobody_knows(command: str, shop: Shop) -> None:
    said = refusal(command, "no-such-shop", brokers=shop.servers)
    assert "Nothing is known of no-such-shop" in said


def test_one_that_has_a_file_does_not_run_yet(shop: Shop) -> None:
    code, found = status(shop, str(shop.file))
    assert (code, found["state"], found["workers"]) == (3, "not running", [])
    said = refusal("progress", str(shop.file), brokers=shop.servers)
    assert f"has no progress topic {shop.id}-progress" in said


def test_workers_are_seen_while_they_run_are_killed_and_are_gone(shop: Shop) -> None:
    first, _ = shop.start(), shop.start()
    shop.order(ROWS)
    shop.wait_drained()

    def parts() -> list[int]:
        return [worker["partitions"] for worker in status(shop)[1]["workers"]]

    wait_for(lambda: parts() == [4, 4], f"two workers share the partitions, not {parts()}")
    code, found = status(shop)
    assert (code, found["state"], found["members"]) == (0, "running", 2)
    assert {worker["host"] for worker in found["workers"]} == {"127.0.0.1"}
    assert found["progress"]["name"] == shop.id

    first.kill()
    first.wait(WAIT_S)

    def words() -> list[str]:
        return sorted(worker["state"] for worker in status(shop)[1]["workers"])

    wait_for(lambda: "gone" in words(), "one of them is gone")
    shop.order(ROWS[:1_000])
    wait_for(lambda: sorted(parts()) == [0, 8], "the other one has all partitions")
    assert status(shop)[0] == 0
    text = CliRunner().invoke(commands, ["status", shop.id, "--brokers", shop.servers]).stdout
    assert f"{shop.id} runs: 1 worker, 8 partitions." in text

    shop.close()
    wait_for(lambda: status(shop)[0] == 3, "nobody runs")
    shop.order(ROWS[:77])
    found = status(shop)[1]
    assert (found["state"], found["lag"], found["progress"]) == ("not running", 77, None)


def test_where_nobody_tells_the_group_is_asked(shop: Shop) -> None:
    shop.file.write_text(shop.file.read_text().replace("interval_ms=200", "publish=False"))
    shop.start()
    shop.order(ROWS)
    shop.wait_drained()
    code, found = status(shop)
    assert (code, found["state"], found["members"], found["lag"]) == (0, "running", 1, 0)
    assert (found["workers"], found["progress"]) == ([], None)


def test_progress_is_of_what_was_read(shop: Shop) -> None:
    shop.start()
    shop.order(ROWS)
    shop.wait_drained()

    def told() -> list[Any]:
        return objects("progress", shop.id, "--since", "1h", brokers=shop.servers)

    def rows() -> int:
        return sum(each.get("numInputRows", 0) for each in told())

    # What is told may be lost, and is never told twice.
    wait_for(lambda: 0 < rows() <= len(ROWS), "what was read is told")
    shop.close(signal.SIGTERM)
    assert rows() <= len(ROWS)
    found = told()
    assert [each["event"] for each in found if "event" in each][:1] == ["started"]
    assert found[-1]["event"] == "terminated"
    instance = found[0]["instanceId"]
    of_it = ("progress", shop.id, "--since", "1h", "--instance", instance[:8])
    assert objects(*of_it, brokers=shop.servers) == found
    of_none = ("progress", shop.id, "--since", "1h", "--instance", "nobody")
    assert objects(*of_none, brokers=shop.servers) == []
    assert len(objects("progress", shop.id, brokers=shop.servers)) == min(10, len(found))


def test_progress_is_followed_until_ctrl_c(shop: Shop) -> None:
    shop.start()
    shop.order(ROWS)
    shop.wait_drained()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    following = process("progress", shop.id, "-f", "--json", shop=shop, **pipes)
    try:
        time.sleep(1.5)
        shop.order(ROWS[:100])
        assert following.stdout is not None
        assert json.loads(following.stdout.readline())["name"] == shop.id
        following.send_signal(signal.SIGINT)
        _, error = following.communicate(timeout=WAIT_S)
    finally:
        following.kill()
    assert (following.returncode, error) == (130, "")


def test_without_a_terminal_watch_prints_lines(shop: Shop) -> None:
    shop.start()
    shop.order(ROWS)
    shop.wait_drained()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    watching = process("watch", shop.id, shop=shop, **pipes)
    try:
        assert watching.stdout is not None
        first = watching.stdout.readline()
        while "runs: 1 worker" not in first:
            first = watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        _, error = watching.communicate(timeout=WAIT_S)
    finally:
        watching.kill()
    assert (watching.returncode, error) == (130, "")
    assert "\x1b" not in first


@pytest.mark.parametrize("end", [b"jjq", b"\x03", b""], ids=["q", "Ctrl-C", "SIGTERM"])
def test_on_a_terminal_watch_takes_the_screen_and_gives_it_back(end: bytes, shop: Shop) -> None:
    shop.start()
    shop.order(ROWS)
    shop.wait_drained()
    own, other = pty.openpty()
    watching = process(
        *("watch", shop.id),
        shop=shop,
        stdin=other,
        stdout=other,
        stderr=other,
        start_new_session=True,
        preexec_fn=_take_terminal,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
    )
    os.close(other)
    seen = b""
    try:
        while b"1 worker, 8 partitions" not in seen:
            seen += os.read(own, 10_000)
        if end:
            os.write(own, end)
        else:
            watching.terminate()
        assert watching.wait(WAIT_S) == (0 if end == b"jjq" else 130)
    finally:
        watching.kill()
    seen += shown_on(own)
    assert seen.count(b"\x1b[?1049h") == seen.count(b"\x1b[?1049l") == 1
    assert seen.rfind(b"\x1b[?25h") > seen.rfind(b"\x1b[?25l")


def test_watch_goes_on_where_kafka_was_away(tmp_path: Path) -> None:
    with KafkaServer(settings=BROKER) as own:
        for name in ("orders", "accounts"):
            create_topic(own.bootstrap_servers, name, 4)
        shop = Shop(own.bootstrap_servers, tmp_path, "orders", "accounts")
        said = tmp_path / "watch.log"
        with said.open("wb") as out:
            shop.start()
            shop.order(ROWS)
            shop.wait_drained()
            watching = process("watch", shop.id, shop=shop, stdout=out)
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            other = process("watch", shop.id, shop=shop, **pipes)
        try:
            wait_for(lambda: "runs: 1 worker" in said.read_text(), "it shows the worker")
            assert other.stdout is not None
            assert shop.id in other.stdout.readline()
            own.stop()
            wait_for(lambda: "has not answered since" in said.read_text(), "Kafka is away")
            other.send_signal(signal.SIGINT)
            assert other.communicate(timeout=WAIT_S)[1] == ""
            assert other.returncode == 130
            assert "does not run" not in said.read_text()
            own.restart()
            for worker in shop.workers[:]:
                worker.kill()
            before = len(said.read_text())
            shop.start()
            back = f"{shop.id} runs: 1 worker, 8 partitions."
            wait_for(lambda: back in said.read_text()[before:], "it shows the worker again")
            assert "has not answered" not in said.read_text().splitlines()[-1]
            shop.close()
            gone = f"{shop.id} does not run."
            wait_for(lambda: gone in said.read_text()[before:], "the group is asked again")
        finally:
            for each in (watching, other):
                each.kill()
                each.wait()
            shop.close()


def _take_terminal() -> None:
    """Make standard input the terminal that Ctrl-C comes from."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
