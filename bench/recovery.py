"""The recovery run: a worker with a million keys of state is killed under load, again and again.

It is started again at once, on the same host and the same folder of state. A failure lasts from
the last output before the kill until the lag is back where it was before: at the most that was
seen while all was well.
"""

import json
import re
import secrets
import time

from bench import RunFailedError, observe, topics
from bench.engines import Engine
from bench.observe import Outputs
from bench.worker import Worker
from bench.workloads import Application, Bench, Figures, application, expect, paced

KEYS = 1_000_000  # of state
RATE = 1_000  # records/s
FAILURES = 5
CALM_SECONDS = 5.0  # of which the last are the baseline
BASELINE_SECONDS = 3.0
LOOK_SECONDS = 0.02
LONGEST_SECONDS = 3_600  # of the load, which ends with the run
_RESTORED = re.compile(r"Restored .*: (\d+) records in ")


def recovery(bench: Bench, engine: Engine, session_ms: int | None) -> Figures:
    """Five failures in a row; without a session, each engine has its own."""
    source = bench.topics.create(f"bench-killed-{secrets.token_hex(4)}")
    users = (f"k{i:07}" for i in range(KEYS))
    try:
        topics.send(bench.brokers, source, ((user, topics.event(0, user)) for user in users))
        with (
            application(bench, engine, "count", source) as app,
            Outputs(bench.brokers, app.sink) as outputs,
        ):
            with app.worker("a", session_ms=session_ms) as worker:
                wait_for_lag(app, worker, 0)
            with paced(bench, source, RATE, LONGEST_SECONDS):
                figures = fail(app, outputs, session_ms)
            with app.worker("a", session_ms=session_ms) as worker:
                wait_for_lag(app, worker, 0)
            sent = sum(observe.end_offsets(bench.brokers, source).values())
            expect(observe.audit_counts(bench.brokers, app.sink), sent)
    finally:
        bench.topics.delete(source)
    return figures


def fail(app: Application, outputs: Outputs, session_ms: int | None) -> Figures:
    """Let a worker be well, kill it, and wait until its successor is, as often as it takes."""
    took: list[float] = []
    restored: list[int] = []
    last, baseline, done = 0.0, RATE, 0
    for failures in range(FAILURES + 1):
        with app.worker("a", session_ms=session_ms) as worker:
            app.wait(worker, lambda n=done: committed(app) > n, "a commit", LOOK_SECONDS)
            wait_for_lag(app, worker, baseline)
            if failures:
                took.append(time.monotonic() - last)
                restored.append(restored_records(worker.log()))
            baseline = calm(app, worker)
            worker.kill()
            done = committed(app)
            last = max(times[-1] for times in outputs.times if times)
    return {
        "first_s": took[0],
        "fifth_s": took[-1],
        "longest_s": max(took),
        "restored_share": max(restored) / KEYS,
    }


def calm(app: Application, worker: Worker) -> int:
    """Wait while all is well, and return the greatest lag of the last seconds."""
    end = time.monotonic() + CALM_SECONDS
    seen = [0]
    while (now := time.monotonic()) < end:
        worker.check(end + 1, "a calm time")
        if now > end - BASELINE_SECONDS:
            seen.append(lag(app))
        time.sleep(LOOK_SECONDS)
    return max(seen)


def wait_for_lag(app: Application, worker: Worker, most: int) -> None:
    app.wait(worker, lambda: lag(app) <= most, f"a lag of {most} at most", LOOK_SECONDS)


def lag(app: Application) -> int:
    """How many records of the input are not committed yet, while nothing is lost."""
    done = committed(app)
    sent = sum(observe.end_offsets(app.bench.brokers, app.source).values())
    if done > sent:
        raise RunFailedError(f"{done} records are committed, of {sent}")
    return sent - done


def committed(app: Application) -> int:
    return observe.committed_records(app.bench.topics.admin, app.id, app.source)


def restored_records(log: str) -> int:
    """How many records a worker has read of its changelogs, as it says itself."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith('{"at"')]
    theirs = sum(line["records"] for line in lines if line.get("restore") == "end")
    return theirs + sum(map(int, _RESTORED.findall(log)))
