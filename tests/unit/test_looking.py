"""What the commands that look at an application take, and how they end, without a broker."""

import json
import time

import pytest
from typer.testing import CliRunner

from penstock.cli import status as status_module
from penstock.cli.application import find_application
from penstock.cli.main import app
from penstock.cli.overview import Heard, overview
from penstock.cli.terminal import json_line
from tests.unit.progresses import NAME, a_progress

NOW = 1_700_000_000_000


def run(*arguments):
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["watch"],
        ["progress"],
        ["explain"],
        ["state"],
        ["state", "get", "shop", "totals"],
        ["state", "scan", "shop", "totals", "--limit", "0"],
        ["state", "scan", "shop", "totals", "--key-type", "utf8"],
        ["state", "export", "shop"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2(arguments):
    assert run(*arguments).exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "no/such"],
        ["watch", "a b"],
        ["state", "list", "no.py"],
        ["progress", "shop", "--since", "yesterday"],
        ["state", "get", "shop", "totals", "k", "--since", "soon"],
        ["explain", "no.py"],
    ],
    ids=" ".join,
)
def test_what_means_nothing_is_one_paragraph(arguments):
    done = run(*arguments)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1)


def looked(monkeypatch, *told, members=("a-1",)):
    heard = Heard()
    for each in told:
        heard.add(each)
    found = overview(NAME, heard, NOW, members=list(members))
    monkeypatch.setattr(status_module, "_look", lambda known: (found, []))


@pytest.mark.parametrize(
    ("told", "members", "code"),
    [
        ([a_progress("a", NOW, {0: 1})], ["a-1"], 0),
        ([a_progress("a", NOW, {0: 1}, falling_behind_ms=9_000)], ["a-1"], 4),
        ([a_progress("a", NOW - 20_000, {0: 1})], ["a-1"], 3),
        ([], ["a-1"], 0),
        ([], [], 3),
    ],
)
def test_the_exit_code_of_status(monkeypatch, told, members, code):
    looked(monkeypatch, *told, members=members)
    assert run("status", NAME).exit_code == code
    done = run("status", NAME, "--json")
    assert done.exit_code == code
    assert json.loads(done.stdout)["application"] == NAME


def test_status_is_a_headline_figures_and_workers(monkeypatch):
    looked(monkeypatch, a_progress("a\x1b[31m", NOW - 1_500, {0: 10}, lag=3), members=[])
    text = run("status", NAME).stdout
    assert text.splitlines()[0] == "app does not run."
    looked(monkeypatch, a_progress("a\x1b[31m", NOW - 1_500, {0: 10}, lag=3), members=["x"])
    text = run("status", NAME).stdout
    assert text.splitlines()[:2] == [
        "app runs: 1 worker, 1 partition.",
        "  Input       10 records/s",
    ]
    assert r"a\x1b[31m" in text
    assert text.splitlines()[-1].endswith("1.5 s ago")


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A file with an application whose progress goes to a topic of its own."""
    file = tmp_path / f"shop_{time.monotonic_ns()}.py"
    file.write_text(
        "import penstock as ps\n"
        "progress = ps.Settings(progress=ps.ProgressSettings(topic='told'))\n"
        "app = ps.App('shop', settings=progress)\n"
        "app.stream('orders', key=str, value=str).group_by_key().count(name='n').to('counts')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return str(file)


def test_the_progress_topic_is_that_of_the_file_or_named_after_the_id(shop):
    assert find_application(shop).progress_topic == "told"
    assert find_application("shop").progress_topic == "shop-progress"


def test_explain_needs_no_broker(shop):
    done = run("explain", shop)
    assert done.exit_code == 0
    assert "What is exactly once" in done.stdout
    assert "changelog shop-n-changelog" not in done.stdout
    assert "changelog shop-n-changelog" in run("explain", shop, "--extended").stdout


def test_json_holds_nothing_that_a_terminal_obeys():
    found = json_line({"a": "\x9b31m\u202e", "b": float("nan")})
    assert found.isascii()
    assert json.loads(found) == {"a": "\x9b31m\u202e", "b": None}
