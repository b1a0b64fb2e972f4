"""`penstock example NAME` on the real broker: its outputs are right, and nothing of it is left."""

import json
import os
import pty
import re
import subprocess
import sys
from datetime import datetime

import pytest
from typer.testing import CliRunner

from penstock.cli import example_run
from penstock.cli.cluster import connect
from penstock.cli.example import files
from penstock.cli.main import app as commands
from penstock.runtime.loading import load
from penstock.testing.kafka_server import KafkaServer
from tests import example_outputs
from tests.kafka.checking import config_of
from tests.kafka.commands import refusal
from tests.kafka.conftest import create_topic
from tests.terminals import shown_on

pytestmark = pytest.mark.kafka


def run(kafka: KafkaServer, name: str) -> dict[str, list[tuple[str, str]]]:
    """Run an example; return keys and values that it shows of each topic."""
    done = CliRunner().invoke(commands, ["example", name, "--brokers", kafka.bootstrap_servers])
    assert done.exit_code == 0, (done.output, done.exception)
    shown: dict[str, list[tuple[str, str]]] = {}
    rows: list[tuple[str, str]] = []
    for line in done.stdout.splitlines():
        title = re.match(r"(\S+) has \d+ records.*:$", line)
        if title:
            rows = shown.setdefault(title[1], [])
        elif line.startswith("  "):
            key, _, value = line.strip().partition("  ")
            rows.append((key, value.strip()))
    return shown


def topics(kafka: KafkaServer) -> set[str]:
    """All but Kafka's own."""
    return {name for name in connect(kafka.bootstrap_servers).topics() if name[:2] != "__"}


def numbers(rows: list[tuple[str, str]]) -> dict[str, int]:
    return {key: int(value) for key, value in rows}


def test_quickstart(kafka: KafkaServer) -> None:
    before = topics(kafka)
    shown = run(kafka, "quickstart")
    assert numbers(shown["views-per-user"]) == example_outputs.views_per_user()
    assert len(shown["page-views"]) == len(example_outputs.events("quickstart"))
    assert topics(kafka) == before


def test_it_may_be_run_again(kafka: KafkaServer) -> None:
    """Counts begin anew: offsets and state went with the topics."""
    for _ in range(2):
        assert numbers(run(kafka, "quickstart")["views-per-user"])["ann"] == 5


def test_word_count(kafka: KafkaServer) -> None:
    expected = example_outputs.words()
    shown = dict(run(kafka, "word-count")["words"])
    more = [key for key in shown if key.startswith("and ")]  # and 89 more
    assert more == [f"and {len(expected) - 12} more"]
    found = numbers([(key, value) for key, value in shown.items() if key not in more])
    assert len(found) == 12
    assert {word: expected[word] for word in found} == found


def test_output_modes(kafka: KafkaServer) -> None:
    """Each mode on the console, batch by batch, and nothing of the log among it."""
    done = CliRunner().invoke(
        commands, ["example", "output-modes", "--brokers", kafka.bootstrap_servers]
    )
    assert done.exit_code == 0, (done.output, done.exception)
    counts, minutes = example_outputs.modes()
    latest: dict[str, int] = {}
    closed: list[tuple[str, int]] = []
    wholes: list[list[str]] = []
    console = done.stdout.split("The console shows:")[1]
    for batch in console.split("Batch: ")[1:]:
        title, cells = batch.splitlines()[1], re.findall(r"^\|(.*)\|$", batch, re.M)[1:]
        if " update: " in title:
            latest |= {word.strip(): int(n) for word, n in (row.split("|") for row in cells)}
        elif " append: " in title:
            closed += [(row.split("|")[1].strip(), int(row.split("|")[2])) for row in cells]
        else:
            wholes.append([row.split("|")[0].strip() for row in cells])
    assert latest == counts
    assert sorted(closed) == sorted((book, n) for (book, _), n in minutes.items())
    assert wholes
    assert all(len(whole) <= 10 for whole in wholes)
    assert "INFO" not in console


def test_enrichment(kafka: KafkaServer) -> None:
    shown = run(kafka, "enrichment")
    assert len(shown["flights-enriched"]) == 9
    assert '"destination":"New York"' in dict(shown["flights-enriched"])["LH400"]
    assert [key for key, _ in shown["flights-unknown"]] == ["LX40"]
    assert "KeyError in map-1" in shown["flights-unknown"][0][1]


def test_dead_letters(kafka: KafkaServer) -> None:
    shown = run(kafka, "dead-letters")
    assert len(shown["meter-power"]) == len(example_outputs.average_power())
    dead = " ".join(value for _, value in shown["readings-dead"])
    assert len(shown["readings-dead"]) == 3
    for error in ("ValidationError", "ZeroDivisionError", "DecodeError"):
        assert error in dead


def test_machine_faults(kafka: KafkaServer) -> None:
    shown = run(kafka, "machine-faults")
    found = [(key, json.loads(value)) for key, value in shown["machine-faults"]]
    expected = example_outputs.machine_faults()
    assert sorted(found, key=str) == sorted(expected, key=str)


def windows(rows: list[tuple[str, str]]) -> dict[tuple[str, int, int], str]:
    """Take what is shown of windowed keys apart: key, start and end."""
    found: dict[tuple[str, int, int], str] = {}
    for shown, value in rows:
        key, _, start, _, end = shown.split(" ")
        found[key, milliseconds(start), milliseconds(end)] = value
    assert len(found) == len(rows)
    return found


def milliseconds(shown: str) -> int:
    return round(datetime.fromisoformat(shown).timestamp() * 1000)


def test_hopping_count(kafka: KafkaServer) -> None:
    """Windows behind a repartition topic close before the example ends."""
    shown = windows(run(kafka, "hopping-count")["activity-per-user"])
    assert {window: int(n) for window, n in shown.items()} == example_outputs.closed_hops()


def test_session_latency(kafka: KafkaServer) -> None:
    shown = windows(run(kafka, "session-latency")["sessions"])
    assert {of: json.loads(stats) for of, stats in shown.items()} == (
        example_outputs.closed_sessions()
    )


def test_deduplication(kafka: KafkaServer) -> None:
    shown = run(kafka, "deduplication")
    assert numbers(shown["readings-per-sensor"]) == example_outputs.distinct_readings()


def test_card_fraud(kafka: KafkaServer) -> None:
    shown = [(card, json.loads(alert)) for card, alert in run(kafka, "card-fraud")["alerts"]]
    assert sorted(shown, key=str) == sorted(example_outputs.alerts(), key=str)


def test_results_that_are_as_old_as_their_events_stay(kafka: KafkaServer) -> None:
    """By the broker's default a result of last year would be deleted within minutes."""
    topology = load(str(files()["hopping-count"])).topology()
    with example_run._topics(topology, kafka.bootstrap_servers, delete=True):
        for topic in ("activity", "activity-per-user"):
            assert config_of(kafka.bootstrap_servers, topic)["retention.ms"] == "-1"


def test_several_workers(kafka: KafkaServer) -> None:
    name = "several-workers"
    done = CliRunner().invoke(commands, ["example", name, "--brokers", kafka.bootstrap_servers])
    assert done.exit_code == 0, (done.output, done.exception)
    shares = re.findall(r"^Worker ([12]) has (.*)\.$", done.stdout, re.M)
    assert [number for number, _ in shares] == ["1", "2"]
    assert all("bike-" in share for _, share in shares)
    for station, total in example_outputs.station_totals().items():
        assert re.search(rf'{re.escape(station)} +{{"trips":{total["trips"]},', done.stdout)


def test_a_topic_that_is_there_already_is_left_alone(kafka: KafkaServer) -> None:
    servers = kafka.bootstrap_servers
    create_topic(servers, "flights", 1)
    try:
        said = refusal("example", "enrichment", brokers=servers)
        assert f"{servers} has flights already" in said
        assert "flights" in connect(servers).topics()
    finally:
        connect(servers).delete(["flights"])


def test_it_brings_its_own_broker_and_shows_what_it_waits_for() -> None:
    terminal, end = pty.openpty()
    command = [sys.executable, "-m", "penstock.cli", "example", "quickstart"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=end, text=True)
    os.close(end)
    shown = shown_on(terminal)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, shown
    for waited_for in (b"Starting Apache Kafka", b"Starting a worker of page-views", b"works ..."):
        assert waited_for in shown
    assert "Apache Kafka is up at 127.0.0.1:" in out
    assert re.search(r"^  ann +5$", out, re.M)
