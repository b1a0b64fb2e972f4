"""`penstock state` over the changelogs of a real application: what stands there is shown."""

import json
import platform
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from penstock.cli import changelogs
from penstock.cli.application import find_application
from penstock.cli.main import app as commands
from penstock.cli.served import _announced
from penstock.runtime.clock import now_ms
from penstock.testing.kafka_server import KafkaServer
from tests.kafka import checking
from tests.kafka.commands import call, iso, objects, refusal
from tests.kafka.conftest import TopicFactory, create_topic
from tests.kafka.feeding import BEGIN_MS, Row, feed
from tests.kafka.shops import Shop

pytestmark = pytest.mark.kafka

MINUTE = 60_000
BEGIN = BEGIN_MS // MINUTE * MINUTE


def amount(number: int) -> bytes:
    return struct.pack(">q", number)


ROWS = [Row(f"k{n % 7}", amount(n), BEGIN + 1_000 * n) for n in range(210)]


@pytest.fixture(scope="module")
def shop(kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """An application that has run and was killed; it is looked at only."""
    servers, folder = kafka.bootstrap_servers, tmp_path_factory.mktemp("shop")
    for name in ("state-orders", "state-accounts"):
        create_topic(servers, name, 4)
    found = Shop(servers, folder, "state-orders", "state-accounts")
    found.order(ROWS)
    accounts = [Row(f"a{n}", json.dumps({"n": n}), BEGIN) for n in range(20)]
    feed(
        servers, found.accounts, [*accounts, *(Row(f"a{n}", None, BEGIN) for n in range(0, 20, 2))]
    )
    found.start()
    try:
        found.wait_drained()
        found.close()
        yield found
    finally:
        found.close()


def exported(shop: Shop, store: str, named: str = "") -> list[dict[str, object]]:
    text = call("state", "export", named or shop.id, store, brokers=shop.servers)
    return [json.loads(line) for line in text.splitlines()]


def last_of(shop: Shop, store: str) -> dict[bytes, bytes]:
    """The last value of each key of a changelog, by another reader."""
    found: dict[bytes, bytes | None] = {}
    for record in checking.read(shop.servers, f"{shop.id}-{store}-changelog").records:
        found[record.key or b""] = record.value
    return {key: value for key, value in found.items() if value is not None}


def test_stores_are_listed_with_how_they_are_written(shop: Shop) -> None:
    (text,) = [call("state", "list", shop.id, "--from-changelog", "--json", brokers=shop.servers)]
    found = {of["store"]: of for of in json.loads(text)}
    assert set(found) == {"totals", "per-minute", "visits", "lately", "accounts"}
    assert found["totals"]["definition"] == "key-value str int"
    assert (found["totals"]["partitions"], found["totals"]["records"] > 0) == (4, True)
    assert "windows 60000/60000" in call(
        "state", "list", shop.id, "--from-changelog", brokers=shop.servers
    )


@pytest.mark.parametrize("by", ["id", "file"])
@pytest.mark.parametrize("on_disk", [False, True])
def test_an_export_is_the_last_value_of_each_key(
    shop: Shop, by: str, on_disk: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if on_disk:
        monkeypatch.setattr(changelogs, "IN_MEMORY", 0)
        monkeypatch.setattr(changelogs, "KEYS_PER_WRITE", 2)
    named = str(shop.file) if by == "file" else shop.id
    found = exported(shop, "totals", named)
    assert {of["key"]: of["value"] for of in found} == Counter(str(row.key) for row in ROWS)
    assert [of["key"] for of in found] == sorted(str(of["key"]) for of in found)
    assert {str(of["key"]).encode() for of in found} == set(last_of(shop, "totals"))
    assert {of["timestamp"] for of in found} == {row.timestamp for row in ROWS[-7:]}


@pytest.mark.parametrize("by", ["id", "file"])
def test_deleted_keys_are_left_out(shop: Shop, by: str) -> None:
    found = exported(shop, "accounts", str(shop.file) if by == "file" else shop.id)
    assert {str(of["key"]): of["value"] for of in found} == {
        f"a{n}": {"n": n} for n in range(1, 20, 2)
    }


@pytest.mark.parametrize("by", ["id", "file"])
def test_windows_sessions_and_sliding_windows_are_rows(shop: Shop, by: str) -> None:
    named = str(shop.file) if by == "file" else shop.id
    sums: Counter[tuple[object, ...]] = Counter()
    for number, row in enumerate(ROWS):
        start = row.timestamp // MINUTE * MINUTE
        sums[row.key, start, start + MINUTE] += number
    windows = exported(shop, "per-minute", named)
    assert windows
    for of in windows:  # those that have closed are deleted
        assert sums[of["key"], of["start"], of["end"]] == of["value"]
    assert max(end for _, _, end in sums) in {of["end"] for of in windows}

    last = {str(row.key): row.timestamp for row in ROWS}
    for of in exported(shop, "visits", named):  # each key comes every seven seconds
        assert of["end"] == last[str(of["key"])]
        assert of["value"] == 30
    for of in exported(shop, "lately", named):
        assert of["end"] == int(str(of["start"])) + 10_000


def test_a_key_is_looked_up(shop: Shop) -> None:
    (found,) = objects(
        "state", "get", "--from-changelog", shop.id, "totals", "k3", brokers=shop.servers
    )
    assert (found["key"], found["value"]) == ("k3", 30)
    text = call("state", "get", "--from-changelog", shop.id, "totals", "k3", brokers=shop.servers)
    assert text.splitlines()[1].split()[:2] == ["k3", "30"]
    windows = objects(
        "state", "get", "--from-changelog", shop.id, "per-minute", "k3", brokers=shop.servers
    )
    since = iso(windows[-1]["start"])
    asked = ("state", "get", "--from-changelog", shop.id, "per-minute", "k3", "--since", since)
    assert objects(*asked, brokers=shop.servers) == windows[-1:]
    assert objects("state", "get", "--from-changelog", shop.id, "per-minute", "k3", "--until", since, brokers=shop.servers) == windows[:-1] if len(windows) > 1 else True  # fmt: skip


def test_a_key_that_is_not_there_ends_with_1(shop: Shop) -> None:
    arguments = [
        "state",
        "get",
        "--from-changelog",
        shop.id,
        "totals",
        "nobody",
        "--brokers",
        shop.servers,
    ]
    done = CliRunner().invoke(commands, arguments)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "totals has nothing of the key nobody.\n"


def test_a_range_is_scanned(shop: Shop) -> None:
    def keys(*options: str) -> list[str]:
        found = objects(
            "state", "scan", "--from-changelog", shop.id, "totals", *options, brokers=shop.servers
        )
        return [of["key"] for of in found]

    assert keys() == [f"k{n}" for n in range(7)]
    assert keys("--from", "k2", "--to", "k4") == ["k2", "k3"]
    assert keys("--prefix", "k") == keys()
    assert keys("--prefix", "x") == []
    assert keys("--limit", "3") == ["k0", "k1", "k2"]


def test_a_store_that_is_not_there_is_told(shop: Shop) -> None:
    said = refusal("state", "get", "--from-changelog", shop.id, "total", "k", brokers=shop.servers)
    assert "no changelog of a store named 'total'" in said
    assert "Did you mean totals?" in said


def test_an_application_that_is_not_there_is_told(shop: Shop) -> None:
    said = refusal(
        "state", "list", "--from-changelog", shop.id.replace("shop", "shpo"), brokers=shop.servers
    )
    assert "There is no changelog of shpo" in said
    assert f"Did you mean {shop.id}?" in said


def test_what_cannot_be_decoded_is_exported_as_bytes_and_told(shop: Shop) -> None:
    arguments = ["state", "export", shop.id, "totals", "--value-type", "json"]
    done = CliRunner().invoke(commands, [*arguments, "--brokers", shop.servers])
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 1
    assert len(rows) == 7
    assert all("error" in row and bytes.fromhex(row["value_hex"]) == amount(30) for row in rows)
    assert "7 entries of totals could not be decoded" in done.stderr


def test_what_is_not_committed_is_no_state(
    kafka: KafkaServer, topic: TopicFactory, tmp_path: Path
) -> None:
    """A transaction that is open, or was aborted, is not waited for and not shown."""
    from tests.kafka.feeding import feed_transaction

    name, servers = "open-store-changelog", kafka.bootstrap_servers
    create_topic(servers, name, 1, cleanup_policy="compact")
    feed_transaction(servers, name, [Row("a", "1", BEGIN)])
    feed_transaction(servers, name, [Row("a", "2", BEGIN), Row("b", "2", BEGIN)], commit=False)
    found = objects("state", "scan", "--from-changelog", "open", "store", brokers=servers)
    assert [(of["key"], of["value"]) for of in found] == [("a", "1")]


def test_where_workers_have_announced_themselves_is_known(kafka: KafkaServer) -> None:
    """The last that has said so first; not one that has taken it back, or is elsewhere."""
    topic, servers = "announced-workers", kafka.bootstrap_servers
    create_topic(servers, topic, 1, cleanup_policy="compact")
    now = now_ms()

    def row(name: str, port: int, ago_ms: int, host: str = platform.node()) -> Row:
        said = {"instanceId": name, "host": host, "address": host, "port": port, "stores": {}}
        return Row(name, json.dumps(said), now - ago_ms)

    rows = [row("a", 1, 60_000), row("a", 2, 30_000), row("b", 3, 5_000), row("c", 4, 1_000)]
    rows += [Row("c", None, now), row("d", 5, 0, "elsewhere"), row("e", 6, 200_000)]
    feed(servers, topic, rows)
    known = find_application("announced", brokers=servers)
    assert _announced(known) == ["http://127.0.0.1:3", "http://127.0.0.1:2"]
    assert _announced(find_application("nobody", brokers=servers)) == []
