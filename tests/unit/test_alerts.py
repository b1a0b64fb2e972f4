"""Alerts: each rule begins and ends where it should, once, and destinations harm nobody."""

import copy
import http.server
import json
import logging
import threading
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

import penstock as ps
from penstock import alerts
from penstock.query.alerting import Alerts
from penstock.query.monitor import NOTHING_YET, Monitor, StoreView, TaskView
from penstock.query.progress import (
    PartitionProgress,
    Progress,
    SinkProgress,
    SourceProgress,
    StateOperatorProgress,
    iso,
    query_id,
)
from penstock.query.query import Query
from penstock.query.rules import Look, Rule
from penstock.secret import Secret


def progress(**changed: Any) -> Progress:
    """A record of progress."""
    one = Progress(
        id=query_id("app"),
        run_id=uuid.UUID(int=1),
        name="app",
        timestamp=iso(0),
        batch_id=1,
        batch_duration=1,
        num_input_rows=100,
        input_rows_per_second=1.0,
        processed_rows_per_second=1.0,
        duration_ms={},
        event_time={},
        state_operators=(),
        sources=(),
        sink=SinkProgress(description="", num_output_rows=0),
    )
    return msgspec.structs.replace(one, **changed)


def near(ms: int | None, offsets: int | None) -> Progress:
    """A record of progress with one partition that is so far from retention."""
    at = PartitionProgress(retention_headroom_ms=ms, retention_headroom_offsets=offsets)
    source = SourceProgress(
        description="",
        start_offset={},
        end_offset={},
        latest_offset={},
        num_input_rows=0,
        input_rows_per_second=0.0,
        processed_rows_per_second=0.0,
        metrics={},
        partitions={"orders": {"3": at}},
    )
    return progress(sources=(source,))


def rows(total: int) -> Progress:
    """A record of progress with a store of so many keys."""
    return progress(
        state_operators=(StateOperatorProgress(operator_name="s", num_rows_total=total),)
    )


def restoring(remaining: int) -> tuple[TaskView, ...]:
    """A task whose store is being restored, or is not any more."""
    store = StoreView(name="s", restored=remaining == 0, remaining=remaining)
    return (TaskView(sub_topology=0, partition=2, inputs={}, lag={}, phase="", stores=(store,)),)


BEGIN = [
    # rule, looks, and at which of them it is firing
    (alerts.terminated(), [Look(0), Look(1, ended=True, error="boom")], [False, True]),
    (alerts.terminated(), [Look(0, ended=True)], [False]),
    (alerts.terminated(on_stop=True), [Look(0, ended=True)], [True]),
    (
        alerts.falling_behind(records=2),
        [Look(n, [progress(lag=lag)]) for n, lag in enumerate([5, 6, 7, 8, 8, 9])],
        [False, False, True, True, False, False],
    ),
    (
        alerts.falling_behind(records=2),
        [Look(0, [progress(lag=1), progress(lag=2), progress(lag=3)]), Look(1)],
        [True, True],
    ),
    (
        alerts.lag(over=10, lasting="2s"),
        [Look(n, [progress(lag=lag)]) for n, lag in enumerate([11, 11, 11, 10, 11])],
        [False, False, True, False, False],
    ),
    (
        alerts.late(over=0.1, of_records=200),
        [Look(n, [progress(num_late_rows=late)]) for n, late in enumerate([0, 21, 0, 20, 0])],
        [False, True, True, False, False],
    ),
    (alerts.state(over_rows=10), [Look(0, [rows(10)]), Look(1, [rows(11)]), Look(2)],
     [False, True, True]),
    (
        alerts.restore(longer_than="2s"),
        [Look(n, tasks=restoring(left)) for n, left in enumerate([9, 8, 7, 6, 0, 5])],
        [False, False, False, True, False, False],
    ),
    (
        alerts.failed_records(over=2, within="2s"),
        [Look(n, [progress(num_failed_rows=failed)]) for n, failed in enumerate([2, 1, 0, 0, 3])],
        [False, True, True, False, True],
    ),
    (
        alerts.retention_headroom(less_than="1m", offsets=5),
        [Look(0, [near(None, None)]), Look(1, [near(60_000, 5)]), Look(2, [near(59_999, 9)]),
         Look(3), Look(4, [near(None, 4)]), Look(5, [near(None, 6)])],
        [False, False, True, True, True, False],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "looks", "expected"), BEGIN, ids=[r.name for r, *_ in BEGIN])
def test_a_rule_fires_when_it_should(rule: Rule, looks: list[Look], expected: list[bool]) -> None:
    own = copy.deepcopy(rule)
    assert [own.judge(look) is not None for look in looks] == expected


class Kept:
    """A destination that keeps what it gets."""

    def __init__(self) -> None:
        self.found: list[alerts.Alert] = []

    def send(self, alert: alerts.Alert, write: object) -> None:
        self.found.append(alert)


class Broken:
    """A destination that fails."""

    def send(self, alert: alerts.Alert, write: object) -> None:
        raise RuntimeError("no way")


def made(watch: Alerts) -> tuple[Monitor, Query]:
    """A monitor and a query that alerts look at."""
    app = ps.App("app")
    app.stream("in", value=str).to("out")
    monitor = Monitor(app.topology(), uuid.UUID(int=7))
    monitor.look = lambda: NOTHING_YET
    watch.bind(monitor, lambda: 0)
    return monitor, Query(monitor, lambda: None)


def wait_for(found: list[Any], count: int) -> None:
    deadline = time.monotonic() + 5
    while len(found) < count:
        assert time.monotonic() < deadline, found
        time.sleep(0.01)


def test_an_alert_is_told_once_and_when_it_is_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("penstock.query.alerting.LOOK_S", 0.01)
    kept = Kept()
    watch = alerts.alerts(alerts.lag(over=5, lasting="0ms"), to=[Broken(), kept])
    monitor, query = made(watch)
    watch.on_query_started(query)
    watch.on_query_progress(query, progress(lag=6))
    wait_for(kept.found, 1)
    watch.on_query_progress(query, progress(lag=7))
    time.sleep(0.1)
    watch.on_query_progress(query, progress(lag=5))
    wait_for(kept.found, 2)
    watch.on_query_terminated(query, None)
    assert [(a.rule, a.state, a.text) for a in kept.found] == [
        ("lag", "firing", "6 records wait, of 5 that may."),
        ("lag", "resolved", "7 records wait, of 5 that may."),
    ]
    assert kept.found[0].run_id == str(monitor.run_id)
    assert "could not be sent to broken" in caplog.text


def test_what_lasts_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.query.alerting.LOOK_S", 0.01)
    kept = Kept()
    watch = alerts.alerts(alerts.lag(over=5, lasting="0ms"), to=[kept], again="50ms")
    _, query = made(watch)
    watch.on_query_started(query)
    watch.on_query_progress(query, progress(lag=6))
    wait_for(kept.found, 3)
    watch.on_query_terminated(query, None)
    assert {a.state for a in kept.found} == {"firing"}


def test_a_query_that_fails_before_it_begins_is_told() -> None:
    kept = Kept()
    watch = alerts.alerts(alerts.terminated(), to=[kept])
    _, query = made(watch)
    watch.on_query_terminated(query, ps.BrokerError("No broker."))
    assert [a.text for a in kept.found] == ["The query has ended: No broker."]


def test_the_log_gets_what_goes_nowhere_else(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "penstock")
    watch = alerts.alerts(alerts.terminated())
    _, query = made(watch)
    watch.on_query_terminated(query, ps.BrokerError("No broker."))
    assert "Alert terminated is firing: The query has ended: No broker." in caplog.text


@contextmanager
def receiver(status: int) -> Generator[tuple[int, list[Any]]]:
    """An HTTP server that answers so; its port, and what it got."""
    got: list[Any] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, self.headers["Authorization"], json.loads(body)))
            self.send_response(status)
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1], got
        server.shutdown()


def test_a_webhook_gets_json() -> None:
    with receiver(204) as (port, got):
        to = alerts.to_webhook(
            f"http://127.0.0.1:{port}/hook?token=abc", headers={"Authorization": "Bearer 12345678"}
        )
        watch = alerts.alerts(alerts.terminated(), to=[to])
        _, query = made(watch)
        watch.on_query_terminated(query, ps.BrokerError("No broker."))
    [(path, authorization, body)] = got
    assert (path, authorization) == ("/hook?token=abc", "Bearer 12345678")
    assert body["text"] == "app: The query has ended: No broker."
    assert body["rule"] == "terminated"


@pytest.mark.parametrize("status", [302, 500])
def test_a_webhook_that_fails_shows_no_secret(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with receiver(status) as (port, got):
        to = alerts.to_webhook(
            Secret(f"http://127.0.0.1:{port}/hush-hush"), headers={"Authorization": "hush-hush"}
        )
        watch = alerts.alerts(alerts.terminated(), to=[to])
        _, query = made(watch)
        watch.on_query_terminated(query, ps.BrokerError("No broker."))
    assert len(got) == 1
    assert f"could not be sent to webhook 127.0.0.1: 127.0.0.1 answers {status}" in caplog.text
    assert "hush-hush" not in caplog.text + repr(to)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: alerts.alerts(), "has no rule"),
        (lambda: alerts.lag(over=-1), "Pass 0 or more"),
        (lambda: alerts.late(over=1.5), "Pass 0.01"),
        (lambda: alerts.state(over_rows=0), "Pass 1 or more"),
        (lambda: alerts.falling_behind(records=0), "Pass 1 or more"),
        (lambda: alerts.to_webhook("ftp://example"), "begins with https://"),
        (lambda: alerts.to_topic("no spaces"), "no spaces"),
        (lambda: alerts.restore(longer_than="soon"), "not a duration"),
    ],
)
def test_what_is_wrong_is_refused(wrong: Any, said: str) -> None:
    with pytest.raises(ps.TopologyError, match=said):
        wrong()
