"""Every command that docs/cli.md shows runs as it stands there, one after the other."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from penstock.cli.main import app as commands
from penstock.runtime.clock import now_ms
from penstock.testing.kafka_server import KafkaServer
from tests.kafka.conftest import create_topic
from tests.kafka.feeding import Row, feed
from tests.kafka.test_redrive import dead
from tests.kafka.workers import WAIT_S

pytestmark = pytest.mark.kafka

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
TOPICS = ("orders", "orders-again", "views", "orders-dead")
APPLICATIONS = {
    "shop": ".group_by_key().count(name='totals')",
    "copies": ".to('orders-again')",
}


def lines(text: str) -> list[str]:
    """Return the commands of a page, without their comments."""
    return [
        shlex.join(shlex.split(line, comments=True))
        for line in re.findall(r"(?m)^ {4}(penstock .*)", text)
    ]


@pytest.fixture
def world(
    kafka: KafkaServer, no_topics: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, str]]:
    """What the page speaks of: two applications that have run, their topics, a home of one's own.

    It has what the commands say that look at workers, while they run.
    """
    servers = kafka.bootstrap_servers
    for name in TOPICS:
        create_topic(servers, name, 4)
    at = now_ms() - 60_000
    feed(servers, "orders", [Row(f"k{n % 9}", "1", at + n) for n in range(200)])
    feed(servers, "views", [Row("ann", '{"page": "/"}', at + n) for n in range(30)])
    feed(servers, "orders-dead", [dead(n, "orders")._replace(partition=3) for n in range(30)])
    for name, value in (("PENSTOCK_BROKERS", servers), ("HOME", str(tmp_path))):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    for name, steps in APPLICATIONS.items():
        source = f"app.stream('orders', key=str, value=str){steps}"
        Path(f"{name}.py").write_text(f"import penstock as ps\napp = ps.App('{name}')\n{source}\n")
    yield run_through()
    for name in APPLICATIONS:
        sys.modules.pop(name, None)


def is_live(line: str) -> bool:
    """Whether a command looks at workers."""
    return line.split()[1] in ("status", "watch", "progress")


def run_through() -> dict[str, str]:
    running = [
        subprocess.Popen(["penstock", "run", f"{name}.py", "--leave"], stderr=subprocess.DEVNULL)
        for name in APPLICATIONS
    ]
    try:
        deadline = time.monotonic() + WAIT_S
        while any(lag(name) != 0 for name in APPLICATIONS):
            assert time.monotonic() < deadline, "they do not get through"
            time.sleep(0.05)
        said = {line: run(line) for line in lines(PAGE.read_text()) if is_live(line)}
        for process in running:
            process.terminate()
            assert process.wait(WAIT_S) == 0
        return said
    finally:
        for process in running:
            process.kill()
            process.wait()


def lag(name: str) -> int | None:
    done = CliRunner().invoke(commands, ["lag", name, "--over", "10ms", "--json"])
    return None if done.exit_code else int(json.loads(done.stdout)["lag"])


def run(line: str) -> str:
    """Run a command as a user does, and return what it prints."""
    line, _, file = line.partition(" '>' ")
    arguments = shlex.split(line)[1:]
    if "-f" in arguments or "watch" in arguments:
        return follow(line)
    if "--install-completion" in arguments:  # which looks for the shell that it was called from
        return subprocess.run(
            ["bash", "-c", f"{line}; exit $?"], check=True, capture_output=True, text=True
        ).stdout
    done = CliRunner().invoke(commands, arguments)
    assert done.exit_code == 0, (line, done.output, done.exception)
    if file:
        Path(file).write_text(done.stdout)
    return done.stdout


def follow(line: str) -> str:
    """Give it time to begin, then press Ctrl-C."""
    process = subprocess.Popen(
        shlex.split(line), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=WAIT_S)
    finally:
        process.kill()
    assert (process.returncode, error) == (130, ""), line
    return out


def test_every_command_of_the_page_runs(world: dict[str, str], tmp_path: Path) -> None:
    found = lines(PAGE.read_text())
    assert len(found) > 25
    said = world | {line: run(line) for line in found if not is_live(line)}
    assert "shop runs: 1 worker, 4 partitions." in said["penstock status shop"]
    assert "shop runs: 1 worker, 4 partitions." in said["penstock watch shop"]
    assert '"numInputRows"' in said["penstock progress shop --since 10m --json"]
    assert "key-value str int" in said["penstock state list shop --from-changelog"]
    assert said["penstock state get shop totals k3 --from-changelog"].split()[3:5] == ["k3", "22"]
    assert len((tmp_path / "totals.jsonl").read_text().splitlines()) == 9
    assert "Lag" in said["penstock lag shop"]
    assert "changelog of shop" in said["penstock topics 'shop-*'"]
    assert len(said["penstock consume views --key ann --since 1h --json"].splitlines()) == 30
    assert "offset 17" in said["penstock dead-letters show orders-dead 3 17"]
    assert "Sent 30 dead letters to orders." in said["penstock dead-letters redrive orders-dead"]
    assert "Nothing is changed yet" in said["penstock reset shop --to earliest --state"]
    assert "Done." in said["penstock reset shop --to earliest --state --yes"]
    assert (tmp_path / ".bash_completions" / "penstock.sh").exists()


def test_a_command_that_does_not_run_is_noticed() -> None:
    """The negative control."""
    (line,) = lines("x\n\n    penstock lag shop --ovre 5s   # with a mistake\n")
    with pytest.raises(AssertionError, match="--ovre"):
        run(line)
