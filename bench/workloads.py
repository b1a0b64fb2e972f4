"""One run of one workload by one engine: what is done, and the figures that come out.

Every run has a fresh application id, a fresh state directory and a fresh output topic; the
input is shared. The worker's output is recounted after each throughput run: a fast wrong
answer is a failed run. How the figures are defined is written in README.md.
"""

import json
import secrets
import statistics
import sys
import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import ConsumerGroupState, KafkaException

from bench import RunFailedError, observe, pacer, topics
from bench.engines import Engine
from bench.observe import Commit
from bench.topics import Input, Topics
from bench.worker import Sampler, Worker

POLL_SECONDS = 0.5
LATENCY_RATE = 1_000  # records/s
LATENCY_WARM_UP_SECONDS = 8.0
LATENCY_SECONDS = 20.0
LAST_WINDOW_MS = 10_000  # a record each
WINDOWS_OF_EACH = {"hopping": 10}
PROBES = [f"probe-{partition}" for partition in range(topics.PARTITIONS)]

Figures = dict[str, float]


@dataclass
class Bench:
    """What the runs share: the broker, a scratch folder, the limit of a run."""

    topics: Topics
    folder: Path
    broker: Sampler
    timeout: float

    @property
    def brokers(self) -> str:
        return self.topics.brokers


@dataclass
class Application:
    """A declared application on an engine, with topics of its own; starts workers of it."""

    bench: Bench
    engine: Engine
    workload: str
    source: str
    id: str
    sink: str

    @property
    def repartition(self) -> str:
        """The topic behind `group_by`, by the name that both engines give it."""
        return f"{self.id}-by-user-repartition"

    @contextmanager
    def worker(
        self,
        place: str | None = None,
        *,
        leave: bool = False,
        session_ms: int | None = None,
        dead: str | None = None,
        publish: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> Iterator[Worker]:
        """A worker with its state at a place that lasts as long as the application, or a fresh one.

        `leave` says whether it leaves the group when it is stopped, `dead` where records that
        fail go, `publish` whether progress goes to a topic.
        """
        folder = self.bench.folder / self.id
        run = secrets.token_hex(4)
        state = folder / (place or run)
        state.mkdir(parents=True, exist_ok=True)
        arguments = {
            "--brokers": self.bench.brokers,
            "--in": self.source,
            "--out": self.sink,
            "--app-id": self.id,
            "--state-dir": str(state),
        }
        if leave:
            arguments["--leave"] = "yes"
        if session_ms is not None:
            arguments["--session-ms"] = str(session_ms)
        if dead is not None:
            arguments["--dead"] = dead
        if not publish:
            arguments["--publish"] = "no"
        flat = [part for pair in arguments.items() for part in pair]
        log = folder / f"{run}.log"
        command = [*self.engine.command, self.workload, *flat]
        with Worker(command, log, environment) as worker:
            yield worker

    def wait(self, worker: Worker, done: Callable[[], bool], what: str, pause: float = 0) -> None:
        deadline = worker.started + self.bench.timeout
        while not done():
            worker.check(deadline, what)
            time.sleep(pause)


@contextmanager
def application(bench: Bench, engine: Engine, workload: str, source: str) -> Iterator[Application]:
    name = f"bench-{secrets.token_hex(4)}"
    try:
        yield Application(bench, engine, workload, source, name, bench.topics.create(f"{name}-out"))
    finally:
        bench.topics.delete(name)


@dataclass
class Standstill:
    """Says yes once nothing more of the repartition topic was committed since the last look."""

    app: Application
    before: int = -1

    def __call__(self) -> bool:
        admin = self.app.bench.topics.admin
        now = observe.committed_records(admin, self.app.id, self.app.repartition)
        before, self.before = self.before, now
        return now == before


def throughput(
    bench: Bench,
    engine: Engine,
    workload: str,
    source: Input,
    *,
    publish: bool = True,
    environment: Mapping[str, str] | None = None,
) -> Figures:
    with application(bench, engine, workload, source.topic) as app:
        since = observe.end_offsets(bench.brokers, observe.OFFSETS_TOPIC)
        admin = bench.topics.admin
        with app.worker(publish=publish, environment=environment) as worker:
            app.wait(
                worker,
                lambda: observe.committed_records(admin, app.id, source.topic) >= source.records,
                f"{source.records} committed records",
                POLL_SECONDS,
            )
            if workload == "regroup":
                app.wait(worker, Standstill(app), "a repartition topic that is drained", 1.0)
        audit(app, source)
        counted = app.repartition if workload == "regroup" else source.topic
        commits = observe.committed(bench.brokers, app.id, counted, since)
    return warm_part(commits, worker, bench.broker)


def warm_part(commits: list[Commit], worker: Worker, broker: Sampler) -> Figures:
    """From the first commit that covers a record to the first that covers them all."""
    first = next(commit for commit in commits if commit.records)
    half = next(commit for commit in commits if commit.records >= commits[-1].records / 2)
    last = next(commit for commit in commits if commit.records == commits[-1].records)
    if last.time_ms == first.time_ms:
        raise RunFailedError("too few records: the first commit covered all of them")
    millions = (last.records - first.records) / 1e6

    def cpu(usage: Sampler) -> float:
        return usage.cpu_at(last.time_ms * 10**6) - usage.cpu_at(first.time_ms * 10**6)

    return {
        "records_per_s": rate(first, last),
        "second_half_per_s": rate(half, last),
        "cpu_s_per_million": cpu(worker.usage) / millions,
        "peak_mb": worker.usage.peak_bytes / 1e6,
        "broker_cpu_s_per_million": cpu(broker) / millions,
        "warm_s": (last.time_ms - first.time_ms) / 1_000,
        "commits": len(commits),
    }


def rate(first: Commit, last: Commit) -> float:
    """Records per second between two commits; nothing if they are the same one."""
    seconds = (last.time_ms - first.time_ms) / 1_000
    return (last.records - first.records) / seconds if seconds else 0.0


def audit(app: Application, source: Input) -> None:
    if app.workload == "map":
        found = observe.audit_map(app.bench.brokers, app.sink)
        expect(found, (source.records, source.converted_cents))
    elif app.workload == "agg":
        expect(observe.audit_agg(app.bench.brokers, app.sink), source.records)
    elif app.workload == "append":
        # The last window of each partition stays open.
        expect(observe.audit_counts(app.bench.brokers, app.sink), source.records - LAST_WINDOW_MS)
    else:
        counted = source.records * WINDOWS_OF_EACH.get(app.workload, 1)
        expect(observe.audit_counts(app.bench.brokers, app.sink), counted)


def expect(found: object, expected: object) -> None:
    if found != expected:
        raise RunFailedError(f"wrong output: found {found}, expected {expected}")


def partitions(bench: Bench, engine: Engine, few: Input, many: Input) -> Figures:
    """The same records in few partitions and in many: what each record costs more."""
    figures: Figures = {}
    for source in (few, many):
        found = throughput(bench, engine, "count", source)
        figures |= {f"{name}_{source.partitions}": value for name, value in found.items()}
    for name in ("records_per_s", "cpu_s_per_million"):
        base = figures[f"{name}_{few.partitions}"]
        figures[f"{name}_ratio"] = figures[f"{name}_{many.partitions}"] / base
    return figures


@contextmanager
def paced(
    bench: Bench,
    topic: str,
    rate: int,
    seconds: float,
    times: Path | None = None,
    *,
    linger_ms: int = 0,
) -> Iterator[Worker]:
    """A producer of its own process; when it sends is written to `times` at its end.

    At high rates it has to linger: else each record is a request, and the broker does nothing else.
    """
    command = [sys.executable, "-m", "bench.pacer", "--brokers", bench.brokers, "--topic", topic]
    command += ["--rate", str(rate), "--seconds", str(seconds), "--linger-ms", str(linger_ms)]
    command += [] if times is None else ["--times", str(times)]
    with Worker(command, bench.folder / f"{topic}.log") as sender:
        yield sender


def latency(bench: Bench, engine: Engine) -> Figures:
    source = bench.topics.create(f"bench-paced-{secrets.token_hex(4)}")
    seconds = LATENCY_WARM_UP_SECONDS + LATENCY_SECONDS
    times = bench.folder / f"{source}.times"
    seen: dict[int, float] = {}
    try:
        with (
            application(bench, engine, "count", source) as app,
            observe.Tail(bench.brokers, app.sink) as tail,
            app.worker() as worker,
            paced(bench, source, LATENCY_RATE, seconds, times) as sender,
        ):
            while len(seen) < int(LATENCY_RATE * seconds):
                deadline = worker.started + bench.timeout
                worker.check(deadline, "all of the paced records' counts")
                sender.check(deadline, "the paced producer", may_end=True)
                while found := tail.next():
                    count = topics.COUNT.unpack(found.value)[0]
                    seen.setdefault(pacer.number(found.key, count), found.at)
    finally:
        bench.topics.delete(source)
    sent = array("d", times.read_bytes())
    warm = range(int(LATENCY_RATE * LATENCY_WARM_UP_SECONDS), len(sent))
    took = statistics.quantiles([1_000 * (seen[i] - sent[i]) for i in warm], n=1_000)
    return {"p50_ms": took[499], "p99_ms": took[989], "p999_ms": took[998]}


def start(bench: Bench, engine: Engine, source: Input) -> Figures:
    """From the start of the process to the first committed output, with records waiting."""
    with (
        application(bench, engine, "count", source.topic) as app,
        observe.Tail(bench.brokers, app.sink) as tail,
        app.worker() as worker,
    ):
        app.wait(worker, lambda: tail.next() is not None, "the first output")
        return {"first_commit_s": time.monotonic() - worker.started}


def restore(bench: Bench, engine: Engine, records: int, keys: int) -> Figures:
    """Start without state over an empty changelog, fill it, start again: the difference."""
    source = bench.topics.create(f"bench-probes-{secrets.token_hex(4)}")
    try:
        with application(bench, engine, "count", source) as app:
            answer(app)  # the engine makes its changelog, with its own settings
            wait_until_left(app)
            empty, _ = answer(app)
            wait_until_left(app)
            changelog = f"{app.id}-counts-changelog"
            topics.send(bench.brokers, changelog, topics.make_changelog(records, keys))
            full, told = answer(app)
    finally:
        bench.topics.delete(source)
    if full <= empty:
        raise RunFailedError(f"nothing restored: {full:.2f} s, and {empty:.2f} s without records")
    figures = {"restored_per_s": records / (full - empty)}
    return figures | {"empty_start_s": empty, "full_start_s": full} | told


def answer(app: Application) -> tuple[float, Figures]:
    """Seconds from the start of a worker until a probe in every partition is answered."""
    left = set(PROBES)
    probes = ((name, topics.event(i, name[:6])) for i, name in enumerate(PROBES))
    topics.send(app.bench.brokers, app.source, probes, in_turn=True)
    with observe.Tail(app.bench.brokers, app.sink) as tail, app.worker(leave=True) as worker:

        def all_answered() -> bool:
            if found := tail.next():
                left.discard(found.key.decode())
            return not left

        app.wait(worker, all_answered, f"an answer to {len(PROBES)} probes")
        seconds = time.monotonic() - worker.started
    return seconds, {"own_restore_s": told} if (told := own_restore_seconds(worker.log())) else {}


def own_restore_seconds(log: str) -> float | None:
    """What the engine itself says about its restore, as a cross-check; Kafka Streams does."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith('{"at"')]
    starts = [line["at"] for line in lines if line.get("restore") == "start"]
    ends = [line["at"] for line in lines if line.get("restore") == "end"]
    return (max(ends) - min(starts)) / 1_000 if starts and ends else None


def wait_until_left(app: Application) -> None:
    """Wait until the group has no members, so that the next start joins at once."""
    deadline = time.monotonic() + app.bench.timeout
    admin = app.bench.topics.admin
    while time.monotonic() < deadline:
        try:
            group = admin.describe_consumer_groups([app.id])[app.id].result(10)
        except KafkaException:
            return
        if group.state in (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD):
            return
        time.sleep(0.2)
    raise RunFailedError("the stopped worker stays a member of its group")
