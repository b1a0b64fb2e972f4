"""What error policies cost: `python -m bench.policies`.

The map runs with the policy `fail` over clean input, with dead letters over the same, and with
dead letters over input of which one record in a hundred fails: half of those cannot be decoded,
at the others the function raises. The three take turns on one broker, as the engines of `bench`
do, and the output of each run is recounted, dead letters too.
"""

import argparse
import signal
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import RunFailedError, observe, topics
from bench.__main__ import BROKER
from bench.engines import penstock
from bench.topics import Input, Topics
from bench.worker import Sampler
from bench.workloads import Bench, Figures, application, expect, warm_part
from penstock.testing import KafkaServer

RECORDS, KEYS = 2_000_000, 1_000
ONE_IN = 100
NEGATIVE = b',"session":"","page":"","status":200,"cents":-1,"at":0,"mobile":false}'


@dataclass(frozen=True)
class Way:
    """A policy with its input."""

    name: str
    source: Input
    failing: int
    dead: bool


def poisoned(pages: list[tuple[bytes, int]]) -> Iterator[tuple[str, bytes]]:
    """The events of the clean input, and one that fails behind every 99 of them."""
    for n, (user, value) in enumerate(topics.make_events(pages, RECORDS, KEYS), 1):
        yield user, value
        if n % (ONE_IN - 1) == 0:
            bad = b'{"id":"","user":"%s"' % user.encode()
            yield user, bad if n % 2 else bad + NEGATIVE


def fill_poisoned(made: Topics, clean: Input) -> Input:
    topic = made.create("bench-poisoned")
    topics.send(made.brokers, topic, poisoned(list(topics.make_pages())))
    return Input(topic, RECORDS + RECORDS // (ONE_IN - 1), clean.partitions, clean.converted_cents)


def run(bench: Bench, way: Way) -> Figures:
    """Run the map once; what comes out has to be right."""
    with application(bench, penstock(), "strict", way.source.topic) as app:
        dead = bench.topics.create(f"{app.id}-dead")
        since = observe.end_offsets(bench.brokers, observe.OFFSETS_TOPIC)
        with app.worker(dead=dead if way.dead else None) as worker:
            app.wait(
                worker,
                lambda: (
                    observe.committed_records(bench.topics.admin, app.id, way.source.topic)
                    >= way.source.records
                ),
                f"{way.source.records} committed records",
                0.5,
            )
        found = observe.audit_map(bench.brokers, app.sink)
        expect(found, (way.source.records - way.failing, way.source.converted_cents))
        expect(sum(1 for _ in observe.read_to_end(bench.brokers, dead)), way.failing)
        commits = observe.committed(bench.brokers, app.id, way.source.topic, since)
    return warm_part(commits, worker, bench.broker)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.policies", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    rates: dict[str, list[float]] = {}
    with KafkaServer(settings=BROKER) as kafka, tempfile.TemporaryDirectory() as folder:
        made = Topics(kafka.bootstrap_servers)
        bench = Bench(made, Path(folder), Sampler(kafka.pid(1)), 180)
        clean = made.input(RECORDS, KEYS)
        bad = fill_poisoned(made, clean)
        ways = [
            Way("fail, clean input", clean, 0, dead=False),
            Way("dead letters, clean input", clean, 0, dead=True),
            Way("dead letters, 1 in 100 fails", bad, bad.records - clean.records, dead=True),
        ]
        for number in range(options.runs):
            for way in ways[number % 3 :] + ways[: number % 3]:
                try:
                    figures = run(bench, way)
                except RunFailedError as error:
                    print(f"{way.name}: {error}")
                    return 1
                rates.setdefault(way.name, []).append(figures["records_per_s"])
                told = "  ".join(f"{name} {value:,.2f}" for name, value in figures.items())
                print(f"run {number + 1}, {way.name}: {told}")
        bench.broker.close()
    base = statistics.median(rates[ways[0].name])
    for way in ways:
        rate = statistics.median(rates[way.name])
        print(f"{way.name:32} {rate:10,.0f} records/s {rate / base:6.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
