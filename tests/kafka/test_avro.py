"""Avro in workers: poison among good records, and registries that misbehave."""

import io
import signal
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro
import pytest

from penstock.testing.kafka_server import KafkaServer
from tests.kafka.apps import BOX
from tests.kafka.checking import Record
from tests.kafka.conftest import ApplicationFactory, TopicFactory
from tests.kafka.feeding import BEGIN_MS, Row, feed
from tests.kafka.workers import Application
from tests.unit.avro_poison import BILLION, POISON, long
from tests.unit.registry_double import RegistryDouble, registry_double

pytestmark = pytest.mark.kafka

GOOD = 2_000
MAX_RSS = 200 * 1024 * 1024  # 60 and 75 MB were measured
# Where a field is skipped, nobody looks what is in its text, or which symbol it is.
UNSEEN = ("no UTF-8", "an unknown symbol")
NO_TREE, EMPTY = b"\x00", b"\x00"


def box(id: str) -> bytes:
    return written(BOX, {"id": id, "tree": {"next": None}, "nulls": [], "longs": [1], "kind": "A"})


def written(schema: Any, value: Any) -> bytes:
    target = io.BytesIO()
    fastavro.schemaless_writer(target, schema, value)
    return target.getvalue()


# No box, each of them.
VALID = box("a")
BOXES = [
    b"\x02a" + b"\x02" * 8_000 + b"\x00" + EMPTY + EMPTY + b"\x00",
    b"\x02a" + b"\x02" * 900_000,
    b"\x02a" + NO_TREE + BILLION + b"\x00" + EMPTY + b"\x00",
    b"\x02a" + NO_TREE + long(-(10**9)) + b"\x00\x00" + EMPTY + b"\x00",
    b"\x02a" + NO_TREE + EMPTY + BILLION,
    b"\x02a" + NO_TREE + EMPTY + long(-(2**63)),
    b"\x02a" + b"\x06" + EMPTY + EMPTY + b"\x00",
    b"\x02a" + NO_TREE + EMPTY + EMPTY + b"\x04",
    b"\x02\xff" + VALID[2:],
    long(2**62) + b"a",
    b"",
    VALID + b"\x00",
    b'{"id": "a"}',
    *(VALID[:at] for at in range(1, len(VALID))),
]


def rows_of(good: list[tuple[bytes, bytes]], bad: list[tuple[bytes, bytes]]) -> list[Row]:
    """Records in one order: bad ones at the head, at the end, and evenly between."""
    rows = [Row(key, value, BEGIN_MS + at) for at, (key, value) in enumerate(good)]
    step = len(rows) // (len(bad) - 1)
    for number, (key, value) in enumerate(bad):
        rows.insert(number * (step + 1), Row(key, value, BEGIN_MS + number))
    return rows


def boxes() -> tuple[list[tuple[bytes, bytes]], list[tuple[bytes, bytes]]]:
    """Good pairs, and bad ones: poison as values, and as keys."""
    good = [(box(f"key-{at % 50}"), box(f"value-{at}")) for at in range(GOOD)]
    return good, [(VALID, poison) for poison in BOXES] + [(poison, VALID) for poison in BOXES]


def check_letters(letters: list[Record], bad: list[tuple[bytes, bytes]]) -> None:
    """Each bad record is a dead letter once, with the bytes that it came with."""
    found = Counter((letter.key, letter.value) for letter in letters)
    assert found == Counter(bad)


def rss_peak(app: Application) -> int:
    for line in Path(f"/proc/{app.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def run_measured(app: Application) -> int:
    """Process all that is there, and tell the most memory that it took."""
    app.start()
    app.wait_for("runs from")
    app.wait_drained(60)
    peak = rss_peak(app)
    print(f"{app.id} took {peak / 2**20:.0f} MiB at most")
    app.stop()
    return peak


def test_poison_in_keys_and_values(topic: TopicFactory, application: ApplicationFactory) -> None:
    """One dead letter each, in bounded memory; neighbours are counted as if nothing was."""
    app = application("avro", topic("in"), [topic("out"), topic("dead")])
    good, bad = boxes()
    feed(app.servers, app.inputs[0], rows_of(good, bad))
    assert run_measured(app) < MAX_RSS
    check_letters(app.read_output(1), bad)
    counts = {record.key: int.from_bytes(record.value or b"") for record in app.read_output()}
    assert counts == Counter(key for key, _ in good)


def test_without_the_guard_the_worker_dies(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    """The control: eight kilobytes overflow the decoder's stack, and again at each start."""
    app = application("avro", topic("in", partitions=1), [topic("out"), topic("dead")])
    feed(app.servers, app.inputs[0], [Row(VALID, VALID), Row(VALID, BOXES[1]), Row(VALID, VALID)])
    for _ in range(2):
        app.start(sabotage="unguard")
        assert app._running().wait(30) == -signal.SIGSEGV, app.text()
        app.forget()
    app.run_through()
    check_letters(app.read_output(1), [(VALID, BOXES[1])])


# With a registry


@pytest.fixture
def registry() -> Iterator[RegistryDouble]:
    with registry_double() as double:
        yield double


@pytest.fixture
def registered(
    registry: RegistryDouble, kafka: KafkaServer, topic: TopicFactory, application: Any
) -> Application:
    made: Application = application(
        "registered", topic("in"), [topic("out"), topic("dead")], registry=registry.url
    )
    return made


def record(name: str, **more: Any) -> dict[str, Any]:
    fields = [{"name": "id", "type": "string"}]
    fields += [{"name": field, "type": type} for field, type in more.items()]
    return {"type": "record", "name": name, "fields": fields}


def framed(id: int, data: bytes) -> bytes:
    return struct.pack(">bI", 0, id) + data


def named(id: int, name: str) -> bytes:
    return framed(id, written("string", name))


def outputs(app: Application) -> list[str]:
    return sorted((record.value or b"").decode() for record in app.read_output())


def poisons(registry: RegistryDouble, app: Application, name: str, field: str) -> list[bytes]:
    """Poison of each schema in the corpus, in a field that the worker would only skip."""
    subject = f"{app.inputs[0]}-{field}"
    found = [
        framed(registry.put(subject, record(name, more=schema)), b"\x02a" + data)
        for what, (schema, data) in POISON.items()
        if len(data) < 500_000 and what not in UNSEEN
    ]
    old = registry.put(subject, record(name))
    strange = registry.put(subject, record("Stranger"))
    return [
        *found,
        *(b"\x00", b"\x00\x00\x00\x00", b"\x01" + named(old, "a")[1:], b'{"id": "a"}'),
        framed(old, b""),
        named(old, "a") + b"\x00",
        named(999_999, "a"),
        named(strange, "a"),
        named(registry.put(subject, "{"), "a"),
        named(registry.put(subject, '"string"', schemaType="PROTOBUF"), "a"),
    ]


def test_poison_of_any_schema(registry: RegistryDouble, registered: Application) -> None:
    """What a registry's schemas allow is held against limits as well."""
    values = poisons(registry, registered, "Named", "value")
    keys = poisons(registry, registered, "Id", "key")
    key_id = registry.put(f"{registered.inputs[0]}-key", record("Id"))
    value_id = registry.put(f"{registered.inputs[0]}-value", record("Named", more="long"))
    # The latest versions have to be readable.
    for field, id in (("key", key_id), ("value", value_id)):
        versions = registry.subjects[f"{registered.inputs[0]}-{field}"]
        versions.remove(id)
        versions.append(id)
    good = [
        (named(key_id, f"key-{at}"), framed(value_id, written("string", f"v{at}") + b"\x02"))
        for at in range(GOOD)
    ]
    bad = [(good[0][0], value) for value in values] + [(key, good[0][1]) for key in keys]
    feed(registered.servers, registered.inputs[0], rows_of(good, bad))
    assert run_measured(registered) < MAX_RSS
    letters = registered.read_output(1)
    check_letters(letters, bad)
    assert outputs(registered) == sorted(f"v{at}" for at in range(GOOD))
    told = [dict(letter.headers or [])["__penstock.error.message"] or b"" for letter in letters]
    unknown = f"schema 999999 is not in the registry {registry.url}"
    assert sum(unknown.encode() in text for text in told) == 2
    assert registry.asked.count("GET /schemas/ids/999999") == 2  # of keys, and of values


def feed_one(registry: RegistryDouble, app: Application, name: str, *more: str) -> None:
    """Write a record, of a schema of its own where fields are named."""
    topic = app.inputs[0]
    fields = dict.fromkeys(more, "null")
    key = registry.put(f"{topic}-key", record("Id"))
    value = registry.put(f"{topic}-value", record("Named", **fields))
    feed(app.servers, topic, [Row(named(key, "k"), named(value, name))])


@pytest.mark.parametrize(
    ("misbehave", "said"),
    [
        ({"status": 503}, "answers: as told .HTTP status code 503"),
        ({"delay": 2.0}, "does not answer in 3 attempts: ReadTimeout"),
    ],
)
def test_a_registry_that_is_down_or_slow_stops_the_worker(
    misbehave: dict[str, Any], said: str, registry: RegistryDouble, registered: Application
) -> None:
    """No good record becomes a dead letter for it, and the next start goes on."""
    feed_one(registry, registered, "before")
    registered.start().wait_drained()
    for name, value in misbehave.items():
        setattr(registry, name, value)
    feed_one(registry, registered, "during", "new")
    last = registered.fails().rstrip().splitlines()[-1]
    assert last.startswith("penstock.errors.BrokerError: ")
    assert f"The schema registry {registry.url}, asked for schema " in last
    assert said.replace(".", "(") in last
    assert last.endswith("no record is at fault.")
    registry.status, registry.delay = None, 0.0
    registered.run_through()
    assert outputs(registered) == ["before", "during"]
    assert registered.read_output(1) == []


def test_an_incompatible_schema_stops_the_start(
    registry: RegistryDouble, registered: Application
) -> None:
    """Before a record is read."""
    topic = registered.inputs[0]
    id = registry.put(f"{topic}-value", {**record("Named"), "fields": []})
    last = registered.start().fails().rstrip().splitlines()[-1]
    assert last.startswith("penstock.errors.TopologyError: ")
    assert f"subject {topic}-value cannot be read (version 1, id {id}, registry" in last
    assert "field id is missing" in last
    assert "give the field a default" in last


def test_a_registry_that_is_not_there_stops_the_start(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    """With its address, and what to do."""
    with registry_double() as gone:
        url = gone.url
    app = application("registered", topic("in"), [topic("out"), topic("dead")], registry=url)
    last = app.start().fails().rstrip().splitlines()[-1]
    assert last.startswith("penstock.errors.BrokerError: ")
    assert f"The schema registry {url}, asked for subject {app.inputs[0]}-key, does not" in last
    assert "Start it, or correct registry=" in last
