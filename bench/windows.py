"""What windows cost Penstock itself: `python -m bench.windows`.

    append     a tumbling count that appends, against one that updates
    agg        five aggregators at once, against a count
    closing    a million windows that close at once: the longest pause in the poll loop, and the
               bytes on disk before and after
    pairs      ten million open windows on disk: the worker's memory

The ratios are of medians; what takes turns runs on one broker over one input. Outputs are
recounted. The exit code is 1 if one is wrong.
"""

import argparse
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import penstock as ps
from bench import RunFailedError, observe, topics, workloads
from bench.__main__ import BROKER
from bench.engines import penstock
from bench.topics import FIRST_EVENT_MS, Topics
from bench.worker import Sampler
from bench.workloads import Bench
from penstock.runtime.intake import Intake
from penstock.testing import KafkaServer

RECORDS, KEYS = 2_000_000, 1_000
HOUR_MS = 3_600_000
AT_ONCE = 1_000_000
PAIRS, PAIR_KEYS, SIZE_MS = 10_000_000, 1_000_000, 10_000
SETTLE_S = 60.0


def ratio(bench: Bench, runs: int, base: str, other: str) -> None:
    """Let two applications take turns over one input."""
    source = bench.topics.input(RECORDS, KEYS)
    rates: dict[str, list[float]] = {base: [], other: []}
    for number in range(runs):
        for name in (base, other) if number % 2 == 0 else (other, base):
            figures = workloads.throughput(bench, penstock(), name, source)
            rates[name].append(figures["records_per_s"])
            print(f"  {name}: {figures['records_per_s']:,.0f} records/s", flush=True)
    found = {name: statistics.median(of) for name, of in rates.items()}
    print(f"{other} against {base}: {found[other] / found[base]:.2f}")


def one_window(keys: int) -> Iterator[tuple[str, bytes, int]]:
    """A record of each key in one hour, and two hours later one in each partition."""
    for number in range(keys):
        yield f"k{number:07}", b"x", FIRST_EVENT_MS + number % HOUR_MS
    for partition in range(topics.PARTITIONS * 8):
        yield f"late{partition}", b"x", FIRST_EVENT_MS + 3 * HOUR_MS


def closing(bench: Bench) -> None:
    """Close a million windows at once, while the loop is looked at from inside."""
    name = bench.topics.create("bench-closing")
    sink = bench.topics.create("bench-closing-out")
    state = bench.folder / "closing"
    rows = list(one_window(AT_ONCE))
    topics.send_at(bench.brokers, name, rows[:AT_ONCE])
    settings = ps.Settings(state=ps.StateSettings(flush_interval_ms=1_000))
    app = ps.App("bench-closing", brokers=bench.brokers, state_dir=state, settings=settings)
    window = app.stream(name, key=str, value=bytes).group_by_key().window(ps.tumbling("1h"))
    window.count(name="counts").to(sink, output_mode="append")
    pauses = watch_fetches()
    query = app.start()
    try:
        wait(lambda: observe.committed_records(bench.topics.admin, app.id, name) >= AT_ONCE)
        time.sleep(4)
        before = size_of(state)
        pauses.clear()
        began = time.monotonic()
        topics.send_at(bench.brokers, name, rows[AT_ONCE:])
        wait(lambda: sum(observe.end_offsets(bench.brokers, sink).values()) >= AT_ONCE)
        took = time.monotonic() - began
        longest = max(pauses)
        deadline = time.monotonic() + SETTLE_S
        while size_of(state) > before / 4 and time.monotonic() < deadline:
            time.sleep(1)
        after = size_of(state)
    finally:
        query.stop()
    found = sum(1 for _ in observe.read_to_end(bench.brokers, sink))
    if found != AT_ONCE:
        raise RunFailedError(f"{found} windows were closed instead of {AT_ONCE}")
    print(
        f"closing {AT_ONCE:,} windows: {took:.1f} s, longest pause {longest:.2f} s, on disk"
        f" {before / 1e6:,.0f} MB before and {after / 1e6:,.0f} MB after"
    )


def watch_fetches() -> list[float]:
    """Note the time between two fetches of the worker in this process."""
    pauses: list[float] = []
    last = [time.monotonic()]
    fetch = Intake.fetch

    def watched(self: Intake, wait_s: float, limit: int) -> None:
        pauses.append(time.monotonic() - last[0])
        fetch(self, wait_s, limit)
        last[0] = time.monotonic()

    Intake.fetch = watched  # type: ignore[method-assign]
    return pauses


def open_pairs() -> Iterator[tuple[str, bytes, int]]:
    """Every key in ten windows that stay open."""
    for number in range(PAIRS):
        window, key = divmod(number, PAIR_KEYS)
        yield f"k{key:07}", b"x", FIRST_EVENT_MS + window * SIZE_MS


def pairs(bench: Bench) -> None:
    """Count ten million pairs of key and window in a worker of its own."""
    name = bench.topics.create("bench-pairs")
    topics.send_at(bench.brokers, name, open_pairs())
    with workloads.application(bench, penstock(), "pairs", name) as app:
        began = time.monotonic()
        with app.worker("state") as worker:
            app.wait(
                worker,
                lambda: observe.committed_records(bench.topics.admin, app.id, name) >= PAIRS,
                f"{PAIRS} committed records",
                1.0,
            )
            took = time.monotonic() - began
            time.sleep(5)
        disk = size_of(bench.folder / app.id / "state")
        found = observe.audit_counts(bench.brokers, app.sink)
        if found != PAIRS:
            raise RunFailedError(f"{found} records are counted instead of {PAIRS}")
        print(
            f"{PAIRS:,} pairs: {took:.0f} s, {disk / 1e6:,.0f} MB on disk, peak RSS"
            f" {worker.usage.peak_bytes / 1e6:,.0f} MB"
        )


def wait(reached: Callable[[], bool], timeout_s: float = 300) -> None:
    deadline = time.monotonic() + timeout_s
    while not reached():
        if time.monotonic() > deadline:
            raise RunFailedError("not reached in time")
        time.sleep(0.2)


def size_of(folder: Path) -> int:
    """The bytes of all files of a folder; some vanish while one looks."""
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except FileNotFoundError:
            continue
    return total


PARTS: dict[str, Callable[[Bench, int], None]] = {
    "append": lambda bench, runs: ratio(bench, runs, "tumbling", "append"),
    "agg": lambda bench, runs: ratio(bench, runs, "count", "agg"),
    "closing": lambda bench, _: closing(bench),
    "pairs": lambda bench, _: pairs(bench),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.windows", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default=",".join(PARTS))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with KafkaServer(settings=BROKER) as kafka, tempfile.TemporaryDirectory() as folder:
        made = Topics(kafka.bootstrap_servers)
        bench = Bench(made, Path(folder), Sampler(kafka.pid(1)), 600)
        try:
            for name in options.only.split(","):
                PARTS[name](bench, options.runs)
        except RunFailedError as error:
            print(error)
            return 1
        finally:
            bench.broker.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
