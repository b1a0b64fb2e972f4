"""The command line without a broker: help, errors, exit codes, what is printed where."""

import json
import os
import re
import subprocess
import sys
import uuid

import pytest
from typer.testing import CliRunner

from penstock.cli import cluster, target
from penstock.cli.events import producing
from penstock.cli.events.disorder import Kind
from penstock.cli.events.protocol import Due
from penstock.cli.events.summary import Acknowledged, Summary
from penstock.cli.main import app
from penstock.cli.target import Target
from penstock.errors import BrokerError, DataError, TopologyError
from penstock.version import __version__

SUMMARY = Summary(
    topic="views",
    seed=7,
    records=1_500,
    kinds={Kind.CLEAN: 1_490, Kind.LATE: 10},
    bytes=120_000,
    seconds=0.5,
    keys=10,
    first_timestamp=100,
    last_timestamp=200,
    partitions={0: Acknowledged(1_000, 0, 999), 1: Acknowledged(500, 20, 519)},
)
PRODUCE = ["produce", "views", "--template", "{counter}"]


@pytest.fixture
def run():
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


@pytest.fixture
def fake_cluster(monkeypatch):
    """Let produce find its topic, and return or do what the test says; keep what it was asked."""
    asked = {}

    def find_topic(topic, **options):
        asked.update(options, topic=topic)
        return Target(topic, options["brokers"], 2)

    def produce_events(where, events, plan, **options):
        asked.update(options, target=where, events=events, plan=plan)
        return fake(options["stop"])

    def fake(stop):
        return SUMMARY

    def use(function):
        nonlocal fake
        fake = function
        return asked

    monkeypatch.setattr(target, "find_topic", find_topic)
    monkeypatch.setattr(producing, "produce_events", produce_events)
    return use


def test_version(run):
    """--version prints the version and nothing else."""
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"penstock {__version__}\n")


def test_help_names_the_commands(run):
    """--help lists the commands, and each command's --help its options."""
    assert "produce" in run("--help").stdout
    assert "run" in run("--help").stdout
    result = run("produce", "--help")
    assert result.exit_code == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", result.stdout)
    for option in ("--model", "--template", "--key", "--rate", "--late", "--partitions", "--json"):
        assert option in text


def test_help_loads_no_client():
    """The commands' modules, and so --help, load neither a Kafka client nor RocksDB."""
    program = "import sys, penstock.cli.main; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not {"confluent_kafka", "rocksdict", "msgspec"} & set(loaded.stdout.split())


def test_an_error_is_one_paragraph_on_stderr(run):
    """A PenstockError ends with exit code 1, its message, and no traceback."""
    result = run("produce", "views", "--template", "{foo:1}")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: The template has an unknown placeholder {foo:1}.")
    assert result.stderr.count("\n") == 1


def test_markup_in_an_error_is_text(run):
    """What looks like rich's markup is printed as it is."""
    assert (
        "[bold]x[/bold]"
        in run("produce", "v", "--template", "1", "--rate", "[bold]x[/bold]").stderr
    )


def test_debug_shows_the_error_itself(run):
    """With --debug the exception leaves the command line with its traceback."""
    result = run("--debug", "produce", "views", "--template", "{foo:1}")
    assert isinstance(result.exception, TopologyError)


@pytest.mark.parametrize(
    "arguments",
    [[], ["nonsense"], ["produce"], [*PRODUCE, "--unit", "h"], [*PRODUCE, "--count", "0"]],
)
def test_wrong_usage_is_exit_code_2(run, arguments):
    """A missing or unknown argument is typer's business."""
    assert run(*arguments).exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["--rate", "fast"],
        ["--duration", "5"],
        ["--key", "user"],
        ["--brokers", "x", "--rate", "0"],
        ["--late", "much"],
        ["--late", "60%", "--poison", "60%"],
        ["--start", "noon"],
        ["--key-counts", "/no/such/folder/counts"],
    ],
)
def test_what_is_wrong_is_said_before_a_broker_is_asked(run, arguments):
    """Wrong options fail at once, even with no broker in reach."""
    assert run(*PRODUCE, *arguments).exit_code == 1


def test_produce_passes_on_what_it_is_told(run, fake_cluster):
    """Options arrive as topic, brokers, pace and template."""
    asked = fake_cluster(lambda stop: SUMMARY)
    options = [
        "--rate",
        "10/s",
        "--count",
        "5",
        "--duration",
        "2s",
        "--brokers",
        "b:1",
        "--seed",
        "3",
    ]
    assert run(*PRODUCE, *options, "--partitions", "2").exit_code == 0
    assert (asked["topic"], asked["brokers"], asked["partitions"]) == ("views", "b:1", 2)
    plan = asked["plan"]
    assert (plan.pace.rate, plan.pace.count, plan.pace.duration_ms) == (10, 5, 2_000)
    assert plan.seed == 3
    assert asked["events"].take(Due([0, 0])).values == [b"0", b"1"]


def test_brokers_come_from_the_command_line_then_the_environment(run, fake_cluster, monkeypatch):
    """As for every command: --brokers, PENSTOCK_BROKERS, localhost:9092."""
    asked = fake_cluster(lambda stop: SUMMARY)
    monkeypatch.delenv("PENSTOCK_BROKERS", raising=False)
    assert run(*PRODUCE).exit_code == 0
    assert asked["brokers"] == "localhost:9092"
    monkeypatch.setenv("PENSTOCK_BROKERS", "environment:1")
    assert run(*PRODUCE).exit_code == 0
    assert asked["brokers"] == "environment:1"
    assert run(*PRODUCE, "--brokers", "line:1").exit_code == 0
    assert asked["brokers"] == "line:1"


def test_the_shell_completes_commands():
    """Typer's completion is switched on, and knows the commands."""
    asked = {
        "_PENSTOCK_COMPLETE": "complete_bash",
        "COMP_WORDS": "penstock prod",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "penstock.cli"],
        env=os.environ | asked,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["produce"]


def test_the_summary_is_the_last_line(run, fake_cluster):
    """For people: one line with records, rate and partitions."""
    fake_cluster(lambda stop: SUMMARY)
    last = run(*PRODUCE).stdout.splitlines()[-1]
    assert "1,500 records (0.1 MB, 10 keys, 10 late) to views in 0.50 s, 3,000/s" in last
    assert "0: 1,000, 1: 500" in last


def test_the_json_summary_is_one_object(run, fake_cluster):
    """For programs: exactly these fields, alone on stdout."""
    fake_cluster(lambda stop: SUMMARY)
    result = run(*PRODUCE, "--json")
    assert json.loads(result.stdout) == {
        "topic": "views",
        "seed": 7,
        "records": 1_500,
        "kinds": {"clean": 1_490, "late": 10},
        "bytes": 120_000,
        "seconds": 0.5,
        "rate": 3_000.0,
        "keys": 10,
        "first_timestamp": 100,
        "last_timestamp": 200,
        "partitions": {"0": 1_000, "1": 500},
        "offsets": {"0": [0, 999], "1": [20, 519]},
        "failed": 0,
    }


def test_an_existing_topic_keeps_its_partitions_and_says_so(run, fake_cluster):
    """--partitions on an existing topic changes nothing; a note tells it on stderr."""
    fake_cluster(lambda stop: SUMMARY)
    result = run(*PRODUCE, "--partitions", "9", "--json")
    assert result.exit_code == 0
    assert "views exists already, with 2 partitions" in result.stderr
    json.loads(result.stdout)


def test_lost_records_are_an_error_after_the_summary(run, fake_cluster):
    """The summary is printed, then the reason, and the exit code is 1."""
    fields = {name: getattr(SUMMARY, name) for name in Summary.__slots__}
    fake_cluster(lambda stop: Summary(**fields | {"failed": 3, "failure": "timed out"}))
    result = run(*PRODUCE, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["failed"] == 3
    assert "timed out" in result.stderr


def test_an_interrupted_run_sums_up_and_exits_130(run, fake_cluster):
    """The first Ctrl-C ends the run in order."""

    def interrupted(stop):
        stop.set()
        return SUMMARY

    fake_cluster(interrupted)
    result = run(*PRODUCE, "--json")
    assert result.exit_code == 130
    assert json.loads(result.stdout)["records"] == 1_500


def test_an_interrupt_elsewhere_exits_130_without_traceback(run, monkeypatch):
    """Ctrl-C while a command waits for the cluster prints nothing."""

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(target, "find_topic", interrupted)
    result = run(*PRODUCE)
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "")


def test_unreachable_brokers_are_an_error_in_bounded_time(run, monkeypatch):
    """The error names what was tried, the last thing seen, and the way out."""
    monkeypatch.setattr(cluster, "_TIMEOUT_MS", 1_000)
    result = run(*PRODUCE, "--brokers", "127.0.0.1:1")
    assert result.exit_code == 1
    for part in ("127.0.0.1:1", "up to 1 s", "Connection refused", "penstock broker", "--brokers"):
        assert part in result.stderr


def test_an_empty_topic_name_is_refused():
    """An empty name, say of an unset shell variable, is told as such."""
    with pytest.raises(TopologyError, match="empty"):
        target.find_topic("", brokers="127.0.0.1:1")


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A file with an application, and what it was run with; nothing is connected."""
    file = tmp_path / f"shop_{uuid.uuid4().hex}.py"
    file.write_text("import penstock as ps\napp = ps.App('shop', brokers='code:1')\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    ran = []

    def fake(app, *, parent, debug):
        ran.append(app)
        if error := ran_with.get("error"):
            raise error

    ran_with = {}
    monkeypatch.setattr("penstock.runtime.run.run", fake)
    return str(file), ran, ran_with


def test_run_lets_the_command_line_win(run, shop):
    """Brokers, worker id and leave; what is not given stays as the code has it."""
    file, ran, _ = shop
    assert run("run", file).exit_code == 0
    options = ["--brokers", "line:1", "--worker-id", "pod-0", "--leave"]
    assert run("run", file, *options).exit_code == 0
    found = [(app.brokers, app.settings.worker.worker_id, app.settings.worker.leave) for app in ran]
    assert found == [("code:1", None, False), ("line:1", "pod-0", True)]


def test_run_gives_each_worker_of_a_supervisor_an_id_of_its_own(run, shop, monkeypatch):
    """Wherever the id comes from, the worker's number is put behind it."""
    file, ran, _ = shop
    monkeypatch.setenv("PENSTOCK_WORKER_ID", "host")
    assert run("run", file).exit_code == 0
    assert run("run", file, "--number", "1").exit_code == 0
    assert run("run", file, "--number", "1", "--worker-id", "pod").exit_code == 0
    assert [app.settings.worker.worker_id for app in ran] == ["host", "host-1", "pod-1"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DataError("record 3 is bad", topic="t", partition=1, offset=3), 6),
        (BrokerError("no broker"), 7),
        (ZeroDivisionError("no such luck"), 1),
    ],
)
def test_run_names_the_cause_in_the_last_line(run, shop, error, code):
    """For people and for programs, with the exit code."""
    file, _, ran_with = shop
    ran_with["error"] = error
    result = run("run", file)
    assert (result.exit_code, result.stdout) == (code, "")
    last = result.stderr.splitlines()[-1]
    assert last.endswith(f"{type(error).__name__}: {error} Exit code {code}.")
    last = json.loads(run("run", file, "--log", "json").stderr.splitlines()[-1])
    assert (last["level"], last["application"], last["worker"]) == ("error", "shop", "worker")
    assert str(error) in last["message"]
    assert last.get("offset") == getattr(error, "offset", None)


def test_run_shows_what_a_users_function_raised(run, shop):
    """The stack of the cause stands before the last line; other errors of ours have none."""
    file, _, ran_with = shop
    error = DataError("record 3 is bad")
    error.__cause__ = ZeroDivisionError("no such luck")
    ran_with["error"] = error
    assert "ZeroDivisionError: no such luck" in run("run", file).stderr
    ran_with["error"] = BrokerError("no broker")
    assert run("run", file).stderr.count("\n") == 1
    assert "Traceback" in run("--debug", "run", file).stderr


def test_run_refuses_what_is_no_application_in_one_paragraph(run, tmp_path):
    """With the code of a TopologyError."""
    result = run("run", str(tmp_path / "nothing.py"))
    assert result.exit_code == 5
    assert "nothing.py does not exist" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "options", [["--workers", "0"], ["--restarts", "-1"], ["--log", "xml"], []]
)
def test_run_with_wrong_usage(run, options):
    """Typer's business too."""
    assert run("run", *options, *(["x.py"] if options else [])).exit_code == 2


@pytest.mark.parametrize(
    "line", [["topics"], ["lag", "shop"], ["consume", "t"], ["run", "shop.py", "--workers", "2"]]
)
def test_brokers_with_credentials_are_refused_before_anything_shows_them(line, monkeypatch):
    """On the command line, where a supervisor would hand them on, and in the environment."""
    address = "ann:swordfish@127.0.0.1:1"
    monkeypatch.setenv("PENSTOCK_BROKERS", address)
    for given in ([*line, "--brokers", address], line):
        if line[0] == "run" and given is line:
            continue  # its workers look there
        done = CliRunner().invoke(app, given)
        assert done.exit_code == 1
        assert "sasl.username" in done.stderr
        assert "swordfish" not in done.stdout + done.stderr
