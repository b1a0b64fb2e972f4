"""What all commands have in common: examples, errors, progress, and that they answer at once."""

import os
import pty
import statistics
import subprocess
import sys
import time

import pytest
import typer.main
from typer.testing import CliRunner

from penstock.cli.cluster import did_you_mean
from penstock.cli.main import app

GENEROUS = 5  # times what is aimed at: a loaded machine is slow, and a new import is slower
NESTED = """
import time
from penstock.cli.terminal import waiting
with waiting("the outer wait"):
    time.sleep(0.3)
    with waiting("the \\x1b[31minner wait"):
        time.sleep(0.3)
    time.sleep(0.3)
"""


def commands():
    """Every command with the words that call it."""
    found = []
    for name, command in typer.main.get_command(app).commands.items():
        inner = getattr(command, "commands", {})
        found += [[name, *([under] if under else [])] for under in (inner or [None])]
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_has_an_example_of_itself(words):
    said = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200"}).stdout
    assert "Example" in said
    assert f"penstock {' '.join(words)} " in said.partition("Example")[2]


def test_each_example_stands_on_a_line():
    said = CliRunner().invoke(app, ["reset", "--help"]).stdout.splitlines()
    assert sum(line.strip().startswith("penstock reset shop") for line in said) == 3


@pytest.mark.parametrize(
    "arguments", [["--debug", "describe", "no.py"], ["describe", "no.py", "--debug"]]
)
def test_debug_may_stand_anywhere(arguments):
    assert type(CliRunner().invoke(app, arguments).exception).__name__ == "TopologyError"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PermissionError(13, "Permission denied", "/var/state"), "refuses: PermissionError"),
        (KeyError("x\x1b[31m"), "A fault of Penstock: KeyError"),
    ],
)
def test_what_nobody_has_thought_of_is_one_paragraph_too(monkeypatch, error, told):
    def fail(target):
        raise error

    monkeypatch.setattr("penstock.runtime.loading.load", fail)
    done = CliRunner().invoke(app, ["describe", "shop.py"])
    assert done.exit_code == 1
    assert told in done.stderr
    assert (done.stderr.count("\n"), "\x1b" in done.stderr) == (1, False)
    assert CliRunner().invoke(app, ["describe", "shop.py", "--debug"]).exception is error


def test_a_mistyped_command_is_guessed():
    assert "Did you mean 'topics'" in CliRunner().invoke(app, ["topcs"]).stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("page-vews", " Did you mean page-views?"),
        ("shop-eu", " Did you mean shop-us?"),
        ("nothing", ""),
        ("", ""),
    ],
)
def test_names_that_are_nearly_right_are_guessed(name, said):
    assert did_you_mean(name, ["page-views", "orders", "shop-us"]) == said


def test_waits_show_what_is_waited_for():
    """One within another takes its place and gives it back; nothing is left of them."""
    own, other = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    command = [sys.executable, "-c", NESTED]
    with subprocess.Popen(command, stderr=other, env=environment) as process:
        os.close(other)
        said = b""
        while part := read(own):
            said += part
    os.close(own)
    assert process.returncode == 0
    outer, inner = said.find(b"the outer wait"), said.find(rb"the \x1b[31minner wait")
    assert 0 <= outer < inner < said.rfind(b"the outer wait")


def read(terminal):
    try:
        return os.read(terminal, 1_000)
    except OSError:  # the other end is closed
        return b""


def test_waits_are_silent_where_nobody_looks():
    done = subprocess.run([sys.executable, "-c", NESTED], capture_output=True, check=True)
    assert done.stdout + done.stderr == b""


@pytest.fixture
def shop(tmp_path):
    """A file with an application."""
    file = tmp_path / "shop.py"
    file.write_text(
        "import penstock as ps\napp = ps.App('shop')\n"
        "app.stream('orders', key=str, value=str).group_by_key().count(name='n').to('counts')\n"
    )
    return str(file)


@pytest.mark.parametrize(("words", "aim_s"), [(["--help"], 0.3), (["describe"], 0.6)])
def test_help_and_describe_answer_at_once(shop, words, aim_s):
    command = [sys.executable, "-m", "penstock.cli", *words]
    command += [shop] if words == ["describe"] else []
    took = []
    for _ in range(5):
        begin = time.monotonic()
        subprocess.run(command, check=True, capture_output=True)
        took.append(time.monotonic() - begin)
    assert statistics.median(took) < GENEROUS * aim_s


def test_describe_loads_no_client_and_no_database(shop):
    program = (
        "import sys\nfrom typer.testing import CliRunner\nfrom penstock.cli.main import app\n"
        "done = CliRunner().invoke(app, ['describe', sys.argv[1]])\n"
        "assert done.exit_code == 0, done.output\nprint(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program, shop], capture_output=True, text=True, check=True
    )
    assert not {"confluent_kafka", "rocksdict", "fastavro"} & set(loaded.stdout.split())
