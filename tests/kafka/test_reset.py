"""`penstock reset` on the real broker: what it sets back begins anew, and nothing else is touched."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from penstock.cli.main import app as commands
from penstock.cli.resetting import Reset
from penstock.state.directories import Lock, lock_of
from penstock.testing.kafka_server import KafkaServer
from tests.kafka import checking
from tests.kafka.commands import iso
from tests.kafka.conftest import ApplicationFactory, TopicFactory
from tests.kafka.feeding import BEGIN_MS, feed, words
from tests.kafka.workers import Application

pytestmark = pytest.mark.kafka

DYNAMIC = {"leave": True}  # a static member counts until its session has ended


def invoke(app: Application, *options: str) -> Any:
    place = ["--brokers", app.servers, "--state-dir", str(app.state_dir)]
    return CliRunner().invoke(commands, ["reset", app.id, *options, *place])


def reset(app: Application, *options: str) -> Any:
    done = invoke(app, *options, "--json")
    assert done.exit_code == 0, (done.stderr, done.exception)
    return json.loads(done.stdout)


def refused(app: Application, *options: str) -> str:
    done = invoke(app, *options)
    assert done.exit_code == 1, done.stdout
    assert done.stderr.count("\n") == 1
    return done.stderr


def folders(app: Application) -> list[Path]:
    home = app.state_dir / app.id
    return [path for path in home.glob("[!.]*/*") if path.is_dir()]


@pytest.mark.parametrize("name", ["count", "regroup"])
def test_an_application_with_state_begins_anew(
    topic: TopicFactory, application: ApplicationFactory, name: str
) -> None:
    app = application(name, topic("in"), topic("out"), worker=DYNAMIC)
    feed(app.servers, app.inputs[0], words(500))
    app.run_through()
    before, internal = app.committed(), [t for t in checking.topics(app.servers) if app.id in t]

    assert "has state, which belongs to its offsets" in refused(app, "--to", "earliest", "--yes")
    assert "--local-state alone" in refused(app, "--state", "--yes")
    told = reset(app, "--to", "earliest", "--state")
    assert sorted(told["topics"]) == sorted(internal)
    assert sorted(told["folders"]) == sorted(map(str, folders(app)))
    assert not told["done"]
    text = invoke(app, "--to", "earliest", "--state").stdout
    assert f"delete the topic {app.changelog('counts')}" in text
    assert f"move {app.inputs[0]}/0 from " in text
    assert app.committed() == before
    assert set(internal) <= checking.topics(app.servers)
    assert folders(app)

    assert reset(app, "--to", "earliest", "--state", "--yes")["done"]
    assert set(app.committed().values()) == {0}
    assert not set(internal) & checking.topics(app.servers)
    assert not folders(app)

    app.outputs = [topic("out")]
    app.run_through()
    found = checking.counted(app.read_inputs()) if name == "count" else None
    if found is not None:
        checking.check_updates(found, app.read_output())
    app.check_store("counts")
    assert sum(last_counts(app).values()) == 500


def last_counts(app: Application) -> dict[bytes | None, int]:
    return {r.key: int.from_bytes(r.value or b"", "big") for r in app.read_output()}


def test_where_offsets_are_moved_and_the_state_stays_the_application_stops(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    """As if a reset were killed half way; another one mends it."""
    app = application("count", topic("in"), topic("out"), worker=DYNAMIC)
    feed(app.servers, app.inputs[0], words(200))
    app.run_through()
    work = Reset(app.id, brokers=app.servers, home=app.state_dir / app.id)
    work._commit(dict.fromkeys(app.committed(), 0))
    assert "has state, but the offsets committed for its input lack the metadata" in (
        app.start().fails()
    )
    reset(app, "--to", "earliest", "--state", "--yes")
    app.outputs = [topic("out")]
    app.run_through()
    app.check_count()


def test_an_application_without_state_goes_where_it_is_told(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("map", topic("in", partitions=2), topic("out"), worker=DYNAMIC)
    feed(app.servers, app.inputs[0], words(400))
    app.run_through()
    assert len(app.read_output()) == 400
    source = app.inputs[0]
    for to, expected in (
        ("earliest", 400),
        ("7", 400 - 14),
        (iso(BEGIN_MS + 300), 100),
        ("latest", 0),
    ):
        reset(app, "--to", to, "--topic", source, "--yes")
        before = len(app.read_output())
        app.run_through()
        assert len(app.read_output()) - before == expected, to
    assert "has offsets from 0 to" in refused(app, "--to", "9999", "--yes")
    assert f"Its inputs are {source}" in refused(app, "--to", "latest", "--topic", "no", "--yes")


def test_live_workers_are_not_disturbed(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("count", topic("in"), topic("out"))
    feed(app.servers, app.inputs[0], words(100))
    app.start()
    app.wait_drained()
    for options in (["--to", "earliest", "--state", "--yes"], ["--local-state"]):
        assert "Workers of" in refused(app, *options)
    app.stop()
    app.check_count()
    assert folders(app)


def test_local_state_is_a_copy(topic: TopicFactory, application: ApplicationFactory) -> None:
    app = application("count", topic("in"), topic("out"), worker=DYNAMIC)
    feed(app.servers, app.inputs[0], words(300))
    app.run_through()
    lock = Lock.acquire(lock_of(folders(app)[0]))
    assert lock is not None
    assert "has the state in" in refused(app, "--local-state", "--yes")
    assert len(folders(app)) == 4
    lock.release()
    told = reset(app, "--local-state", "--yes")
    assert (told["offsets"], told["topics"], len(told["folders"])) == ([], [], 4)
    assert not folders(app)
    feed(app.servers, app.inputs[0], words(300, first=300))
    app.run_through()
    app.check_count()


def test_an_application_is_found_by_its_file(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory, tmp_path: Path
) -> None:
    app = application("map", topic("in"), topic("out"), worker=DYNAMIC)
    feed(app.servers, app.inputs[0], words(10))
    app.run_through()
    file = tmp_path / "found_by_file.py"
    file.write_text(
        f"import penstock as ps\napp = ps.App({app.id!r}, brokers={app.servers!r},"
        f" state_dir={str(app.state_dir)!r})\n"
    )
    done = CliRunner().invoke(commands, ["reset", str(file), "--to", "latest"])
    assert done.exit_code == 0, done.stderr
    assert f"{app.id} on {app.servers}:" in done.stdout
    assert "Nothing is changed yet" in done.stdout


def test_an_unknown_application(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("map", topic("in"), topic("out"))
    assert "is not known on" in refused(app, "--to", "earliest")
