"""Clusters that ask who one is: every client says it, and what is wrong with it is explained.

The credentials are canaries as well: they stand in nothing that anybody reads.
"""

import base64
import json
import logging
import shutil
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import penstock as ps
from penstock.cli.client_file import VARIABLE
from penstock.cli.main import app as commands
from penstock.errors import BrokerError
from penstock.query.query import Query
from tests.kafka import checking
from tests.kafka.conftest import create_topic
from tests.kafka.feeding import Row, feed
from tests.kafka.secured import KEY_PASSWORD, PASSWORD, USER, Secured, secured
from tests.kafka.workers import QUICK, WAIT_S

pytestmark = pytest.mark.kafka

CANARIES = (USER, PASSWORD, KEY_PASSWORD)
BOUND_S = 10.0  # for what is refused at the first try, which has 2 s


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with secured(tmp_path_factory.mktemp("certificates")) as found:
        yield found


def token(_: str) -> tuple[str, float]:
    """A token as the broker's default takes it, for tests: nobody has signed it."""
    now = time.time()  # noqa: TID251 - it is a real token's
    parts: list[dict[str, Any]] = [{"alg": "none"}, {"sub": USER, "iat": now, "exp": now + 3_600}]
    coded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts]
    return b".".join([*coded, b""]).decode(), now + 3_600


def way_in(cluster: Secured, how: str) -> tuple[str, dict[str, Any]]:
    """The address and the settings of one way to say who one is."""
    if how == "certificate":
        return cluster.mutual, cluster.certificate()
    if how == "token":
        settings = cluster.password("OAUTHBEARER")
        del settings["sasl.username"], settings["sasl.password"]
        return cluster.secure, {**settings, "oauth_cb": token}
    return cluster.secure, cluster.password(how)


def counting(servers: str, client: dict[str, Any], id: str, folder: Path) -> ps.App:
    """An application with state."""
    settings = ps.Settings(
        kafka=ps.KafkaSettings(client=client, **QUICK),
        worker=ps.WorkerSettings(leave=True),  # the next one has another slot
    )
    app = ps.App(id, brokers=servers, state_dir=folder, settings=settings)
    app.stream(f"{id}-in", key=str, value=str).group_by_key().count(name="n").to(f"{id}-out")
    return app


def count_of(cluster: Secured, query: Query, id: str, count: int) -> None:
    """Wait until a key has a count."""
    deadline = time.monotonic() + WAIT_S
    while True:
        found = [r.value for r in checking.read(cluster.plain, f"{id}-out").records]
        if found and found[-1] == count.to_bytes(8, "big"):
            return
        assert query.exception() is None, query.exception()
        assert time.monotonic() < deadline, (found, query.last_progress)
        time.sleep(0.05)


@pytest.mark.parametrize("how", ["PLAIN", "SCRAM-SHA-256", "certificate", "token"])
def test_every_client_gets_in(
    how: str, cluster: Secured, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Admin client, consumer and producer; then, without a disk, the restore consumer too."""
    id = f"count-{how.lower()}"
    create_topic(cluster.plain, f"{id}-in", 1)
    create_topic(cluster.plain, f"{id}-out", 1)
    servers, client = way_in(cluster, how)
    caplog.set_level(logging.DEBUG)
    for run in (1, 2):
        feed(cluster.plain, f"{id}-in", [Row("k", "v"), Row("k", "v")])
        app = counting(servers, {**client, "debug": "all"}, id, tmp_path / "state")
        query = app.start()
        count_of(cluster, query, id, 2 * run)
        query.stop()
        assert query.exception() is None
        shutil.rmtree(tmp_path / "state")
    assert "Restored n/0" in caplog.text
    hold_no_canary(caplog.text)


WRONG = {
    "password": ("PLAIN", {"sasl.password": "canary-password-wrong"}, "Invalid username or pass"),
    "password, SCRAM": (
        "SCRAM-SHA-256",
        {"sasl.password": "canary-password-wrong"},
        "invalid cred",
    ),
    "user": ("PLAIN", {"sasl.username": "canary-user-wrong"}, "Invalid username or password"),
    "mechanism": ("SCRAM-SHA-256", {"sasl.mechanism": "SCRAM-SHA-512"}, "SCRAM-SHA-512"),
    "authority": ("PLAIN", {"ssl.ca.location": None}, "ssl.ca.location is correctly configured"),
}


@pytest.mark.parametrize(("how", "wrong", "said"), WRONG.values(), ids=WRONG)
def test_who_is_not_let_in_is_told_why(
    how: str,
    wrong: dict[str, Any],
    said: str,
    cluster: Secured,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """At once, with where to look, and without what was said."""
    caplog.set_level(logging.DEBUG)
    servers, client = way_in(cluster, how)
    client = {k: v for k, v in (client | wrong | {"debug": "all"}).items() if v is not None}
    text = refused(counting(servers, client, "refused", tmp_path))
    assert said in text
    assert "Check security.protocol, sasl.* and ssl.* in KafkaSettings(client=...)" in text
    hold_no_canary(text + caplog.text)


def test_a_certificate_of_another_host_is_refused_unless_that_is_switched_off(
    cluster: Secured, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The broker's is for 127.0.0.1, and for no name; switched off, that is warned of."""
    other = cluster.secure.replace("127.0.0.1", "localhost")
    client = cluster.password("PLAIN")
    assert "certificate verify failed" in refused(counting(other, client, "name", tmp_path))
    for topic in ("name-in", "name-out"):
        create_topic(cluster.plain, topic, 1)
    feed(cluster.plain, "name-in", [Row("k", "v")])
    for off in (
        {"ssl.endpoint.identification.algorithm": "none"},
        {"enable.ssl.certificate.verification": False},
    ):
        caplog.clear()
        query = counting(other, client | off, "name", tmp_path).start()
        count_of(cluster, query, "name", 1)
        query.stop()
        ((name, _),) = off.items()
        assert f"KafkaSettings has {name}=" in caplog.text


def test_a_client_that_says_nothing_is_told_that_it_should(
    cluster: Secured, tmp_path: Path
) -> None:
    """The broker just hangs up."""
    for servers in (cluster.secure, cluster.mutual):
        settings = ps.Settings(kafka=ps.KafkaSettings(connect_timeout_ms=1_000))
        app = ps.App("plain", brokers=servers, state_dir=tmp_path, settings=settings)
        app.stream("in").to("out")
        assert "security.protocol" in refused(app)


def test_commands_get_in_with_a_file_of_settings(
    cluster: Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they send and read, too; without the file they say what is missing."""
    settings = cluster.password("SCRAM-SHA-256")
    file = tmp_path / "client.properties"
    file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    monkeypatch.setenv("PENSTOCK_BROKERS", cluster.secure)
    monkeypatch.setenv(VARIABLE, "")  # the option sets it for the whole process

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(commands, ["--client-config", str(file), *arguments])
        hold_no_canary(result.output)
        assert result.exit_code == 0, result.output
        return result.output

    run("produce", "said", "--template", "{counter}", "--count", "7", "--partitions", "1")
    assert len(run("consume", "said", "--from", "earliest").splitlines()) >= 7
    assert "said" in run("topics", "said")
    monkeypatch.setenv(VARIABLE, "")
    alone = CliRunner().invoke(commands, ["topics"])
    assert alone.exit_code == 1
    assert "--client-config FILE" in alone.output + alone.stderr


def refused(app: ps.App) -> str:
    """Return what stops an application, with its stack; it has to be the cluster, and soon."""
    began = time.monotonic()
    with pytest.raises(BrokerError) as caught:
        app.start().await_termination("30s")
    assert time.monotonic() - began < BOUND_S
    return "".join(traceback.format_exception(caught.value))


def hold_no_canary(text: str) -> None:
    """Hold that no credential is in a text, nor any part of what is wrong."""
    found = [line for line in text.splitlines() if "canary-" in line]
    assert found == []
    assert not any(base64.b64encode(canary.encode()).decode() in text for canary in CANARIES)
