"""Processors on a real cluster: state and timers are exact, whatever ends the worker."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import islice

import pytest

from penstock.testing.kafka_server import KafkaServer
from tests.kafka import checking
from tests.kafka.apps import ECHO_MS, SILENCE_MS
from tests.kafka.conftest import ApplicationFactory, TopicFactory
from tests.kafka.feeding import BEGIN_MS, Row, feed
from tests.kafka.kills import kill_under_load
from tests.kafka.windowing import events
from tests.kafka.workers import Application

pytestmark = pytest.mark.kafka

STORES = ("visits-number", "visits-words", "visits-timers")
Said = tuple[bytes, str, int]  # key, value, timestamp


class Naive:
    """One partition of `processors`, over plain dicts."""

    def __init__(self) -> None:
        self.clock = -1
        self.numbers: dict[bytes, int] = defaultdict(int)
        self.words: dict[bytes, list[str]] = defaultdict(list)
        self.timers: dict[bytes, int] = {}
        self.said: list[Said] = []

    def add(self, record: checking.Record) -> None:
        key, word, at = record.key or b"", (record.value or b"").decode(), record.timestamp
        self.clock = max(self.clock, at)
        self.fire()
        self.numbers[key] += 1
        self.words[key].append(word)
        self.timers[key] = at + SILENCE_MS
        self.said.append((key, f"{self.numbers[key]} {word}", at))
        self.fire()

    def fire(self) -> None:
        due = [(at, len(key), key) for key, at in self.timers.items() if at <= self.clock]
        for at, _, key in sorted(due):
            del self.timers[key]
            self.said.append((key, "+".join(self.words.pop(key)), at))


def check(app: Application) -> int:
    """Compare output and state with what a naive reader makes of the input; count the timers."""
    naive: dict[int, Naive] = defaultdict(Naive)
    for record in app.read_inputs():
        naive[record.partition].add(record)
    found: dict[int, list[Said]] = defaultdict(list)
    for record in app.read_output():
        said = (record.key or b"", (record.value or b"").decode(), record.timestamp)
        found[record.partition].append(said)
    for partition, of in naive.items():
        assert found[partition] == of.said
    for store in STORES:
        app.check_store(store)
    kept = {name: checking.fold_of(app.read_changelog(name).records) for name in STORES}
    numbers = {key: number for of in naive.values() for key, number in of.numbers.items()}
    assert {k: int.from_bytes(v[8:], "big") for k, v in kept[STORES[0]].items()} == numbers
    words = sum(1 + len(words) for of in naive.values() for words in of.words.values())
    assert len(kept[STORES[1]]) == words
    waiting = sum(len(of.timers) for of in naive.values())
    assert len(kept[STORES[2]]) == 2 * waiting > 0
    return sum("+" in said or " " not in said for of in naive.values() for _, said, _ in of.said)


def test_state_and_timers_are_exact_through_kills(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("processors", topic("words"), topic("visits"))

    def forget_once(kill: int) -> None:
        if kill == 3:
            app.forget_stores()

    kill_under_load(app, events(), per_second=3_000, after=forget_once)
    app.run_through()
    assert check(app) > 100
    app.check_ends(*STORES)


def test_timers_fire_behind_a_repartition_topic(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    """Each word is in one visit, which ends when all who write have come so far."""
    app = application("processors-regrouped", topic("words"), topic("visits"))
    rows = (Row(f"key-{n % 40}", f"word-{n:04}", BEGIN_MS + n) for n in range(4_000))
    feed(kafka.bootstrap_servers, app.inputs[0], rows)
    app.start()
    app.wait_until(lambda: len(words_of(app)) >= 1_000, "the first visits end")
    app.kill()
    last = (Row(f"key-{n % 40}", f"last-{n}-zz", BEGIN_MS + 60_000 + n) for n in range(400))
    feed(kafka.bootstrap_servers, app.inputs[0], last)
    app.start()
    app.wait_until(lambda: len(words_of(app)) >= 4_000, "the others end")
    app.stop()
    words = [word for word in words_of(app) if not word.endswith("zz")]
    assert sorted(words) == [f"word-{n:04}" for n in range(4_000)]


def words_of(app: Application) -> list[str]:
    return list(joined(app.read_output()))


def joined(records: Iterable[checking.Record]) -> Iterable[str]:
    for record in records:
        text = (record.value or b"").decode()
        if " " not in text:
            yield from text.split("+")


def test_the_wall_clock_fires_timers_where_no_record_comes(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("echo", topic("words"), topic("echoes"))
    feed(kafka.bootstrap_servers, app.inputs[0], islice(events(), 20))
    app.start()
    app.wait_drained()
    app.kill()  # what is set survives
    app.start()
    keys = {record.key for record in app.read_inputs()}
    app.wait_until(lambda: len(app.read_output()) >= len(keys), f"echoes after {ECHO_MS} ms")
    app.stop()
    assert {record.key for record in app.read_output()} == keys
    assert len(app.read_output()) == len(keys)
