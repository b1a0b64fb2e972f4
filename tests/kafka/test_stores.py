"""Tables of running applications: read in the process, and over HTTP from whoever has the key."""

import http.client
import itertools
import json
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from penstock.errors import StateError
from penstock.testing.kafka_server import KafkaServer
from tests.kafka import apps, checking
from tests.kafka.conftest import TopicFactory
from tests.kafka.feeding import Load, feed, words
from tests.kafka.workers import APPS, QUICK, Application

pytestmark = pytest.mark.kafka

RECORDS, KEYS, PARTITIONS = 4_000, 100, 4


class Answer(NamedTuple):
    status: int
    body: Any
    retry: str | None


class Served(Application):
    """An application whose tables are shown over HTTP."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]

    def get(self, path: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            found = connection.getresponse()
            return Answer(found.status, json.loads(found.read()), found.getheader("retry-after"))
        finally:
            connection.close()

    def value(self, key: str) -> Any:
        found = self.get(f"/stores/counts/{quote(key, safe='')}")
        return found.body.get("value", found.body.get("reason"))

    def stores(self) -> Any:
        try:
            [found] = self.get("/stores").body["stores"]
        except OSError:
            return None
        return found

    def rows(self, limit: int = 7) -> Iterator[Any]:
        after = ""
        while True:
            found = self.get(f"/stores/counts?limit={limit}{after}")
            assert found.status == 200, found
            yield from found.body["rows"]
            if found.body["after"] is None:
                return
            after = f"&after={found.body['after']}"

    def _command(self, name: str, options: dict[str, Any]) -> list[str]:
        command = super()._command(name, options)
        arguments = command[command.index(APPS) + 1 :]
        return [sys.executable, "-m", "tests.kafka.serving", str(self.port), *arguments]


def counted(servers: str, topic: str) -> dict[str, int]:
    found = Counter(record.key for record in checking.read(servers, topic).records if record.key)
    return {key.decode(): count for key, count in found.items()}


def two_served(kafka: KafkaServer, folder: Path, source: str, out: str) -> tuple[Served, Served]:
    """Two workers of one application, which have shared its partitions."""
    made = [
        Served(kafka.bootstrap_servers, folder / name, "count", [source], [out],
               id=f"{out}-app", kafka=QUICK)
        for name in ("one", "other")
    ]  # fmt: skip
    for served in made:
        served.log.parent.mkdir()
        served.start()
        served.wait_for("runs from")
    for served in made:
        served.wait_until(lambda of=served: knows_all(of.stores()), "it knows who has what")
    return made[0], made[1]


def knows_all(stores: Any) -> bool:
    """Whether a worker has some partitions and knows who has the others."""
    if not stores or not stores["here"] or not stores["elsewhere"]:
        return False
    elsewhere = [number for numbers in stores["elsewhere"].values() for number in numbers]
    return sorted(stores["here"] + elsewhere) == list(range(PARTITIONS))


def test_tables_are_answered_for_by_whoever_has_the_key(
    kafka: KafkaServer, topic: TopicFactory, tmp_path: Path
) -> None:
    """The owner is killed, its keys cannot be read for a moment, and then are right again."""
    servers, source, out = kafka.bootstrap_servers, topic("words"), topic("counts")
    feed(servers, source, words(RECORDS, keys=KEYS))
    one, other = two_served(kafka, tmp_path, source, out)
    try:
        one.wait_until(one.drained, "all is counted")
        expected = counted(servers, source)
        for served in (one, other):
            assert {key: served.value(key) for key in expected} == expected
            assert served.value("none") == "not-found"
            found = list(served.rows())
            assert [row["key"] for row in found] == sorted(expected)
            assert {row["key"]: row["value"] for row in found} == expected

        theirs = set(one.stores()["elsewhere"][next(iter(one.stores()["elsewhere"]))])
        mine = set(one.stores()["here"])
        assert theirs | mine == set(range(PARTITIONS))
        other.kill()
        seen: Counter[Any] = Counter()
        waiting = set(expected)
        deadline = time.monotonic() + 30
        while waiting:
            assert time.monotonic() < deadline, seen
            for key in sorted(waiting)[::7] + sorted(waiting)[:1]:
                found_value = one.value(key)
                seen[found_value if isinstance(found_value, str) else "right"] += 1
                if found_value == expected[key]:
                    waiting.discard(key)
                else:
                    assert found_value in ("unreachable", "moved", "restoring"), found_value
                    answer = one.get(f"/stores/counts/{key}")
                    assert answer.status in (503, 200)
            if waiting == set(expected):
                waiting = {key for key in expected if one.value(key) != expected[key]}
        print(seen)
        assert set(seen) - {"right"}
        assert {row["key"]: row["value"] for row in one.rows(1000)} == expected
    finally:
        one.close()
        other.close()


def test_a_worker_that_stood_still_does_not_answer_for_what_it_has_lost(
    kafka: KafkaServer, topic: TopicFactory, tmp_path: Path
) -> None:
    servers, source, out = kafka.bootstrap_servers, topic("words"), topic("counts")
    feed(servers, source, words(RECORDS, keys=KEYS))
    one, other = two_served(kafka, tmp_path, source, out)
    try:
        one.wait_until(one.drained, "all is counted")
        before = counted(servers, source)
        other.signal(signal.SIGSTOP)
        one.wait_until(lambda: len(one.stores()["here"]) == PARTITIONS, "one has all")
        feed(servers, source, words(RECORDS, keys=KEYS, first=RECORDS))
        one.wait_until(one.drained, "all is counted")
        expected = counted(servers, source)
        assert all(expected[key] > before[key] for key in before)
        asked: list[Any] = []
        stopped = threading.Event()

        def ask() -> None:
            for key in itertools.cycle(expected):
                if stopped.is_set():
                    return
                try:
                    asked.append((key, other.value(key)))
                except OSError:
                    return

        askers = [threading.Thread(target=ask) for _ in range(3)]
        for asker in askers:
            asker.start()
        time.sleep(0.3)  # their questions wait for it
        other.signal(signal.SIGCONT)
        time.sleep(3)
        stopped.set()
        for asker in askers:
            asker.join()
        wrong = [(key, found) for key, found in asked if isinstance(found, int) and found != expected[key]]  # fmt: skip
        print(len(asked), Counter(found for _, found in asked if isinstance(found, str)))
        assert asked
        assert not wrong
        one.stop()
        said = checking.read(servers, f"{one.id}-workers").records
        ended = {record.key for record in said if record.value is None}
        assert len(ended) == 1  # it has taken its announcement back
    finally:
        one.close()
        other.close()


def test_readers_in_threads_while_partitions_come_and_go(
    kafka: KafkaServer, topic: TopicFactory, tmp_path: Path
) -> None:
    """Under load and rebalances each count only grows, and what cannot be read says so."""
    servers, source, out = kafka.bootstrap_servers, topic("words"), topic("counts")
    arguments = ["count", "--brokers", servers, "--id", f"{out}-app", "--in", source, "--out", out]
    arguments += ["--kafka", json.dumps(QUICK), "--worker", json.dumps({"leave": True})]
    query = apps.build([*arguments, "--state-dir", str(tmp_path / "own")]).start()
    other = Application(servers, tmp_path, "count", [source], [out], id=f"{out}-app",
                        kafka=QUICK, worker={"leave": True})  # fmt: skip
    store = query.store("counts")
    stopped = threading.Event()
    failed: list[BaseException] = []
    reads: Counter[str] = Counter()

    def keep(read: Callable[[dict[str, int]], None]) -> None:
        seen: dict[str, int] = {}
        while not stopped.is_set():
            try:
                read(seen)
                reads["right"] += 1
            except StateError as error:
                reads[getattr(error, "reason", "?")] += 1
                time.sleep(0.001)
            except BaseException as error:  # noqa: BLE001 - the test looks at it
                failed.append(error)
                return

    def get(seen: dict[str, int]) -> None:
        for number in range(0, KEYS, 5):
            look(seen, f"key-{number}", store.get(f"key-{number}") or 0)

    def scan(seen: dict[str, int]) -> None:
        for key, count in store.range():
            look(seen, key, count)

    def begin(seen: dict[str, int]) -> None:
        for key, count in store.prefix("key-1", limit=3):
            look(seen, key, count)
        next(store.range(), None)

    def look(seen: dict[str, int], key: str, count: int) -> None:
        assert count >= seen.get(key, 0), (key, count, seen[key])
        seen[key] = count

    threads = [threading.Thread(target=keep, args=(of,)) for of in (get, scan, begin, scan)]
    try:
        with Load(servers, {source: words(200_000, keys=KEYS)}, 2_000):
            for thread in threads:
                thread.start()
            for _ in range(2):
                other.start()
                other.wait_for("runs from")
                time.sleep(1)
                other.stop()
                time.sleep(1)
        query.stop("20s")
        assert query.exception() is None
        with pytest.raises(StateError, match="the query has ended"):
            store.get("key-1")
    finally:
        stopped.set()
        for thread in threads:
            thread.join(10)
        other.close()
        query.stop("10s")
    print(reads)
    assert not failed, failed
    assert reads["right"] > 100
