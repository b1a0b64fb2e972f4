"""`penstock reset` on the real broker: what it sets back begins anew, and nothing else is touched."""

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from typer.testing import CliRunner

from penstock.cli.application import Application as Named
from penstock.cli.main import app as commands
from penstock.cli.resetting import Goal, Reset
from penstock.errors import BrokerError
from penstock.state.directories import Lock, lock_of
from penstock.testing.kafka_server import KafkaServer
from penstock.topics.admin import Admin
from tests.kafka import checking
from tests.kafka.commands import iso, objects
from tests.kafka.conftest import (
    ApplicationFactory,
    TopicFactory,
    applications,
    create_topic,
)
from tests.kafka.feeding import BEGIN_MS, feed, words
from tests.kafka.workers import WAIT_S, Application

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


def count_all(app: Application) -> None:
    """Run until all is committed, also what is behind the repartition topic."""
    between = f"{app.id}-by-ending-repartition"
    app.start()
    app.wait_for("runs from")
    app.wait_until(
        lambda: (
            app.drained()
            and between in checking.topics(app.servers)
            and checking.all_committed(app.servers, app.id, [*app.inputs, between])
        ),
        "all is committed",
    )
    app.stop()


def check_counts(app: Application) -> None:
    """All input is counted, in the last output and in the store, as if for the first time."""
    inputs = app.read_inputs()
    keyed = checking.by_ending(inputs) if app.name == "regroup" else inputs
    checking.check_updates(checking.counted(keyed), app.read_output())
    app.check_store("counts")


def test_an_application_with_state_begins_anew(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("regroup", topic("in"), topic("out"), worker=DYNAMIC)
    feed(app.servers, app.inputs[0], words(500))
    count_all(app)
    kept = f"{app.id}-progress"  # what it has told stays
    before = app.committed()
    internal = [t for t in checking.topics(app.servers) if app.id in t and t != kept]

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
    count_all(app)
    check_counts(app)


def test_what_is_only_named_like_its_own_is_left(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    """An input with such a name, another application's topics, and somebody's folder."""
    servers = kafka.bootstrap_servers
    out = topic("out")
    id = f"named-{out}"
    names = ["db-changelog", "eu-counts-changelog", "eu-by-user-repartition"]
    likely = [f"{id}-{name}" for name in names]
    for name in likely:
        create_topic(servers, name, 4)
    app = application("count", likely[0], out, id=id, worker=DYNAMIC)
    feed(servers, app.inputs[0], words(100))
    app.run_through()
    photos = app.state_dir / id / "counts" / "photos"
    photos.mkdir()
    told = reset(app, "--to", "earliest", "--state", "--yes")
    assert told["topics"] == [app.changelog("counts")]
    assert sorted(told["left"]) == sorted([*likely, str(photos)])
    assert set(likely) <= checking.topics(servers)
    assert (photos.exists(), len(told["folders"])) == (True, 4)
    assert len(app.read_inputs()) == 100


def test_where_nothing_tells_which_stores_it_has_its_file_does(
    topic: TopicFactory, application: ApplicationFactory, tmp_path: Path
) -> None:
    """As where the offsets have expired, or on a host that has no state of it."""
    app = application("count", topic("in"), topic("out"))
    create_topic(app.servers, app.changelog("counts"), 4)
    work_of(app)._commit({(app.inputs[0], 0): 0})
    elsewhere = ["--state-dir", str(tmp_path / "elsewhere"), "--brokers", app.servers]
    whole = ["--to", "earliest", "--state", "--yes", *elsewhere]
    done = CliRunner().invoke(commands, ["reset", app.id, *whole])
    assert done.exit_code == 1
    assert "Name the application by its file" in done.stderr
    assert app.changelog("counts") in checking.topics(app.servers)
    file = tmp_path / f"{app.id.replace('-', '_')}.py"
    file.write_text(
        f"import penstock as ps\napp = ps.App({app.id!r}, brokers={app.servers!r},"
        f" state_dir={str(app.state_dir)!r})\n"
        f"app.stream({app.inputs[0]!r}, key=str, value=str).group_by_key().count(name='counts')\n"
    )
    done = CliRunner().invoke(commands, ["reset", str(file), *whole[:4]])
    assert done.exit_code == 0, done.stderr
    assert f"{app.id} on {app.servers}, with its local state in {app.state_dir}" in done.stdout
    assert app.changelog("counts") not in checking.topics(app.servers)


def test_offsets_in_an_open_transaction_are_waited_for(
    kafka: KafkaServer, topic: TopicFactory, tmp_path: Path
) -> None:
    """As a killed worker leaves them: committed later, they would undo the reset."""
    name, servers = topic("in", partitions=1), kafka.bootstrap_servers
    feed(servers, name, words(10))
    group = Consumer({"bootstrap.servers": servers, "group.id": f"pending-{name}", "log_level": 0})
    group.commit(offsets=[TopicPartition(name, 0, 3)], asynchronous=False)
    producer = Producer({"bootstrap.servers": servers, "transactional.id": name, "log_level": 0})
    producer.init_transactions(WAIT_S)
    producer.begin_transaction()
    metadata = group.consumer_group_metadata()
    producer.send_offsets_to_transaction([TopicPartition(name, 0, 5)], metadata, WAIT_S)
    later = threading.Timer(1, producer.commit_transaction)
    later.start()
    work = Reset(Named(f"pending-{name}", servers, tmp_path))
    work.apply(work.plan(Goal("earliest")))
    later.join()
    group.close()
    assert checking.committed(servers, f"pending-{name}", [name]) == {(name, 0): 0}


def work_of(app: Application) -> Reset:
    return Reset(Named(app.id, app.servers, app.state_dir / app.id))


def test_a_reset_that_is_broken_off_is_completed_by_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker dies when offsets are moved and nothing is deleted yet."""
    delete = Admin.delete

    def die(self: Admin, names: Sequence[str]) -> None:
        server.kill()
        delete(self, names or ["any"])

    with KafkaServer() as server, applications(server.bootstrap_servers, tmp_path) as make:
        create_topic(server.bootstrap_servers, "in", 2)
        create_topic(server.bootstrap_servers, "out", 2)
        app = make("count", "in", "out", worker=DYNAMIC)
        feed(app.servers, "in", words(200))
        app.run_through()
        with monkeypatch.context() as patched:
            patched.setattr(Admin, "delete", die)
            patched.setattr("penstock.cli.cluster.CONNECT_TIMEOUT_S", 1.0)
            said = refused(app, "--to", "earliest", "--state", "--yes")
        assert "The reset is half done" in said
        server.restart()
        assert set(app.committed().values()) == {0}
        assert "has state, but the offsets committed for its input lack the metadata" in (
            app.start().fails()
        )
        reset(app, "--to", "earliest", "--state", "--yes")
        create_topic(app.servers, "out-again", 2)
        app.outputs = ["out-again"]
        app.run_through()
        check_counts(app)


def test_an_application_without_state_goes_where_it_is_told(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("map", topic("in", partitions=2), topic("out"), worker=DYNAMIC)
    feed(app.servers, app.inputs[0], words(400))
    app.run_through()
    source, read = app.inputs[0], app.read_inputs()
    partitions = [(source, 0), (source, 1)]
    ends = checking.ends(app.servers, [source])
    first = {
        at: sum(r.timestamp < BEGIN_MS + 300 for r in read if r.partition == at[1])
        for at in partitions
    }
    for to, expected in (
        ("latest", ends),
        ("7", dict.fromkeys(partitions, 7)),
        ("earliest", dict.fromkeys(partitions, 0)),
        (iso(BEGIN_MS + 300), first),
    ):
        reset(app, "--to", to, "--topic", source, "--yes")
        assert app.committed() == expected, to
    assert "has offsets from 0 to" in refused(app, "--to", "9999", "--yes")
    assert f"Its inputs are {source}" in refused(app, "--to", "latest", "--topic", "no", "--yes")


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_live_workers_are_not_disturbed(
    topic: TopicFactory, application: ApplicationFactory, protocol: str
) -> None:
    """The broker refuses as well, should one start after the look."""
    app = application("count", topic("in"), topic("out"), kafka={"protocol": protocol})
    feed(app.servers, app.inputs[0], words(100))
    app.start()
    app.wait_drained()
    (found,) = objects("lag", app.id, "--over", "10ms", brokers=app.servers)
    assert found["members"] == 1
    for options in (["--to", "earliest", "--state", "--yes"], ["--local-state"]):
        assert "Workers of" in refused(app, *options)
    with pytest.raises(BrokerError, match="cannot be moved"):
        work_of(app)._commit(dict.fromkeys(app.committed(), 0))
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


def test_an_unknown_application(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("map", topic("in"), topic("out"))
    assert "is not known on" in refused(app, "--to", "earliest")
