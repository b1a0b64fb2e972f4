"""Who may ask, and what every answer carries: by a real server, on real sockets."""

import json
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from penstock.query.web import feed as feed_module
from penstock.query.web import server as server_module
from tests.unit.shown import TOKEN, Shown, raw
from tests.web import Answer, Web

ENDPOINTS = (
    "/status", "/progress", "/topology", "/problems", "/metrics", "/events", "/healthz", "/readyz",
)  # fmt: skip
HOSTILE = "<script>alert(1)</script>\"'&\r\nX-Evil: 1\x00é"


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    """One that anybody on this host may ask."""
    with Shown().served() as web:
        yield web


@pytest.fixture(scope="module")
def guarded() -> Iterator[Web]:
    """One with a token."""
    with Shown().served(token=TOKEN) as web:
        yield web


def check_headers(found: Answer) -> None:
    headers = found.headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["content-security-policy"].startswith("default-src 'self';")
    assert headers["cache-control"] == "no-store"
    assert not [name for name in headers if name.startswith("access-control")]
    assert "server" not in headers


def check_refused(found: Answer, status: int) -> None:
    assert found.status == status, found
    assert found.headers["content-type"] == "application/json"
    told = found.json()
    assert set(told) == {"error", "reason"}
    assert "Traceback" not in told["error"]
    check_headers(found)


@pytest.mark.parametrize("path", [*ENDPOINTS, "/no-such-path"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_nothing_can_be_changed(path: str, method: str, web: Web) -> None:
    found = web.get(path, method)
    check_refused(found, 405)
    assert found.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", [path for path in ENDPOINTS if path != "/events"])
def test_every_answer_has_the_headers_and_head_has_no_body(path: str, web: Web) -> None:
    found = web.get(path)
    assert found.status == 200
    check_headers(found)
    head = web.get(path, "HEAD")
    assert (head.status, head.body) == (200, b"")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "["]
)
def test_a_page_of_another_name_gets_nothing_on_loopback(host: str, web: Web) -> None:
    check_refused(web.get("/status", Host=host), 403)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:99", "127.0.0.1", "[::1]:8321"])
def test_loopback_has_several_names(host: str, web: Web) -> None:
    assert web.get("/status", Host=host).status == 200


def test_no_answer_holds_a_name_that_the_caller_has_chosen() -> None:
    """No absolute address is made of a Host header, and no path is told back."""
    with Shown().served(host="0.0.0.0", token=TOKEN) as web:
        for path in ("/status", "/no-such", "/status/", "//evil.example/", f"/?token={TOKEN}"):
            found = web.get(
                path, Host="evil.example", X_Forwarded_Host="evil.example",
                Authorization=f"Bearer {TOKEN}" if "token" not in path else "",
            )  # fmt: skip
            assert "evil" not in str(found)


def test_the_head_of_what_never_ends_ends(web: Web) -> None:
    found = web.get("/events", "HEAD")
    assert (found.status, found.body) == (200, b"")
    assert found.headers["content-type"].startswith("text/event-stream")


# The token


@pytest.mark.parametrize("path", [*(p for p in ENDPOINTS if not p.endswith("z")), "/", "/x"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Authorization": "Bearer \xe9"},
        {"Cookie": f"penstock={TOKEN}"},
        {"Cookie": "a=b; =; \xe9"},
    ],
    ids=str,
)
def test_without_the_token_nothing_is_told(
    path: str, headers: dict[str, str], guarded: Web
) -> None:
    found = guarded.get(path, **headers)
    check_refused(found, 401)
    assert found.headers["www-authenticate"].startswith("Bearer")
    assert TOKEN not in str(found)


def test_with_the_token_all_is_told_and_health_without(guarded: Web) -> None:
    for header in (f"Bearer {TOKEN}", f"bearer  {TOKEN} "):
        assert guarded.json("/status", Authorization=header)["name"] == "shop"
    assert guarded.json("/healthz") == {"status": "alive"}
    assert guarded.json("/readyz") == {"status": "ready"}


def test_a_browser_changes_the_token_for_a_cookie(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with Shown().served(token=TOKEN) as web:
        check_refused(web.get(f"/?token={TOKEN}x"), 401)
        check_refused(web.get(f"/status?token={TOKEN}"), 401)
        opened = web.get(f"/?token={TOKEN}&x=1")
        assert (opened.status, opened.headers["location"]) == (303, "./")
        check_headers(opened)
        cookie, *flags = opened.headers["set-cookie"].split("; ")
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(flags)
        assert TOKEN not in cookie
        assert web.get("/status", Cookie=f"a=b; {cookie}").status == 200
        assert next(web.events("/events", Cookie=cookie))[0] == "status"
        check_refused(web.get("/status", Cookie=cookie[:-1]), 401)
    with Shown().served(token=f"{TOKEN}-another") as web:
        check_refused(web.get("/status", Cookie=cookie), 401)
    assert TOKEN not in caplog.text


# What is hostile


@pytest.mark.parametrize(
    "path",
    [
        "/%3Cscript%3Ealert(1)%3C/script%3E",
        "/progress?last=%3Cscript%3E",
        "/stores/%00%0d%0aX:1",
        "/%ff%fe",
    ],
)
def test_nothing_that_was_sent_is_told_back(path: str, web: Web) -> None:
    found = web.get(path, X_Name="<script>", Cookie="<script>")
    check_refused(found, 400 if "?" in path else 404)
    assert b"script" not in found.body


@pytest.mark.parametrize("last", ["", "0", "-1", "1e3", "101", "9" * 5_000, "٣", "1&last=x"])
def test_a_wrong_number_is_refused(last: str, web: Web) -> None:
    check_refused(web.get(f"/progress?last={quote(last, safe='&=')}"), 400)


def test_names_of_the_run_arrive_as_data_and_nothing_else() -> None:
    """A topic or a message may hold what it likes: JSON is sent as JSON, and never sniffed."""
    shown = Shown()
    shown.show(HOSTILE)
    with shown.served() as web:
        found = web.get("/status")
        assert found.headers["content-type"] == "application/json"
        assert found.json()["status"]["message"] == HOSTILE
        told = web.events("/events")
        assert next(told)[1]["status"]["message"] == HOSTILE
        assert next(told)[0] == "status"


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /" + b"x" * 20_000,
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 20_000,
        b"GET / HTTP/1.1\r\n\r\n",
        b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 5_000 + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS",
        b"<script>alert(1)</script>\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
    ids=lambda request: str(request[:20]),
)
def test_what_is_no_request_is_refused_in_json(
    request_: bytes, caplog: pytest.LogCaptureFixture, web: Web
) -> None:
    caplog.set_level(logging.DEBUG)
    head, _, body = raw(web.port, request_).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert b"nosniff" in head
    assert json.loads(body)["reason"] == "bad-request"
    assert web.get("/status").status == 200
    assert not [of for of in caplog.records if of.levelno > logging.DEBUG], caplog.text


def test_an_error_of_ours_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: Request) -> Response:
        raise ValueError("the record was <script>")

    with Shown().serving([Route("/broken", broken)]) as serving:
        found = Web(serving.port).get("/broken")
        check_refused(found, 500)
        assert b"script" not in found.body
    assert "the record was <script>" in caplog.text


# Bounds


def test_too_many_listeners_are_refused_and_a_place_becomes_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed_module, "MOST_CLIENTS", 2)
    with Shown().served() as web:
        first, second = web.events("/events"), web.events("/events")
        assert (next(first)[0], next(second)[0]) == ("status", "status")
        check_refused(web.get("/events"), 503)
        first.close()
        web.wait_until(lambda: next(web.events("/events"))[0] == "status", "a place is free")


def test_a_listener_who_does_not_read_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "SLOW_S", 0.3)
    monkeypatch.setattr(feed_module, "STATUS_S", 0.001)
    shown = Shown()
    shown.show("x" * 100_000)
    with shown.serving() as serving, socket.create_connection(("127.0.0.1", serving.port)) as lazy:
        lazy.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        deadline = time.monotonic() + 20
        while not serving.feed.clients:
            assert time.monotonic() < deadline
        while serving.feed.clients:
            assert time.monotonic() < deadline, "it is still there"
            time.sleep(0.05)


@pytest.mark.parametrize("begun", [b"", b"GET /status HTTP/1.1\r\nHost: lo"], ids=["none", "half"])
def test_a_head_that_never_ends_is_cut_off(begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "HEAD_S", 0.3)
    with Shown().serving() as serving:
        began = time.monotonic()
        with suppress(ConnectionError):
            assert raw(serving.port, begun) == b""
        assert time.monotonic() - began < 5


def test_a_body_that_nobody_wants_is_not_read_for_ever(web: Web) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n"
    assert raw(web.port, head + b"x" * 1_000).startswith(b"HTTP/1.1 200")


def test_a_second_head_is_cut_off_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "HEAD_S", 0.3)
    monkeypatch.setattr(server_module, "KEEP_ALIVE_S", 60)
    whole = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with Shown().serving() as serving:
        began = time.monotonic()
        assert raw(serving.port, whole + whole[:20]).count(b"HTTP/1.1 200") == 1
        assert time.monotonic() - began < 5


def test_connections_beyond_the_most_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MOST_CONNECTIONS", 3)
    with Shown().serving() as serving:
        kept = [socket.create_connection(("127.0.0.1", serving.port)) for _ in range(3)]
        time.sleep(0.2)
        with pytest.raises((ConnectionError, OSError)):
            Web(serving.port).get("/status")
        for one in kept:
            one.close()
        Web(serving.port).wait_until(
            lambda: Web(serving.port).get("/status").status == 200, "there is room again"
        )


def test_stopping_is_bounded_though_somebody_listens() -> None:
    shown = Shown()
    with shown.serving() as serving:
        web = Web(serving.port)
        listeners: list[Any] = [web.events("/events") for _ in range(3)]
        assert {next(of)[0] for of in listeners} == {"status"}
        began = time.monotonic()
        serving.close()
        assert time.monotonic() - began < 2
        assert all(name == "status" for of in listeners for name, _ in of)
    with pytest.raises(ConnectionError):
        web.get("/status")


def test_the_users_own_uvicorn_keeps_its_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with Shown().served() as web:
        assert web.get("/status").status == 200
        logging.getLogger("uvicorn.error").info("of the user's")
    told = [of.getMessage() for of in caplog.records if of.name.startswith("uvicorn")]
    assert told == ["of the user's"]
    assert logging.getLogger("uvicorn.error").level == logging.NOTSET
