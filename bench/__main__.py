"""The harness: python -m bench, also `make bench ARGS=…`. See README.md for what is measured.

Starts one Kafka, fills the inputs, lets the engines run in turn, prints the table and keeps
every run in results/. With --publish the latest results also go into README.md and chart.png.
The exit code is 1 if a run gave no figure; a slow figure changes nothing.
"""

import argparse
import importlib.metadata
import os
import platform
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from confluent_kafka import KafkaException
from rich.console import Console
from rich.table import Table

from bench import RunFailedError, looked_at, publish, rebalance, recovery, results, workloads
from bench.engines import ENGINES, Engine, UnavailableError
from bench.results import Result
from bench.topics import Topics
from bench.worker import Sampler
from bench.workloads import Bench, Figures
from penstock.testing import KafkaServer
from penstock.testing.kafka_jars import KAFKA_VERSION, find_java

THROUGHPUT = {  # workload: application, keys, records
    "map": ("map", 1_000, 2_000_000),
    "count-1k": ("count", 1_000, 2_000_000),
    "count-100k": ("count", 100_000, 1_000_000),
    "regroup-1k": ("regroup", 1_000, 1_000_000),
    "tumbling": ("tumbling", 1_000, 2_000_000),
    "hopping": ("hopping", 1_000, 300_000),
    "session": ("session", 1_000, 1_000_000),
}
MANY_PARTITIONS = 64
RESTORE_RECORDS, RECORDS_PER_KEY = 3_000_000, 3
START_RECORDS = 10_000
OVERHEAD_RECORDS = 6_000_000  # what is done once, at the start, must not weigh
SESSION_MS = 10_000  # Penstock's own; that of Kafka Streams is 45 s
# The tests' broker is quicker than one in production at looking for logs to compact (twice a
# second), and for transactions that are open for too long (once a second).
BROKER = {
    "log.cleaner.backoff.ms": "15000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "10000",
}
ALONE = ("overhead", "http", "idle")  # what only Penstock has
ALL = (
    *THROUGHPUT,
    "partitions",
    "latency",
    "restore",
    "start",
    "rebalance",
    "recovery",
    *ALONE,
)

Run = Callable[[Engine], Figures]
console = Console(highlight=False)


def main() -> int:
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # worker and broker go with us
    engines = available(options.engines)
    failures = 0
    with (
        KafkaServer(settings=BROKER) as kafka,
        tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder,
    ):
        bench = Bench(
            Topics(kafka.bootstrap_servers), Path(folder), Sampler(kafka.pid(1)), options.timeout
        )
        done = []
        for workload in options.only:
            run, sizes = prepare(
                bench, workload, records=options.records, session_ms=options.session_ms
            )
            result = Result(workload, command_line(), machine(), sizes)
            chosen = [of for of in engines if of.name == "penstock" or workload not in ALONE]
            failures += measure(result, run, chosen, options.runs)
            result.save()
            done.append(result)
        bench.broker.close()
    show(done)
    if options.publish:
        console.print("wrote", ", ".join(publish.publish()))
    return 1 if failures else 0


def parse() -> argparse.Namespace:
    def names(allowed: tuple[str, ...], text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := ", ".join(set(chosen) - set(allowed)):
            raise argparse.ArgumentTypeError(f"{unknown}: not among {', '.join(allowed)}")
        return chosen

    parser = argparse.ArgumentParser(prog="bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", type=partial(names, ALL), default=list(ALL), help=",".join(ALL))
    parser.add_argument("--engines", type=partial(names, tuple(ENGINES)), default=list(ENGINES))
    parser.add_argument("--runs", type=int, default=3, help="runs per engine; medians are shown")
    parser.add_argument("--records", type=int, help="records per run, for a smoke test")
    parser.add_argument(
        "--session-ms",
        type=int,
        default=SESSION_MS,
        help="both engines' session timeout in rebalance and recovery; 0 is each engine's own",
    )
    parser.add_argument("--timeout", type=float, default=180, help="seconds per run")
    parser.add_argument("--publish", action="store_true", help="write README.md and chart.png")
    return parser.parse_args()


def available(names: list[str]) -> list[Engine]:
    engines = []
    for name in names:
        try:
            engines.append(ENGINES[name]())
        except UnavailableError as reason:
            console.print(f"{name} is left out: {reason}", style="yellow", markup=False)
    return engines


def prepare(
    bench: Bench, workload: str, *, records: int | None, session_ms: int
) -> tuple[Run, dict[str, int]]:
    """Fill what the runs of a workload share, and say how large it is."""
    if workload in THROUGHPUT:
        name, keys, size = THROUGHPUT[workload]
        with console.status(f"{workload}: filling its input"):
            source = bench.topics.input(records or size, keys)
        sizes = {"records": source.records, "keys": keys}
        return lambda engine: workloads.throughput(bench, engine, name, source), sizes
    if workload == "partitions":
        _, keys, size = THROUGHPUT["count-1k"]
        with console.status(f"{workload}: filling its inputs"):
            few = bench.topics.input(records or size, keys)
            many = bench.topics.input(records or size, keys, MANY_PARTITIONS)
        sizes = {"records": few.records, "keys": keys}
        return lambda engine: workloads.partitions(bench, engine, few, many), sizes
    if workload == "restore":
        size = records or RESTORE_RECORDS
        sizes = {"records": size, "keys": size // RECORDS_PER_KEY}
        return lambda engine: workloads.restore(bench, engine, *sizes.values()), sizes
    if workload == "start":
        source = bench.topics.input(START_RECORDS, START_RECORDS)
        return lambda engine: workloads.start(bench, engine, source), {"records": START_RECORDS}
    if workload == "rebalance":
        sizes = {"records/s": rebalance.RATE, "keys": rebalance.KEYS, "ms of session": session_ms}
        return lambda engine: rebalance.rebalance(bench, engine, session_ms or None), sizes
    if workload == "recovery":
        sizes = {"records/s": recovery.RATE, "keys": recovery.KEYS, "ms of session": session_ms}
        return lambda engine: recovery.recovery(bench, engine, session_ms or None), sizes
    if workload == "overhead":
        _, keys, _ = THROUGHPUT["count-1k"]
        with console.status(f"{workload}: filling its input"):
            watched = bench.topics.input(records or OVERHEAD_RECORDS, keys)
        sizes = {"records": watched.records, "keys": keys, "pairs": looked_at.PAIRS}
        return lambda engine: looked_at.overhead(bench, engine, watched), sizes
    if workload == "http":
        sizes = {"records/s": looked_at.HALF_LOAD, "questions/s": looked_at.QUESTIONS}
        return lambda engine: looked_at.http(bench, engine), sizes
    if workload == "idle":
        sizes = {"seconds": int(looked_at.IDLE_SECONDS)}
        return lambda engine: looked_at.idle(bench, engine), sizes
    sizes = {"records/s": workloads.LATENCY_RATE, "seconds": int(workloads.LATENCY_SECONDS)}
    return lambda engine: workloads.latency(bench, engine), sizes


def measure(result: Result, run: Run, engines: list[Engine], runs: int) -> int:
    """Let the engines run in turn, the other one first every time; returns the failures."""
    failures = 0
    for number in range(runs):
        for engine in engines if number % 2 == 0 else reversed(engines):
            label = f"{result.workload}, run {number + 1} of {runs}, {engine.title}"
            try:
                with console.status(label):
                    figures = run(engine)
            except (RunFailedError, KafkaException) as error:
                failures += 1
                console.print(f"{label}: {error}", style="red", markup=False)
                continue
            result.add(engine.name, figures)
            told = "  ".join(f"{name} {value:,.2f}" for name, value in figures.items())
            console.print(f"{label}: {told}", soft_wrap=True)
    return failures


def show(done: list[Result]) -> None:
    table = Table(*publish.HEAD)
    for column in table.columns[2:6]:
        column.justify = "right"
    for row in results.rows(done):
        style = {None: None, True: "green", False: "red"}[row.reached]
        table.add_row(*row.cells(), style=style)
    console.print(table)
    console.print(publish.provenance(done), soft_wrap=True)


def command_line() -> str:
    arguments = [part for part in sys.argv[1:] if part != "--publish"]
    return shlex.join(["python", "-m", "bench", *arguments])


def machine() -> dict[str, str]:
    java = subprocess.run([find_java().executable, "-version"], capture_output=True, text=True)
    return {
        "cores": str(os.cpu_count()),
        "CPU": cpu_model(),
        "Python": platform.python_version(),
        "Java": java.stderr.split('"')[1],
        "Kafka": KAFKA_VERSION,
        "confluent-kafka": importlib.metadata.version("confluent-kafka"),
        "penstock": importlib.metadata.version("penstock"),
    }


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
