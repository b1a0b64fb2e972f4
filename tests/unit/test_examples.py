"""Every example puts out what a recount of its events says, and can be listed and copied."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from penstock.cli import example
from penstock.cli.example_run import events_of
from penstock.cli.main import app as commands
from penstock.errors import TopologyError
from penstock.runtime.loading import load
from penstock.testing import TestDriver
from tests import example_outputs

FILES = example.files()


@contextmanager
def driven(name: str) -> Iterator[TestDriver]:
    """An example that has processed its events, all in one batch."""
    app = load(str(FILES[name]))
    source = app.topology().nodes[0].source
    with TestDriver(app) as driver:
        with driver.batch():
            for key, value in events_of(FILES[name]):
                driver.topic(source.topics[0]).send_bytes(value, key=key)
        yield driver


def test_the_examples_are_those_that_are_promised() -> None:
    assert set(FILES) == {
        "card-fraud",
        "dead-letters",
        "deduplication",
        "enrichment",
        "hopping-count",
        "machine-faults",
        "output-modes",
        "quickstart",
        "session-latency",
        "several-workers",
        "unit-test",
        "word-count",
    }


@pytest.mark.parametrize("name", FILES)
def test_an_example_is_short_and_says_what_it_shows(name: str) -> None:
    assert 20 <= len(FILES[name].read_text().splitlines()) <= 60
    first, blank, second = example.docstring(FILES[name]).splitlines()[:3]
    assert first.endswith(".")
    assert not blank
    assert second


def test_quickstart() -> None:
    with driven("quickstart") as driver:
        assert dict(driver.topic("views-per-user").read()) == example_outputs.views_per_user()
    assert example_outputs.views_per_user() == {"ann": 5, "bob": 2, "carol": 2}


def test_word_count() -> None:
    with driven("word-count") as driver:
        found = dict(driver.topic("words").read())
    assert found == example_outputs.words()
    assert (found["rabbit"], found["alice"], found["oh"]) == (2, 3, 2)


def test_output_modes(capsys: pytest.CaptureFixture[str]) -> None:
    """In one partition all books share one time, which closes the same minutes or more."""
    with driven("output-modes") as driver:
        del driver
    batches = capsys.readouterr().out.split("Batch: ")[1:]
    counts, minutes = example_outputs.modes()
    found = {mode: rows(b) for b in batches for mode in MODES if f" {mode}: " in b}
    assert {word: int(n) for word, n in found["update"]} == counts
    assert {word: int(n) for word, n in found["complete"]} == dict(sorted(counts.items())[:10])
    assert set(minutes.values()) <= {int(n) for _, _, n in found["append"]}


MODES = ("update", "complete", "append")


def rows(batch: str) -> list[list[str]]:
    """The cells of a printed table."""
    lines = [line for line in batch.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def test_enrichment() -> None:
    with driven("enrichment") as driver:
        rows = dict(driver.topic("flights-enriched").read())
        dead = driver.topic("flights-unknown").read()
    assert set(rows) | {"LX40"} == {key for key, _ in example_outputs.events("enrichment")}
    frankfurt, new_york = (50.0333, 8.5706), (40.6398, -73.7789)
    tokyo, sao_paulo, london = (35.5523, 139.7798), (-23.4356, -46.4731), (51.4706, -0.4619)
    for flight, start, end in (
        ("LH400", frankfurt, new_york),
        ("LH716", frankfurt, tokyo),
        ("LH507", sao_paulo, frankfurt),
        ("BA247", london, sao_paulo),
    ):
        assert rows[flight].km == round(example_outputs.distance_km(start, end))
    assert (rows["LH507"].origin, rows["LH507"].destination) == ("São Paulo", "Frankfurt")
    assert [key for key, _ in dead] == [b"LX40"]


def test_dead_letters() -> None:
    with driven("dead-letters") as driver:
        power = [(key, value.kw) for key, value in driver.topic("meter-power").read()]
        dead = driver.topic("readings-dead")
        classes = [told["__penstock.error.class"] for told in dead.read_headers()]
        values = [value for _, value in dead.read()]
    expected = example_outputs.average_power()
    assert [key for key, _ in power] == [key for key, _ in expected]
    assert [kw for _, kw in power] == pytest.approx([kw for _, kw in expected], abs=0.001)
    assert len(power) + len(values) == len(example_outputs.events("dead-letters"))
    assert sorted(classes) == [b"DecodeError", b"ValidationError", b"ZeroDivisionError"]
    assert b"<html><body>502 Bad Gateway</body></html>" in values


def test_machine_faults() -> None:
    with driven("machine-faults") as driver:
        found = driver.topic("machine-faults").read()
    expected = example_outputs.machine_faults()
    assert sorted((key, msgspec.to_builtins(value)) for key, value in found) == sorted(expected)
    assert {machine for machine, _ in expected} == {"press-1", "lathe-2"}


def test_several_workers() -> None:
    with driven("several-workers") as driver:
        found = dict(driver.topic("station-totals").read())
    expected = example_outputs.station_totals()
    assert {station: total.trips for station, total in found.items()} == {
        station: total["trips"] for station, total in expected.items()
    }
    for station, total in expected.items():
        assert found[station].minutes == pytest.approx(total["minutes"], abs=0.5)


def test_hopping_count() -> None:
    with driven("hopping-count") as driver:
        found = driver.topic("activity-per-user").read()
    assert dict(windows(found)) == example_outputs.closed_hops()
    assert len(found) == len(example_outputs.closed_hops())


def test_session_latency() -> None:
    with driven("session-latency") as driver:
        found = windows(driver.topic("sessions").read())
    expected = example_outputs.closed_sessions()
    assert [(of, msgspec.to_builtins(stats)) for of, stats in found] == sorted(
        expected.items(), key=lambda session: session[0][2]
    )
    assert {of[0] for of in expected} == {"ann", "bob", "carol", "dave"}
    assert max(stats["n"] for stats in expected.values()) > 100


def windows(rows: list[tuple[Any, Any]]) -> list[tuple[tuple[str, int, int], Any]]:
    return [((of.key, of.start, of.end), value) for of, value in rows]


def test_session_latency_says_which_package_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasketches", None)
    with pytest.raises(TopologyError, match=r"pip install 'penstock\[sketches\]'"):
        load(str(FILES["session-latency"]))


def test_deduplication() -> None:
    with driven("deduplication") as driver:
        found = dict(driver.topic("readings-per-sensor").read())
    expected = example_outputs.distinct_readings()
    assert found == expected
    assert sum(expected.values()) < len(example_outputs.events("deduplication")) // 2


def test_card_fraud() -> None:
    """All cards in one partition, as here, or each in its own: their payments tell the time."""
    with driven("card-fraud") as driver:
        found = driver.topic("alerts").read()
    assert [(card, msgspec.to_builtins(alert)) for card, alert in found] == example_outputs.alerts()
    assert len(found) == 4


def test_unit_test(tmp_path: Path) -> None:
    done = penstock("example", "unit-test")
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout
    broken = tmp_path / "unit_test.py"
    text = FILES["unit-test"].read_text()
    broken.write_text(text.replace("LIMIT_CENTS = 50_000", "LIMIT_CENTS = 60_000"))
    done = penstock("example", str(broken))
    assert done.returncode == 1
    assert "1 failed, 2 passed" in done.stdout


def penstock(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "penstock.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def call(*arguments: str) -> Any:
    return CliRunner().invoke(commands, ["example", *arguments])


def test_the_list_names_each_with_its_first_line() -> None:
    said = call().stdout
    for name, file in FILES.items():
        line = example.docstring(file).splitlines()[0]
        assert re.search(rf"^{name} +{re.escape(line)} *$", said, re.M), said


def test_a_copy_is_the_file_and_its_events(tmp_path: Path) -> None:
    target = tmp_path / "mine"
    done = call("word-count", "--copy", str(target))
    assert done.exit_code == 0, done.output
    assert {file.name for file in target.iterdir()} == {"word_count.py", "word_count.tsv"}
    assert (target / "word_count.py").read_text() == FILES["word-count"].read_text()
    assert load(str(target / "word_count.py")).id == "word-count"
    assert f"penstock example {target / 'word_count.py'}" in done.stdout


def test_a_copy_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "quickstart.py").write_text("mine")
    done = call("quickstart", "--copy", str(tmp_path))
    assert done.exit_code == 2
    assert (tmp_path / "quickstart.py").read_text() == "mine"
    assert not (tmp_path / "quickstart.tsv").exists()


def test_an_unknown_name_is_answered_with_those_that_there_are() -> None:
    done = call("wordcount")
    assert done.exit_code == 2
    assert "word-count" in " ".join(done.stderr.split())


def test_a_file_without_events_says_what_to_put_beside_it(tmp_path: Path) -> None:
    program = tmp_path / "mine.py"
    program.write_text("")
    with pytest.raises(TopologyError, match=r"no events beside it. Put them into .*mine\.tsv"):
        events_of(program)
    program.with_suffix(".tsv").write_bytes(b"a\t1\t2\nonly\n\n")
    assert events_of(program) == [(b"a", b"1\t2"), (None, b"only"), (None, b"")]
