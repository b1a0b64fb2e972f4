"""The applications of the benchmark on Penstock: public API only, every setting at its default.

`bench/java/BenchStreams.java` holds the same on Kafka Streams, but for the last ones, with the
same arguments:

    python -m bench.apps map|count|regroup|tumbling|hopping|sliding|session|... --brokers B
        --in TOPIC --out TOPIC --app-id ID --state-dir DIR [--leave yes] [--session-ms MS]
        [--dead TOPIC] [--publish no]

The grace of windows is BENCH_GRACE_MS, 0 if that is not set. They run until SIGTERM. Nothing is
measured here: bench/observe.py and bench/worker.py look at both engines from outside.
"""

import argparse
import os
from pathlib import Path
from typing import Any

import msgspec

import penstock as ps

GRACE_MS = int(os.environ.get("BENCH_GRACE_MS", "0"))


class Event(msgspec.Struct):
    id: str
    user: str
    session: str
    page: str
    status: int
    cents: int
    at: int
    mobile: bool


def convert(event: Event) -> Event:
    event.cents = event.cents * 11 // 10
    return event


def declare_map(app: ps.App, source: str, sink: str) -> None:
    app.stream(source, key=str, value=Event).map(convert).to(sink)


def convert_strictly(event: Event) -> Event:
    if event.cents < 0:
        raise ValueError("negative cents")
    return convert(event)


def declare_strict(app: ps.App, source: str, sink: str) -> None:
    app.stream(source, key=str, value=Event).map(convert_strictly).to(sink)


def declare_count(app: ps.App, source: str, sink: str) -> None:
    app.stream(source, key=str, value=Event).group_by_key().count(name="counts").to(sink)


def declare_regroup(app: ps.App, source: str, sink: str) -> None:
    events = app.stream(source, key=str, value=Event)
    events.group_by("user", name="by-user").count(name="counts").to(sink)


def windowed(app: ps.App, source: str, window: Any) -> ps.WindowedTable[str, int]:
    events = app.stream(source, key=str, value=Event).group_by_key()
    return events.window(window, grace=f"{GRACE_MS}ms").count(name="counts")


def declare_tumbling(app: ps.App, source: str, sink: str) -> None:
    windowed(app, source, ps.tumbling("10s")).to(sink)


def declare_hopping(app: ps.App, source: str, sink: str) -> None:
    windowed(app, source, ps.hopping("10m", "1m")).to(sink)


def declare_sliding(app: ps.App, source: str, sink: str) -> None:
    windowed(app, source, ps.sliding("10s")).to(sink)


def declare_session(app: ps.App, source: str, sink: str) -> None:
    windowed(app, source, ps.session("2s")).to(sink)


def declare_append(app: ps.App, source: str, sink: str) -> None:
    windowed(app, source, ps.tumbling("10s")).to(sink, output_mode="append")


def declare_agg(app: ps.App, source: str, sink: str) -> None:
    events = app.stream(source, key=str, value=Event).group_by_key()
    events.agg(
        name="counts",
        n=ps.count(),
        total=ps.sum("cents"),
        least=ps.min("cents"),
        most=ps.max("cents"),
        mean=ps.mean("cents"),
    ).to(sink)


def declare_pairs(app: ps.App, source: str, sink: str) -> None:
    texts = app.stream(source, key=str, value=bytes).group_by_key()
    texts.window(ps.tumbling("10s"), grace="1h").count(name="counts").to(sink)


DECLARE = {
    "pairs": declare_pairs,
    "tumbling": declare_tumbling,
    "hopping": declare_hopping,
    "sliding": declare_sliding,
    "session": declare_session,
    "append": declare_append,
    "agg": declare_agg,
    "map": declare_map,
    "count": declare_count,
    "regroup": declare_regroup,
    "strict": declare_strict,
}


def settings(*, leave: bool, session_ms: int | None, publish: bool) -> ps.Settings:
    session = {} if session_ms is None else {"session_timeout_ms": session_ms}
    return ps.Settings(
        kafka=ps.KafkaSettings(**session),
        worker=ps.WorkerSettings(leave=leave),
        progress=ps.ProgressSettings(publish=publish),
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.apps")
    parser.add_argument("workload", choices=DECLARE)
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--in", dest="source", required=True)
    parser.add_argument("--out", dest="sink", required=True)
    parser.add_argument("--app-id", required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--leave", choices=("yes", "no"), default="no")
    parser.add_argument("--session-ms", type=int)
    parser.add_argument("--publish", choices=("yes", "no"), default="yes")
    parser.add_argument("--dead", help="a topic for records that fail; else they stop the worker")
    options = parser.parse_args()
    app = ps.App(
        options.app_id,
        brokers=options.brokers,
        state_dir=options.state_dir,
        settings=settings(
            leave=options.leave == "yes",
            session_ms=options.session_ms,
            publish=options.publish == "yes",
        ),
        on_error=ps.dead_letter(options.dead, max_ratio=0.1) if options.dead else "fail",
    )
    DECLARE[options.workload](app, options.source, options.sink)
    app.run()


if __name__ == "__main__":
    main()
