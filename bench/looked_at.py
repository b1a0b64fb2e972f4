"""What it costs Penstock to be looked at, and how it answers while it works.

- overhead: the count with all that it tells (a topic, metrics, a page that is open), beside the
  same count that tells nothing. Runs come in pairs, the other one first every time.
- http: keys of its table are asked for over HTTP while it works at half load.
- idle: a worker that has nothing to do.
"""

import json
import secrets
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from bench import RunFailedError, observe, pacer
from bench.engines import ROOT, Engine
from bench.topics import Input
from bench.worker import Worker
from bench.workloads import Bench, Figures, application, paced, throughput

PAIRS = 5
SCRAPE_SECONDS = 1.0
HALF_LOAD = 60_000  # records/s; `busy` says what it is of a core
LINGER_MS = 20
WARM_UP_SECONDS = 8.0
QUESTIONS, ASKING_SECONDS = 2_050, 10.0
IDLE_SECONDS = 30.0
TOLD_NOTHING = {"PENSTOCK_HTTP": "off"}


def overhead(bench: Bench, engine: Engine, source: Input) -> Figures:
    """The medians of pairs: what is left of the rate, and how much processor it takes."""
    rates: list[float] = []
    costs: list[float] = []
    for number in range(PAIRS):
        if number % 2:
            on, off = watched(bench, engine, source), alone(bench, engine, source)
        else:
            off, on = alone(bench, engine, source), watched(bench, engine, source)
        rates.append(on["records_per_s"] / off["records_per_s"])
        costs.append(on["cpu_s_per_million"] / off["cpu_s_per_million"])
    return {"rate_ratio": statistics.median(rates), "cpu_ratio": statistics.median(costs)}


def alone(bench: Bench, engine: Engine, source: Input) -> Figures:
    return throughput(bench, engine, "count", source, publish=False, environment=TOLD_NOTHING)


def watched(bench: Bench, engine: Engine, source: Input) -> Figures:
    port = free_port()
    with watching(port):
        return throughput(bench, engine, "count", source, environment=serving(port))


def http(bench: Bench, engine: Engine) -> Figures:
    """Ask while the worker works: once its table has all keys."""
    source = bench.topics.create(f"bench-asked-{secrets.token_hex(4)}")
    port = free_port()
    seconds = WARM_UP_SECONDS + ASKING_SECONDS + 10
    try:
        with (
            application(bench, engine, "count", source) as app,
            app.worker(environment=serving(port)) as worker,
            paced(bench, source, HALF_LOAD, seconds, linger_ms=LINGER_MS),
        ):
            app.wait(
                worker,
                lambda: observe.committed_records(bench.topics.admin, app.id, source) > pacer.KEYS,
                "a table with all keys",
                0.2,
            )
            time.sleep(WARM_UP_SECONDS / 2)
            busy = share(worker, WARM_UP_SECONDS / 2)
            answers = ask(port)
    finally:
        bench.topics.delete(source)
    if set(answers["codes"]) != {"200"}:
        raise RunFailedError(f"answers were {answers['codes']}")
    return {
        "busy": busy,
        "answers_per_s": answers["answers/s"],
        "p50_ms": answers["p50 ms"],
        "p99_ms": answers["p99 ms"],
    }


def idle(bench: Bench, engine: Engine) -> Figures:
    """A worker whose topic is empty; it serves its page and tells that it is idle."""
    source = bench.topics.create(f"bench-idle-{secrets.token_hex(4)}")
    port = free_port()
    try:
        with (
            application(bench, engine, "count", source) as app,
            app.worker(environment=serving(port)) as worker,
        ):
            app.wait(worker, lambda: answers_at(port), "its page", 0.2)
            time.sleep(WARM_UP_SECONDS)
            return {"busy": share(worker, IDLE_SECONDS), "peak_mb": worker.usage.peak_bytes / 1e6}
    finally:
        bench.topics.delete(source)


def ask(port: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.http_load", "--port", str(port)]
    command += ["--rate", str(QUESTIONS), "--seconds", str(ASKING_SECONDS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise RunFailedError(f"nobody answers\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def share(worker: Worker, seconds: float) -> float:
    """Return what part of a core a worker takes, in percent."""
    began = time.time_ns()
    time.sleep(seconds)
    ended = time.time_ns()
    used = worker.usage.cpu_at(ended) - worker.usage.cpu_at(began)
    return 100 * used / ((ended - began) / 1e9)


@contextmanager
def watching(port: int) -> Iterator[None]:
    """Read the metrics every second, and listen as an open page does."""
    over = threading.Event()

    def scrape() -> None:
        while not over.wait(SCRAPE_SECONDS):
            with suppress(OSError):
                get(port, "metrics").read()

    def listen() -> None:
        while not over.is_set():
            with suppress(OSError), get(port, "events") as events:
                while not over.is_set() and events.readline():
                    pass
            over.wait(0.1)

    threads = [threading.Thread(target=of, daemon=True) for of in (scrape, listen)]
    for thread in threads:
        thread.start()
    yield
    over.set()
    for thread in threads:
        thread.join()


def answers_at(port: int) -> bool:
    try:
        return bool(get(port, "healthz").status == 200)
    except OSError:
        return False


def get(port: int, path: str) -> Any:
    return urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5)


def serving(port: int) -> dict[str, str]:
    return {"PENSTOCK_HTTP": f"127.0.0.1:{port}"}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
