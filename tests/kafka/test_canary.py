"""Secrets are canaries: after a full run with everything logged, they are in nothing that is left.

One in every Kafka setting that can hold one, and one in records whose dead letters go without
payload. Looked through are the logs, the processes, the disk, the cluster, and what errors show.
"""

import contextlib
import gc
import json
import logging
import os
import sys
import time
import traceback
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

import penstock as ps
from penstock.errors import PenstockError, TopologyError
from penstock.secret import Secret
from penstock.testing.kafka_server import KafkaServer
from tests.kafka import checking
from tests.kafka.conftest import TopicFactory
from tests.kafka.feeding import Row, feed
from tests.kafka.workers import QUICK, WAIT_S, Application
from tests.unit.test_secret import SECRETS

pytestmark = pytest.mark.kafka

MARK = "canary-"
# Each has its own, so that a find says whose it is; some are URLs or commands with one in them.
SETTINGS = {name: f"{MARK}{name}-7c41" for name in SECRETS} | {
    "sasl.oauthbearer.token.endpoint.url": f"https://{MARK}token:{MARK}url@127.0.0.1:1/token",
    "sasl.kerberos.kinit.cmd": f"echo {MARK}kinit",
    "sasl.oauthbearer.extensions": f"a={MARK}extension",
}
RECORD = f"{MARK}record-11ff"
UNKNOWN = ("sasl.oauthbearer.client.credentials.client.id", "sasl.oauthbearer.assertion.file")
TIMES = {"session_timeout_ms": 2_000, "request_timeout_ms": 800, "transaction_timeout_ms": 2_000}

FILE = """
import json, logging, time
from pathlib import Path
import penstock as ps

logging.getLogger().setLevel(logging.DEBUG)
told = json.loads(Path(__file__).with_suffix(".json").read_text())

def picky(text: str) -> str:
    if text.startswith("bad"):
        raise ValueError(f"no such thing: {text}")
    if text == "stall":
        time.sleep(600)
    return text

app = ps.App(
    told["id"],
    brokers=told["brokers"],
    state_dir=told["state_dir"],
    on_error=ps.dead_letter(told["dead"], max_ratio=1, payload=False),
    settings=ps.Settings(kafka=ps.KafkaSettings(**told["kafka"])),
)
stream = app.stream(told["inputs"], key=str, value=str).map(picky)
stream.group_by(lambda text: text[-2:], key=str, name="by").count(name="n").to(told["outputs"])
"""


class Shop(Application):
    """An application in a file of its own, under a supervisor that shows everything."""

    started_in = None

    def __init__(self, *application: Any, dead: str, kafka: dict[str, Any]) -> None:
        super().__init__(*application)
        told = {"id": self.id, "brokers": self.servers, "state_dir": str(self.state_dir)}
        told |= {"inputs": self.inputs[0], "outputs": self.outputs[0], "dead": dead}
        self.file = self.log.with_name("shop.py")
        self.file.write_text(FILE)
        self.file.with_suffix(".json").write_text(json.dumps({**told, "kafka": kafka}))

    def _command(self, name: str, options: dict[str, Any]) -> list[str]:
        flags = ("--workers", "2", "--restarts", "0")
        return [sys.executable, "-m", "penstock.cli", "--debug", "run", str(self.file), *flags]


@pytest.fixture
def shop(kafka: KafkaServer, topic: TopicFactory, tmp_path: Path) -> Iterator[Shop]:
    """One that is still to be started."""
    kafka_settings = {
        "client": {**SETTINGS, "debug": "all"},
        "consumer": {"sasl.password": f"{MARK}consumer"},
        "producer": {"sasl.password": f"{MARK}producer"},
        **TIMES,
        "max_poll_interval_ms": 3_000,
    }
    inputs, outputs = [topic("in")], [topic("out")]
    made = Shop(
        kafka.bootstrap_servers, tmp_path, "shop", inputs, outputs,
        dead=topic("dead"), kafka=kafka_settings,
    )  # fmt: skip
    try:
        yield made
    finally:
        made.close()


def test_a_full_run_leaves_no_secret_anywhere(shop: Shop) -> None:
    """Two workers under a supervisor, dead letters, a repartition, and an end by the watchdog."""
    servers, topic = shop.servers, shop.inputs[0]
    feed(servers, topic, [Row(f"k{n}", f"word-{n}") for n in range(200)])
    bad = [Row(RECORD, f"bad {RECORD}", headers=[("h", RECORD.encode())]) for _ in range(5)]
    feed(servers, topic, bad)
    shop.start()
    shop.wait_until(lambda: "Worker 1 is process" in shop.text(), "both workers are started")
    shop.wait_drained()
    told = json.loads(shop.file.with_suffix(".json").read_text())
    shop.wait_until(
        lambda: len(checking.read(servers, told["dead"]).records) == len(bad), "all dead letters"
    )
    places = dict(processes(shop.pid))
    assert len(places) == 2 * 3, "the supervisor and its workers, each with two texts"
    feed(servers, topic, [Row("k", "stall")])
    assert shop._running().wait(WAIT_S) == 3, shop.text()
    shop.forget()
    log = shop.text()
    assert "The stacks of all threads" in log
    assert "debug" in log.lower()
    assert "CONF" in log, "librdkafka has listed its settings"
    assert "ValueError. The record is a dead letter" in log
    places |= {"the log": log.encode()}
    places |= {str(path): path.read_bytes() for path in shop.state_dir.rglob("*") if path.is_file()}
    places |= dict(cluster(servers, shop.id, told["dead"]))
    assert hits(places) == []
    assert hits({**places, "control": SETTINGS["sasl.password"].encode()}) == ["control"]
    assert hits({"control": repr(shop.read_inputs()).encode()}) == ["control"]


def processes(pid: int) -> Iterator[tuple[str, bytes]]:
    """What the system shows of a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for found in (str(pid), *children):
        for text in ("cmdline", "environ"):
            yield f"{text} of {found}", Path(f"/proc/{found}/{text}").read_bytes()


def cluster(servers: str, id: str, dead: str) -> Iterator[tuple[str, bytes]]:
    """What an application leaves on the cluster: metadata, members, topics and their records."""
    admin = AdminClient({"bootstrap.servers": servers})
    group = admin.describe_consumer_groups([id])[id].result(10)
    members = [(m.client_id, m.group_instance_id, m.host) for m in group.members]
    yield "members", repr((members, group.group_id)).encode()
    topics = [name for name in checking.topics(servers) if name.startswith(id)]
    assert len(topics) == 3, topics
    for name in (*topics, dead, "__consumer_offsets", "__transaction_state"):
        records = checking.read(servers, name, isolation="read_uncommitted").records
        yield f"records of {name}", repr(records).encode()
        if name in topics:
            yield f"settings of {name}", repr(checking.config_of(servers, name)).encode()


def hits(places: dict[str, bytes]) -> list[str]:
    """Where canaries are."""
    return [place for place, data in places.items() if MARK.encode() in data]


# In one process, where nothing is between an error and who looks at it


def application(servers: str, folder: Path, *topics: str, id: str = "mine", **kafka: Any) -> ps.App:
    """An application with all the canaries."""
    client = {name: value for name, value in SETTINGS.items() if name not in UNKNOWN}
    settings = ps.Settings(kafka=ps.KafkaSettings(client=client, **QUICK, **kafka))
    app = ps.App(id, brokers=servers, state_dir=folder, settings=settings)
    stream = app.stream(topics[0], key=str, value=str).map(break_it)
    stream.group_by_key().count(name="n").to(topics[1])
    return app


def break_it(text: str) -> str:
    if text == "bug":
        raise ps.errors.BugError("a bug")
    if text == "bad":
        raise ValueError("no such thing")
    return text


def test_no_error_shows_a_secret_even_with_its_local_variables(
    kafka: KafkaServer, topic: TopicFactory, tmp_path: Path
) -> None:
    """As reporters of crashes do it: all five kinds, with the locals of every frame."""
    servers = kafka.bootstrap_servers
    bad, bug, out = topic("bad", 1), topic("bug", 1), topic("out", 1)
    feed(servers, bad, [Row("k", "bad")])
    feed(servers, bug, [Row("k", "bug")])
    (tmp_path / "link").symlink_to(tmp_path)
    cases = {
        "TopologyError": application(servers, tmp_path / "a", "missing", out),
        "BrokerError": application("127.0.0.1:1", tmp_path / "b", bad, out, connect_timeout_ms=1),
        "StateError": application(servers, tmp_path / "link", bad, out),
        "DataError": application(servers, tmp_path / "c", bad, out),
        "BugError": application(servers, tmp_path / "d", bug, out, id="other"),
    }
    for kind, app in cases.items():
        with pytest.raises(PenstockError) as caught:
            app.start().await_termination("30s")
        error = caught.value
        assert type(error).__name__ == kind, error
        with_locals = traceback.TracebackException.from_exception(error, capture_locals=True)
        text = "".join(with_locals.format())
        assert "    self = " in text
        shown = f"{text}{error!r}{error}{vars(error)}{app!r}{vars(app)}{app.describe()}"
        assert MARK not in shown, [line for line in shown.splitlines() if MARK in line]


def test_refused_settings_show_no_secret_with_their_local_variables(tmp_path: Path) -> None:
    """The client refuses them in the middle of being made."""
    app = application("127.0.0.1:1", tmp_path, "in", "out")
    kafka = ps.KafkaSettings(client={**SETTINGS, "no.such.setting": f"{MARK}unknown"})
    app.settings = ps.Settings(kafka=kafka)
    with pytest.raises(TopologyError, match="No such configuration property") as caught:
        app.start().await_termination("30s")
    with_locals = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert MARK not in "".join(with_locals.format())


def test_no_secret_can_be_reached_from_a_worker_but_through_a_secret(
    kafka: KafkaServer, topic: TopicFactory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever walks through its objects: reprs, progress, a debugger's listing, a crash report."""
    caplog.set_level(logging.DEBUG)
    names = (topic("in", 1), topic("out", 1))
    feed(kafka.bootstrap_servers, names[0], [Row("k", "v")] * 10)
    app = application(kafka.bootstrap_servers, tmp_path, *names)
    query = app.start()
    try:
        deadline = time.monotonic() + WAIT_S
        while query.last_progress is None:
            assert time.monotonic() < deadline, query.exception()
            time.sleep(0.02)
        found, seen = reachable(query, app)
    finally:
        query.stop()
    assert {"Worker", "InputConsumer", "TransactionalProducer", "Restorer", "Admin"} <= seen
    assert found == []
    assert MARK not in repr(query.last_progress) + query.last_progress.to_json() + caplog.text
    assert reachable({"config": dict(SETTINGS)})[0], "the control"


def reachable(*roots: object) -> tuple[list[str], set[str]]:
    """Walk from objects; return texts with canaries in them, and the classes that were met."""
    rest, known, found, classes = [*roots], {id(SETTINGS)}, [], set()
    code = (types.ModuleType, types.FunctionType, type, types.FrameType, types.CodeType, Secret)
    while rest:
        one = rest.pop()
        if id(one) in known:
            continue
        known.add(id(one))
        classes.add(type(one).__name__)
        if isinstance(one, str | bytes) and MARK in str(one):
            found.append(str(one))
        if type(one).__module__.startswith("penstock"):
            with contextlib.suppress(Exception):
                rest.append(repr(one))
        if isinstance(one, types.FunctionType):
            rest += one.__closure__ or ()
        if not isinstance(one, code):
            rest += gc.get_referents(one)
    return found, classes


def test_the_environment_of_this_test_has_no_canary() -> None:
    """Or the workers would have inherited it, and the run above could not tell."""
    assert not any(MARK in value for value in os.environ.values())
