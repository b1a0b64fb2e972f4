"""What the figures of `penstock lag` and `penstock topics` mean, and `penstock describe`."""

import time

import pytest
from typer.testing import CliRunner

from penstock.cli.application_lag import ApplicationLag, PartitionLag
from penstock.cli.main import app
from penstock.cli.terminal import duration


def at(committed=0, end=100, rate=10.0, growth=0.0):
    return PartitionLag(committed, end, 0, rate, growth)


@pytest.mark.parametrize(
    ("partition", "lag", "seconds"),
    [
        (at(), 100, 10.0),
        (at(growth=5.0), 100, 20.0),
        (at(growth=10.0), 100, None),
        (at(rate=0.0), 100, None),
        (at(committed=100, rate=0.0), 0, 0.0),
        (at(committed=101, rate=0.0), 0, 0.0),
    ],
)
def test_the_time_to_catch_up(partition, lag, seconds):
    """What is left, over how much faster it is done than it comes."""
    assert (partition.lag, partition.seconds_left) == (lag, seconds)


def test_an_application_has_caught_up_when_its_last_partition_has():
    found = ApplicationLag("shop", 1, {("a", 0): at(), ("a", 1): at(committed=101, end=100)})
    assert (found.total.lag, found.seconds_left) == (100, 10.0)
    never = ApplicationLag("shop", 1, {("a", 0): at(), ("a", 1): at(rate=0.0)})
    assert never.seconds_left is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (5.25, "5.2 s"), (59, "59 s"), (90, "1 min 30 s"), (90_000, "1 d 1 h")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A file with an application."""
    file = tmp_path / f"shop_{time.monotonic_ns()}.py"
    file.write_text(
        "import penstock as ps\napp = ps.App('shop')\n"
        "app.stream('orders', key=str, value=str).group_by_key().count(name='n').to('counts')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return str(file)


def test_describe_shows_a_topology_as_text_or_as_a_diagram(shop):
    """No broker is asked for."""
    text = CliRunner().invoke(app, ["describe", shop])
    assert text.exit_code == 0
    assert "store n: key-value str int; changelog shop-n-changelog" in text.stdout
    diagram = CliRunner().invoke(app, ["describe", f"{shop}:app", "--format", "mermaid"])
    assert diagram.stdout.startswith("flowchart TD\n")


def test_an_error_writes_nothing_to_the_terminal_but_text():
    """What an error quotes may hold escape sequences."""
    said = CliRunner().invoke(app, ["describe", "no\x1b[31m.py"]).stderr
    assert r"no\x1b[31m.py does not exist" in said
    assert "\x1b" not in said


def test_describe_of_what_is_no_application(tmp_path):
    result = CliRunner().invoke(app, ["describe", str(tmp_path / "nothing.py")])
    assert result.exit_code == 1
    assert "does not exist" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["describe"], ["describe", "x.py", "--format", "svg"], ["lag"]]
)
def test_wrong_usage(arguments):
    assert CliRunner().invoke(app, arguments).exit_code == 2


def test_a_wrong_duration_is_told_before_a_broker_is_asked():
    result = CliRunner().invoke(app, ["lag", "shop", "--over", "2"])
    assert result.exit_code == 1
    assert "not a duration" in result.stderr
