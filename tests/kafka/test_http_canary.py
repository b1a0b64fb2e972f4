"""Secrets are canaries: no endpoint shows one, nor what stands in records, whoever asks."""

import dataclasses
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import penstock as ps
from penstock.testing.kafka_server import KafkaServer
from tests.kafka import checking
from tests.kafka.conftest import TopicFactory
from tests.kafka.feeding import Row, feed
from tests.kafka.test_canary import MARK, RECORD, application
from tests.web import Web, free_port

pytestmark = pytest.mark.kafka

TOKEN = f"{MARK}token-0123456789"
PATHS = (
    "/", "/status", "/progress", "/topology", "/problems", "/metrics", "/application", "/healthz",
    "/readyz", "/no-such-path", f"/{RECORD}", f"/status?x={RECORD}", f"/progress?last={RECORD}",
)  # fmt: skip
HOSTILE = "<script>alert(1)</script>"


def test_no_endpoint_shows_a_secret_or_a_record(
    kafka: KafkaServer,
    topic: TopicFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Everything is logged, records fail, and callers show the token, a wrong one, and none."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.delenv("PENSTOCK_HTTP")
    servers, web = kafka.bootstrap_servers, Web(free_port())
    source, out, dead = topic("in", 1), topic("out", 1), topic("dead", 1)
    app = application(servers, tmp_path, source, out, id=f"{out}-app")
    app.on_error = ps.dead_letter(dead, max_ratio=1, payload=False)
    http = ps.HttpSettings(port=web.port, next_port=False, token=TOKEN)
    app.settings = dataclasses.replace(app.settings, http=http)
    told: list[tuple[str, Any]] = []
    shown = {"Authorization": f"Bearer {TOKEN}"}
    query = app.start()
    try:
        web.wait_until(web.ready, "it is ready")
        listening = threading.Thread(
            target=lambda: told.extend(web.events("/events", **shown)), daemon=True
        )
        listening.start()
        feed(servers, source, [Row(RECORD, f"{RECORD} {n}") for n in range(50)])
        headers = [(HOSTILE, RECORD.encode())]
        feed(servers, source, [Row(f"{HOSTILE}{RECORD}", "bad", headers=headers)] * 3)
        web.wait_until(
            lambda: len(web.json("/problems", **shown)["problems"]) == 3, "three have failed"
        )
        web.wait_until(
            lambda: web.json("/application", **shown)["progress"] is not None, "it is summed"
        )
        answers = dict(asked(web, shown))
    finally:
        query.stop("20s")
    listening.join(5)
    published = checking.read(servers, f"{app.id}-progress").records
    assert any(name == "progress" for name, _ in told)
    assert len(published) > 1
    places = {**answers, "events": json.dumps(told), "the progress topic": repr(published)}
    places |= {"the log": caplog.text, "repr": repr(app.settings)}
    # What librdkafka does with records it does not log; our own log names coordinates alone.
    assert [place for place, text in places.items() if MARK in text] == []
    assert [place for place, text in answers.items() if HOSTILE in text] == []
    assert query.exception() is None


def asked(web: Web, shown: dict[str, str]) -> Iterator[tuple[str, str]]:
    """What all kinds of callers get, bodies and headers."""
    callers = {
        "with the token": shown,
        "with a wrong one": {"Authorization": f"Bearer {TOKEN}x"},
        "with none": {},
        "from elsewhere": {**shown, "Host": RECORD},
    }
    for who, headers in callers.items():
        for path in PATHS:
            for method in ("GET", "HEAD", "POST"):
                found = web.get(path, method, **headers)
                yield f"{method} {path} {who}", f"{found.headers}{found.body.decode()}"
    opened = web.get(f"/?token={TOKEN}")
    yield "the cookie", str(opened)
