"""The supervisor's server, in front of workers that nobody runs: their servers are real."""

import http.client
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from penstock.query.web.combining import Combining, Scraped
from penstock.query.web.front import serve_front
from penstock.query.web.team import Team
from tests.unit.shown import TOKEN, Shown, address, task
from tests.web import Web, free_port


class Troop:
    """Workers and what stands in front of them."""

    def __init__(self, *workers: Shown, token: str | None = None) -> None:
        self.workers = workers
        self.team = Team(len(workers))
        self._token = token

    @contextmanager
    def served(self) -> Iterator[Web]:
        with ExitStack() as stack:
            for number, shown in enumerate(self.workers):
                serving = stack.enter_context(shown.serving(token=self._token))
                self.team.started(number, 100 + number)
                self.team.serves(number, serving.port, self._token)
            port = free_port()
            server = serve_front(address(port=port), self.team)
            stack.callback(server.close)
            yield Web(port)


def a_worker(number: int) -> Shown:
    shown = Shown()
    shown.monitor.instance_id = f"host-{number}"
    shown.show("Processing", task(partition=number))
    return shown


def test_the_status_holds_all_workers_and_their_tasks() -> None:
    with Troop(a_worker(0), a_worker(1)).served() as web:
        status = web.json("/status")
    assert status["name"] == "shop"
    assert [task["partition"] for task in status["tasks"]] == [0, 1]
    assert [of["instanceId"] for of in status["workers"]] == ["host-0", "host-1"]
    assert [(of["number"], of["pid"], of["restarts"]) for of in status["workers"]] == [
        (0, 100, 0),
        (1, 101, 0),
    ]


def test_what_is_not_of_all_is_the_first_workers_who_answers() -> None:
    troop = Troop(a_worker(0), a_worker(1))
    with troop.served() as web:
        assert web.json("/topology")["mermaid"].startswith("flowchart")
        assert next(web.events("/events"))[1]["instanceId"] == "host-0"
        assert web.json("/workers/1/status")["instanceId"] == "host-1"
        assert web.get("/progress?last=0").status == 400
        assert web.get("/no-such").status == 404
        assert web.get("/topology", "HEAD").body == b""
        troop.team.serves(0, free_port(), None)  # it has just been killed
        assert next(web.events("/events"))[1]["instanceId"] == "host-1"
        troop.team.ended(0)
        assert next(web.events("/events"))[1]["instanceId"] == "host-1"
        assert web.get("/workers/7/status").status == 404
        found = web.get("/workers/0/status")
        assert (found.status, found.headers["retry-after"]) == (503, "1")


def test_nobody_answers_yet() -> None:
    team = Team(2)
    port = free_port()
    server = serve_front(address(port=port), team)
    try:
        web = Web(port)
        assert web.get("/topology").status == 503
        assert web.json("/status")["status"]["message"] == "Initializing"
        assert web.get("/healthz").status == 200
        assert web.get("/readyz").json()["error"].count("does not answer") == 2
        assert 'penstock_workers{state="down"} 2.0' in web.get("/metrics").body.decode()
    finally:
        server.close()


def test_health_is_that_of_all() -> None:
    workers = [a_worker(0), a_worker(1)]
    troop = Troop(*workers)
    with troop.served() as web:
        assert (web.get("/healthz").status, web.get("/readyz").status) == (200, 200)
        workers[1].show("Restoring state (0 of 1 stores)", task("restoring"))
        found = web.get("/readyz")
        assert found.status == 503
        assert "Worker 1: Restoring state" in found.json()["error"]
        assert web.get("/healthz").status == 200
        workers[1].silent_s = 61
        assert "Worker 1: The worker's loop" in web.get("/healthz").json()["error"]
        troop.team.ended(1)
        assert web.get("/healthz").status == 200, "it is started again"
        assert web.get("/readyz").status == 503


def test_metrics_are_summed() -> None:
    workers = [a_worker(0), a_worker(1)]
    workers[0].monitor.totals.dropped = 3
    workers[1].monitor.totals.dropped = 4
    workers[0].silent_s = 9.0
    with Troop(*workers).served() as web:
        text = web.get("/metrics").body.decode()
    assert "\npenstock_dropped_records_total 7.0\n" in text
    assert "\npenstock_loop_silent_seconds 9.0\n" in text
    assert 'penstock_tasks{phase="running"} 2.0' in text
    assert 'penstock_lag_records{partition="0",topic="words"} 5.0' in text
    assert 'penstock_lag_records{partition="1",topic="words"} 5.0' in text
    assert text.count("penstock_info{") == 2
    assert 'penstock_workers{state="up"} 2.0' in text


def test_a_token_of_the_workers_is_the_supervisors_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    troop = Troop(a_worker(0), token=TOKEN)
    with troop.served() as web:
        for path in ("/status", "/topology", "/metrics", "/workers/0/status"):
            assert web.get(path).status == 401
            assert web.get(path, Authorization=f"Bearer {TOKEN}").status == 200
        cookie = web.get(f"/?token={TOKEN}").headers["set-cookie"].split("; ")[0]
        assert web.get("/topology", Cookie=cookie).status == 200
        assert web.get("/readyz").status == 200
    assert TOKEN not in caplog.text + repr(troop.team.members)


def test_an_answer_that_breaks_off_is_not_taken_for_the_whole(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The worker is killed in the middle of it; that is no error of ours."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer_a_part() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[1, ")

        threading.Thread(target=answer_a_part, daemon=True).start()
        troop = Troop(a_worker(0))
        with troop.served() as web:
            troop.team.serves(0, listener.getsockname()[1], None)
            with pytest.raises(http.client.IncompleteRead):
                web.get("/topology")
    assert not [of for of in caplog.records if of.levelno >= logging.WARNING]


def test_restarts_are_counted() -> None:
    team = Team(1)
    for pid in (1, 2, 3):
        team.started(0, pid)
        team.ended(0)
    assert team.members[0].restarts == 2


# Sums

WORKER = """\
# HELP mine_total Mine.
# TYPE mine_total counter
mine_total{{a="x"}} {count}
# HELP depth Mine too.
# TYPE depth gauge
depth {depth}
# HELP took_seconds Mine as well.
# TYPE took_seconds histogram
took_seconds_bucket{{le="1.0"}} {count}
took_seconds_bucket{{le="+Inf"}} {count}
took_seconds_sum 1.5
took_seconds_count {count}
# HELP penstock_ready R.
# TYPE penstock_ready gauge
penstock_ready {ready}
# HELP penstock_latency_seconds L.
# TYPE penstock_latency_seconds gauge
penstock_latency_seconds{{quantile="0.5"}} {depth}
"""


def test_each_metric_has_its_rule() -> None:
    texts = {
        0: Scraped(0, WORKER.format(count=3, depth=5, ready=1)),
        1: Scraped(0, WORKER.format(count=4, depth=2, ready=0)),
    }
    own = [("penstock_worker_restarts_total", {"worker": "1"}, 6)]
    lines = Combining().combined(texts, own).decode().splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        'mine_total{a="x"} 7.0',
        'depth{worker="0"} 5.0',
        'depth{worker="1"} 2.0',
        'took_seconds_bucket{le="1.0"} 7.0',
        'took_seconds_bucket{le="+Inf"} 7.0',
        "took_seconds_sum 3.0",
        "took_seconds_count 7.0",
        "penstock_ready 0.0",
        'penstock_latency_seconds{quantile="0.5"} 5.0',
        'penstock_worker_restarts_total{worker="1"} 6.0',
    ]
    assert "# TYPE penstock_worker_restarts_total counter" in lines


def test_labels_that_are_hostile_stay_labels() -> None:
    text = '# TYPE m_total counter\nm_total{t="a\\"b\\\\c\\n<x>"} 1\n'
    both = {number: Scraped(0, text) for number in (0, 1)}
    assert Combining().combined(both, []).decode().splitlines()[-1] == (
        'm_total{t="a\\"b\\\\c\\n<x>"} 2.0'
    )


def test_a_sum_of_counters_never_falls_when_workers_end_and_begin_anew() -> None:
    combining = Combining()

    def total(**workers: tuple[int, int]) -> str:
        scraped = {
            int(number[1:]): Scraped(run, f"# TYPE m_total counter\nm_total {count}\n")
            for number, (run, count) in workers.items()
        }
        return combining.combined(scraped, []).decode().splitlines()[-1]

    assert total(w0=(0, 5), w1=(0, 10)) == "m_total 15.0"
    assert total(w0=(0, 6)) == "m_total 16.0", "one is down"
    assert total(w0=(0, 6), w1=(1, 1)) == "m_total 17.0", "it is back"
    assert total(w0=(0, 6), w1=(1, 2)) == "m_total 18.0"
    assert total() == "m_total 18.0"
    assert total(w0=(1, 0), w1=(2, 0)) == "m_total 18.0"
    assert total(w0=(1, 1), w1=(2, 1)) == "m_total 20.0"
