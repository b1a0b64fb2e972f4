"""What `penstock produce` reaches: python -m bench.produce.

Records per second of a template and of a model, both with zipf keys, sent as fast as it goes; and
how evenly a paced run at 1,000 records/s arrives, by the times that the broker appends. The
embedded broker runs beside it. Medians of `--runs`, the sides in turn; nothing is asserted.
"""

import argparse
import statistics
from itertools import pairwise
from typing import Any

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from penstock.cli.events.keys import draw_keys
from penstock.cli.events.model_loading import Model
from penstock.cli.events.models import Fields, ModelEvents
from penstock.cli.events.pacing import Pace
from penstock.cli.events.producing import Plan, produce_events
from penstock.cli.events.protocol import Events
from penstock.cli.events.templates import Template
from penstock.cli.target import find_topic
from penstock.serde import avro
from penstock.serde.types import data_type
from penstock.testing import KafkaServer

VIEWS = (
    '{"user": "u{zipf:1000}", "page": "/p{choice:home,cart,checkout}", "at": {now_ms},'
    ' "n": {counter}, "ms": {uniform:1:250}}'
)


class View(msgspec.Struct):
    user: str
    page: str
    at: int
    n: int
    ms: float


def template() -> Events:
    return Template(VIEWS, 1, key="user")


def model(serde: Any) -> Events:
    found = Model(name="View", type=View, serde=serde)
    return ModelEvents(found, 1, fields=Fields(key="user"), keys=draw_keys("zipf:1000", 1))


SIDES = {
    "template, keyed": template,
    "model, 5 fields, JSON": lambda: model(data_type(View).serde),
    "model, 5 fields, Avro": lambda: model(avro(View)),
}


def speeds(brokers: str, records: int, runs: int) -> None:
    target = find_topic("speed", brokers=brokers, partitions=4)
    found: dict[str, list[float]] = {name: [] for name in SIDES}
    for _ in range(runs):
        for name, make in SIDES.items():
            summary = produce_events(target, make(), Plan(pace=Pace(count=records)))
            summary.raise_for_failed()
            found[name].append(summary.rate)
    for name, rates in found.items():
        each = ", ".join(f"{rate:,.0f}" for rate in rates)
        print(f"{name}: {statistics.median(rates):,.0f} records/s (each: {each})")


def evenness(brokers: str, rate: int, seconds: int) -> None:
    """Let the broker stamp each record, and look at the time between them."""
    topic = NewTopic("even", 1, config={"message.timestamp.type": "LogAppendTime"})
    admin = AdminClient({"bootstrap.servers": brokers})  # its futures end with it: keep it
    admin.create_topics([topic])["even"].result(30)
    target = find_topic("even", brokers=brokers)
    pace = Pace(rate=rate, duration_ms=seconds * 1_000)
    summary = produce_events(target, template(), Plan(pace=pace))
    times = appended(brokers, summary.records)
    gaps = sorted(late - early for early, late in pairwise(times))
    shares = {ms: gaps.count(ms) / len(gaps) for ms in range(4)}
    told = ", ".join(f"{ms} ms {share:.1%}" for ms, share in shares.items())
    print(
        f"{rate:,}/s for {seconds} s: {summary.records:,} records in {summary.seconds:.2f} s;"
        f" gaps at the broker: {told}, p99 {gaps[int(len(gaps) * 0.99)]} ms, max {gaps[-1]} ms"
    )


def appended(brokers: str, records: int) -> list[int]:
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "gaps"})
    consumer.assign([TopicPartition("even", 0, OFFSET_BEGINNING)])
    times: list[int] = []
    while len(times) < records:
        times += [message.timestamp()[1] for message in consumer.consume(10_000, 1)]
    consumer.close()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.produce")
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=10)
    options = parser.parse_args()
    with KafkaServer() as kafka:
        speeds(kafka.bootstrap_servers, options.records, options.runs)
        evenness(kafka.bootstrap_servers, 1_000, options.seconds)


if __name__ == "__main__":
    main()
