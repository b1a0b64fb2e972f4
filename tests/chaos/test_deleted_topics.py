"""Topics that are deleted under an application at work, and what becomes of its next start.

Each worker stops with the topic's name. None makes it anew, neither then nor when it starts again:
what was in it would be missed by nobody.
"""

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from penstock.cli.main import app as commands
from penstock.testing.kafka_server import KafkaServer
from tests.chaos.sampling import sample
from tests.chaos.team import Team
from tests.kafka import checking
from tests.kafka.conftest import BROKER, ApplicationFactory, applications, create_topic
from tests.kafka.workers import QUICK, Application

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

SELDOM_MS = 10_000  # how often topics are looked at by default: the client notices before that
OFTEN_MS = 100
KINDS = ["changelog", "repartition", "output", "input"]


def team(make: ApplicationFactory, protocol: str, look_ms: int, size: int = 2, **of: Any) -> Team:
    kafka = QUICK | {"protocol": protocol, "topic_check_ms": look_ms}
    return Team(make, size, kafka=kafka, state={"lock_timeout_ms": 500}, **of)


@sample(
    "kind, protocol, look_ms",
    [
        ("repartition", "classic", OFTEN_MS),
        *((kind, "consumer", SELDOM_MS) for kind in KINDS),
        *((kind, "classic", OFTEN_MS) for kind in KINDS if kind != "repartition"),
    ],
)
def test_a_topic_is_deleted(
    kind: str, protocol: str, look_ms: int, application: ApplicationFactory
) -> None:
    """Each worker stops with its name, and none makes it anew, nor when it starts again."""
    workers = team(application, protocol, look_ms)
    name = topic_of(workers, kind)
    load = workers.load()
    with load:
        workers.start()
        workers.wait_for_progress()
        if kind == "input":
            load.stop()
        delete(workers.first, name)
        for worker in workers.workers:
            assert f"The topic {name} was deleted" in worker.fails_with()
        for worker in workers.workers:
            assert f"The topic {name} " in worker.start().fails_with()
    assert name not in checking.topics(workers.first.servers)
    if kind in ("repartition", "changelog"):
        assert "penstock reset" in workers.first.last_line()
    if kind != "input":
        workers.check_so_far(without=name)


@pytest.mark.full
def test_what_the_client_alone_says_does_not_name_the_cause(
    application: ApplicationFactory,
) -> None:
    workers = team(application, "classic", SELDOM_MS, size=1, sabotage="leave-unexplained")
    workers.start()
    delete(workers.first, workers.first.inputs[0])
    assert "was deleted" not in workers.first.fails_with()


@pytest.mark.full
@pytest.mark.parametrize("kind", ["changelog", "repartition"])
def test_a_topic_that_a_worker_made_anew_would_be_missed_by_nobody(
    kind: str, application: ApplicationFactory
) -> None:
    workers = team(application, "classic", OFTEN_MS, sabotage="make-anew")
    name = topic_of(workers, kind)
    with workers.load():
        workers.start()
        workers.wait_for_progress()
        delete(workers.first, name)
        for worker in workers.workers:
            assert f"The topic {name} was deleted" in worker.fails_with()
        for worker in workers.workers:
            worker.start()
        workers.wait_until(lambda: name in checking.topics(workers.first.servers), "it is back")


@pytest.mark.full
@pytest.mark.parametrize("kind", ["changelog", "repartition"])
def test_what_an_error_advises_counts_all_of_it_again(
    kind: str, application: ApplicationFactory
) -> None:
    workers = team(application, "classic", OFTEN_MS, size=1, worker={"leave": True})
    app = workers.first
    with workers.load():
        workers.start()
        workers.wait_for_progress()
        delete(app, topic_of(workers, kind))
        advised = re.search(r"penstock (reset .*--state);", app.fails_with())
        assert advised
    place = ["--yes", "--brokers", app.servers, "--state-dir", str(app.state_dir)]
    done = CliRunner().invoke(commands, [*advised[1].split(), *place])
    assert done.exit_code == 0, done.stderr
    before = checking.ends(app.servers, app.outputs)
    workers.start()
    workers.wait_until(workers.done, "all is processed")
    app.stop()
    inputs = app.read_inputs()
    upper, counts = (
        [r for r in app.read_output(number) if r.offset >= before[r.topic, r.partition]]
        for number in (0, 1)
    )
    checking.check_mapped(inputs, upper, bytes.upper)
    checking.check_updates(checking.counted(checking.by_ending(inputs)), counts)


@pytest.mark.full
@pytest.mark.parametrize("kind", ["changelog", "repartition"])
def test_a_topic_that_the_broker_makes_anew_is_not_ours(kind: str, tmp_path: Path) -> None:
    """It does so, if it is set up to, where somebody still writes to a topic."""
    eager = {"auto.create.topics.enable": "true", "num.partitions": "4"}
    with (
        KafkaServer(settings=BROKER | eager) as server,
        applications(server.bootstrap_servers, tmp_path) as make,
    ):
        workers = team(make, "classic", SELDOM_MS)
        name = topic_of(workers, kind)
        with workers.load():
            workers.start()
            workers.wait_for_progress()
            delete(workers.first, name)
            for worker in workers.workers:
                assert f"The topic {name} was deleted" in worker.fails_with()
            for worker in workers.workers:
                assert name in worker.start().fails_with()


@pytest.mark.full
def test_a_sink_that_is_made_anew_is_gone_on_with(application: ApplicationFactory) -> None:
    """It has what comes from then on, once and in order; what it had before is gone with it."""
    workers = team(application, "classic", OFTEN_MS)
    upper = workers.first.outputs[0]
    with workers.load():
        workers.start()
        workers.wait_for_progress()
        delete(workers.first, upper)
        for worker in workers.workers:
            worker.fails()
        before = workers.first.committed()
        create_topic(workers.first.servers, upper, 4)
        workers.start()
        workers.wait_for_progress()
    workers.wait_until(workers.done, "all is processed")
    for worker in workers.workers:
        worker.stop()
    inputs = workers.first.read_inputs()
    later = [r for r in inputs if r.offset >= before[r.topic, r.partition]]
    checking.check_mapped(later, workers.first.read_output(0), bytes.upper)
    counts = checking.counted(checking.by_ending(inputs))
    checking.check_updates(counts, workers.first.read_output(1))


def delete(app: Application, name: str) -> None:
    checking.admin(app.servers).delete_topics([name])[name].result()


def topic_of(workers: Team, kind: str) -> str:
    app = workers.first
    return {
        "input": app.inputs[0],
        "output": app.outputs[0],
        "repartition": workers.repartition,
        "changelog": app.changelog("counts"),
    }[kind]
