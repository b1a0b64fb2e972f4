"""Avro beside Confluent's deserializer: `python -m bench.avro`.

One process, one core, in turns: records of nine fields from the same bytes into the same
Structs. The registry is the tests' double, asked once by each side. What counts is the ratio.
"""

import gc
import random
import statistics
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

import fastavro
import msgspec
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

import penstock as ps
from penstock.serde.avro_guard import Guard
from tests.unit.registry_double import registry_double

RECORDS = 5_000  # as many as a worker decodes at once
ROUNDS = 21
BASE = "Confluent's deserializer, typed"


class Event(msgspec.Struct):
    id: str
    user: str
    page: str
    at: int
    duration: float
    ok: bool
    status: int
    referrer: str | None = None
    tags: list[str] = []


def events() -> list[Event]:
    draw = random.Random(1)
    return [
        Event(
            id=f"{draw.getrandbits(64):016x}",
            user=f"user-{draw.randrange(1000)}",
            page=f"/product/{draw.randrange(10_000)}",
            at=1_700_000_000_000 + n,
            duration=draw.random(),
            ok=draw.random() < 0.9,
            status=draw.choice([200, 304, 404]),
            referrer=draw.choice([None, "https://example.org/"]),
            tags=["a", "b"][: draw.randrange(3)],
        )
        for n in range(RECORDS)
    ]


def measure(ways: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Records per second of each way, the median of rounds in which all of them take turns."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, run in ways.items():
            start = time.perf_counter()
            run()
            rates[name].append(RECORDS / (time.perf_counter() - start))
    return {name: statistics.median(found) for name, found in rates.items()}


def main() -> None:
    gc.set_threshold(100_000, 50, 100)  # as a worker sets it
    with registry_double() as registry:
        serde: Any = ps.serde.avro(Event, registry=registry.url)
        serde.prepare("events", key=False, writes=True)
        values = events()
        column = [serde.encode(value) for value in values]
        with SchemaRegistryClient({"url": registry.url}) as client:
            rates = measure(ways(serde, client, values, column))
    base = rates[BASE]
    size = sum(map(len, column)) / len(column)
    print(f"{RECORDS:,} records of {size:.0f} bytes, median of {ROUNDS} rounds")
    for name, rate in rates.items():
        print(f"{name:40} {rate / 1000:7.0f} k/s {rate / base:6.2f}")


def ways(
    serde: Any, client: SchemaRegistryClient, values: list[Event], column: list[bytes]
) -> dict[str, Callable[[], Any]]:
    schema = fastavro.parse_schema(msgspec.json.decode(serde.schema.text))
    context = SerializationContext("events", MessageField.VALUE)
    theirs = AvroDeserializer(
        client,
        from_dict=lambda found, _: Event(**found),
        conf={"subject.name.strategy.type": "TOPIC"},
    )
    plain: Any = ps.serde.avro(Event)
    bare = [data[5:] for data in column]
    guard = Guard(serde.schema.parsed, serde.schema.named, ps.serde.AvroLimits())
    assert serde.decode_all(column) == values == [theirs(data, context) for data in column]
    return {
        BASE: lambda: [theirs(data, context) for data in column],
        "serde.avro with a registry, typed": lambda: serde.decode_all(column),
        "serde.avro with a registry, one by one": lambda: list(map(serde.decode, column)),
        "serde.avro without a registry, typed": lambda: plain.decode_all(bare),
        "fastavro alone, dicts": lambda: [
            fastavro.schemaless_reader(BytesIO(data), schema, None) for data in bare
        ],
        "a walk of the guard alone": lambda: list(map(guard.check, bare)),
        "serde.avro, encode": lambda: list(map(serde.encode, values)),
    }


if __name__ == "__main__":
    main()
