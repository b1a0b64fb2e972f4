"""Tables over HTTP: keys and rows as JSON, pages, refusals, and questions to other workers."""

import base64
import json
import socket
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec
import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse

import penstock as ps
from penstock.query.peers import Announcement, Peers
from penstock.query.reading import Holdings
from penstock.query.web.json_rows import decode_cursor, encode_cursor, time_of
from penstock.query.web.stores import store_routes
from penstock.serde.json_serde import JsonSerde
from penstock.serde.primitives import BYTES, FLOAT, INT, STR
from penstock.serde.types import Serde
from penstock.testing import TestDriver
from penstock.topics.partitioner import partition_for
from tests.unit.test_store import PARTITIONS, Totals, put_elsewhere


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: Any


def web_of(holdings: Holdings, peers: Peers | None = None) -> Starlette:
    return Starlette(routes=store_routes(holdings, peers))


def get(web: Any, path: str, **headers: str) -> Answer:
    """Ask an application of ASGI."""
    import asyncio

    plain, _, query = path.partition("?")
    scope = {
        "type": "http", "method": "GET", "path": urllib.parse.unquote(plain), "root_path": "",
        "raw_path": plain.encode(), "query_string": query.encode(), "scheme": "http",
        "headers": [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()],
        "server": ("127.0.0.1", 1), "client": ("127.0.0.1", 2), "http_version": "1.1",
    }  # fmt: skip
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(web(scope, receive, send))
    found = {name.decode(): text.decode() for name, text in sent[0]["headers"]}
    assert found["content-type"] == "application/json"
    assert found["x-content-type-options"] == "nosniff"
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return Answer(sent[0]["status"], found, json.loads(body))


@pytest.mark.parametrize(
    ("serde", "key", "text", "shown"),
    [
        (STR, "a", "a", "a"),
        (STR, "", "", ""),
        (STR, "a/b?c=ä <script>", None, "a/b?c=ä <script>"),
        (INT, -5, "-5", -5),
        (FLOAT, 2.5, "2.5", 2.5),
        (BYTES, b"\x00\xff", "00ff", "00ff"),
        (JsonSerde(tuple[str, int], sort_fields=True), ("eu", 1), '["eu", 1]', ["eu", 1]),
        (JsonSerde(dict[str, int], sort_fields=True), {"a": 1, "b": 2}, '{"b":2,"a":1}', {"a": 1, "b": 2}),
    ],
)  # fmt: skip
def test_a_key_is_found_by_its_text(
    serde: Serde[Any], key: Any, text: str | None, shown: Any
) -> None:
    of = Totals(serde)
    raw = serde.encode(key)
    overlay = of.overlays[partition_for(raw, PARTITIONS)]
    overlay.put({raw: (41, 7)})
    overlay.flush()
    overlay.commit(ps_position())
    path = urllib.parse.quote(key if text is None else text, safe="")
    found = get(web_of(of.holdings), f"/stores/totals/{path}")
    assert (found.status, found.body) == (200, {"key": shown, "value": 41, "timestamp": 7})
    [row] = get(web_of(of.holdings), "/stores/totals").body["rows"]
    assert row == found.body


def ps_position() -> Any:
    from penstock.state.store import Position

    return Position(1, "topic", 0)


class Odd:
    """What JSON knows nothing of."""

    def __repr__(self) -> str:
        return "Odd()"


class OddSerde:
    def encode(self, value: Any, /) -> bytes:
        return b"odd"

    def decode(self, data: bytes, /) -> Any:
        return {"raw": b"\xff", "odd": Odd(), "nan": float("nan")}


def test_values_are_json_whatever_they_are() -> None:
    of = Totals(STR, OddSerde())
    of.put({"a": 1})
    value = get(web_of(of.holdings), "/stores/totals/a").body["value"]
    assert value == {"raw": base64.b64encode(b"\xff").decode(), "odd": "Odd()", "nan": None}


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/stores/none", 404, "unknown-store"),
        ("/stores/none/1", 404, "unknown-store"),
        ("/stores/totals/5", 404, "not-found"),
        ("/stores/totals/x", 400, "bad-key"),
        ("/stores/totals/<script>alert(1)</script>", 400, "bad-key"),
        ("/stores/totals/99999999999999999999", 400, "bad-key"),
        ("/stores/totals/%D9%A1", 400, "bad-key"),
        ("/stores/totals?from=x", 400, "bad-key"),
        ("/stores/totals?prefix=1", 400, "bad-key"),
        ("/stores/totals?prefix=1&from=1", 400, "bad-request"),
        ("/stores/totals?limit=0", 400, "bad-request"),
        ("/stores/totals?limit=1001", 400, "bad-request"),
        ("/stores/totals?limit=x", 400, "bad-request"),
        ("/stores/totals?after=x", 400, "bad-request"),
        ("/stores/totals?after=WzEsICJ6eiIsICIiXQ", 400, "bad-request"),
    ],
)
def test_a_bad_question_is_told_what_is_wrong(path: str, status: int, reason: str) -> None:
    found = get(web_of(Totals(INT).holdings), path)
    assert (found.status, found.body["reason"]) == (status, reason)
    assert "script" not in found.body["error"]
    assert "retry-after" not in found.headers


def test_what_cannot_be_read_now_may_be_asked_again() -> None:
    of = Totals(STR, here=(0, 2))
    web = web_of(of.holdings)
    at = {partition_for(key.encode(), PARTITIONS): key for key in "abcdefgh"}
    for path in (f"/stores/totals/{at[1]}", "/stores/totals"):
        found = get(web, path)
        assert (found.status, found.body["reason"]) == (503, "moved")
        assert found.headers["retry-after"] == "1"
    of.holdings.restore([("totals", 1)])
    for path in (f"/stores/totals/{at[1]}", "/stores/totals"):
        found = get(web, path)
        assert (found.status, found.body["reason"]) == (503, "restoring")
    of.holdings.end()
    found = get(web, f"/stores/totals/{at[0]}")
    assert (found.status, found.body["reason"]) == (503, "ended")
    assert "retry-after" not in found.headers


@settings(max_examples=40, deadline=None)
@given(
    rows=st.dictionaries(st.integers(-50, 50), st.integers(0, 9), max_size=30),
    start=st.one_of(st.none(), st.integers(-50, 50)),
    stop=st.one_of(st.none(), st.integers(-50, 50)),
    limit=st.integers(1, 7),
)
def test_pages_are_all_rows_each_once(
    rows: dict[int, int], start: int | None, stop: int | None, limit: int
) -> None:
    of = Totals(INT)
    of.put(rows)
    given = {"from": start, "to": stop}
    query = "&".join(f"{name}={bound}" for name, bound in given.items() if bound is not None)
    expected = [
        key
        for key in sorted(rows)
        if (start is None or key >= start) and (stop is None or key < stop)
    ]
    assert [row["key"] for page in pages(web_of(of.holdings), "totals", query, limit) for row in page] == expected  # fmt: skip


def pages(web: Any, name: str, query: str, limit: int) -> Iterator[list[Any]]:
    after = ""
    while True:
        found = get(web, f"/stores/{name}?{query}&limit={limit}{after}")
        assert found.status == 200, found
        assert len(found.body["rows"]) <= limit
        yield found.body["rows"]
        if found.body["after"] is None:
            return
        assert found.body["rows"]
        after = f"&after={found.body['after']}"


def test_windows_are_asked_by_key_and_by_time() -> None:
    app = ps.App("shop")
    grouped = app.stream("in", key=str, value=int).group_by_key()
    grouped.window(ps.tumbling("10s"), grace="1h").count(name="tumbling")
    grouped.window(ps.session("3s"), grace="1h").agg(name="sessions", n=ps.count())
    with TestDriver(app) as driver:
        for key, at in [("a", 1_000), ("b", 2_000), ("a", 12_000), ("a", 13_000), ("ab", 31_000)]:
            driver.topic("in").send(1, key=key, at=at)
        web = web_of(driver._holdings)
        first = {"key": "a", "value": 1, "timestamp": 1_000, "window": {"start": 0, "end": 10_000}}
        found = get(web, "/stores/tumbling/a").body["rows"]
        assert found[0] == first
        assert [row["window"]["start"] for row in found] == [0, 10_000]
        for query in (
            "from=10000",
            "from=1970-01-01T00:00:10Z",
            "from=1970-01-01T01:00:10%2B01:00",
        ):
            [row] = get(web, f"/stores/tumbling/a?{query}").body["rows"]
            assert row["value"] == 2
        assert get(web, "/stores/tumbling/a?to=10000").body["rows"] == [first]
        assert get(web, "/stores/tumbling/none").body["rows"] == []
        assert get(web, "/stores/tumbling/a?from=soon").body["reason"] == "bad-request"
        rows = get(web, "/stores/tumbling?from=0&to=10000").body["rows"]
        assert [row["key"] for row in rows] == ["a", "b"]
        keys = [row["key"] for page in pages(web, "tumbling", "prefix=a", 1) for row in page]
        assert keys == ["a", "a", "ab"]
        found = [row for page in pages(web, "sessions", "", 2) for row in page]
        assert [(row["key"], row["window"]["start"], row["value"]) for row in found] == [
            ("a", 1_000, {"n": 1}), ("a", 12_000, {"n": 2}), ("ab", 31_000, {"n": 1}), ("b", 2_000, {"n": 1}),
        ]  # fmt: skip
        [row] = get(web, "/stores/sessions/a?from=2000").body["rows"]
        assert row["window"] == {"start": 12_000, "end": 13_000}


def test_stores_are_listed_with_their_places() -> None:
    of = Totals(STR, here=(0,))
    of.holdings.restore([("totals", 2)])
    peers = Peers("me", "host", None, time.monotonic)
    peers.take("other", announced("other", 5, {"totals": [1, 2]}))
    [found] = get(web_of(of.holdings, peers), "/stores").body["stores"]
    assert found == {
        "name": "totals", "definition": "key-value str int", "key": "str", "windowed": False,
        "partitions": 3, "here": [0], "restoring": [2], "elsewhere": {"other": [1]},
    }  # fmt: skip


@given(st.integers(0, 5), st.binary(max_size=9), st.binary(max_size=16))
def test_a_cursor_comes_back(span: int, raw: bytes, window: bytes) -> None:
    assert decode_cursor(encode_cursor((span, raw, window))) == (span, raw, window)


def test_times_are_digits_or_iso() -> None:
    texts = ["-5", "1970-01-01", "1970-01-01T00:00:01", "1970-01-01 00:00:01", "1970-01-01T01:00:01 01:00"]  # fmt: skip
    assert list(map(time_of, texts)) == [-5, 0, 1000, 1000, 1000]


# Other workers


def announced(
    instance_id: str, port: int, stores: dict[str, list[int]], *, host: str = "host", address: str = "127.0.0.1", token: str | None = None
) -> bytes:  # fmt: skip
    found = Announcement(
        instance_id=instance_id, run_id="r", host=host, address=address, port=port, stores=stores
    )
    return msgspec.json.encode(found.signed(token))


@contextmanager
def served(web: Any) -> Iterator[int]:
    """Serve over a port of this machine."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(web, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(5)
        listener.close()


@contextmanager
def two_workers(rows: dict[str, int]) -> Iterator[tuple[Totals, Totals, Starlette, Peers]]:
    """A worker with partition 0 that knows one with the others."""
    one, other = Totals(STR, here=(0,)), Totals(STR, here=(1, 2))
    for of in (one, other):
        of.put({key: n for key, n in rows.items() if partition_for(key.encode(), 3) in of.overlays})
    peers = Peers("one", "host", None, time.monotonic)
    with served(web_of(other.holdings, Peers("other", "host", None, time.monotonic))) as port:
        peers.take("other", announced("other", port, {"totals": [1, 2]}))
        yield one, other, web_of(one.holdings, peers), peers


ROWS = {f"{number:02}": number for number in range(40)}


def test_a_key_of_another_worker_is_asked_there() -> None:
    with two_workers(ROWS) as (_, _, web, _):
        for key, number in ROWS.items():
            assert get(web, f"/stores/totals/{key}").body["value"] == number
        keys = [f"none-{number}" for number in range(9)]
        assert {partition_for(key.encode(), 3) for key in keys} == {0, 1, 2}
        assert {get(web, f"/stores/totals/{key}").body["reason"] for key in keys} == {"not-found"}


def test_a_key_of_another_partitioner_is_asked_of_everybody() -> None:
    with two_workers({}) as (_, other, web, _):
        put_elsewhere(other, b"a", 5)
        put_elsewhere(other, b"b", 6)
        assert [get(web, f"/stores/totals/{key}").body.get("value") for key in "abc"] == [
            5,
            6,
            None,
        ]
        assert get(web, "/stores/totals/c").body["reason"] == "not-found"


@pytest.mark.parametrize("limit", [1, 3, 40, 100])
def test_pages_are_of_all_workers(limit: int) -> None:
    with two_workers(ROWS) as (_, _, web, _):
        found = [row for page in pages(web, "totals", "from=05&to=35", limit) for row in page]
        assert [row["value"] for row in found] == list(range(5, 35))


def test_pages_of_large_rows_are_short_and_leave_none_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.query.web.stores.PAGE_BYTES", 100)
    with two_workers(ROWS) as (_, _, web, _):
        found = list(pages(web, "totals", "", 1000))
    assert len(found) > 5
    assert [row["value"] for page in found for row in page] == list(ROWS.values())


def test_the_token_is_shown_to_who_knows_it() -> None:
    one, other = Totals(STR, here=(0,)), Totals(STR, here=(1, 2))
    one.put({key: 1 for key in ROWS if partition_for(key.encode(), 3) == 0})
    other.put({key: 2 for key in ROWS if partition_for(key.encode(), 3) != 0})
    web, asked = web_of(other.holdings, Peers("other", "host", "secret", time.monotonic)), []

    async def front(scope: Any, receive: Any, send: Any) -> None:
        asked.append(dict(scope["headers"]))
        await web(scope, receive, send)

    key = next(key for key in ROWS if partition_for(key.encode(), 3) == 1)
    peers = Peers("one", "host", "secret", time.monotonic)
    with served(front) as port:
        peers.take("other", announced("other", port, {"totals": [1, 2]}, token="secret"))
        assert get(web_of(one.holdings, peers), f"/stores/totals/{key}").body["value"] == 2
    [headers] = asked
    assert headers[b"authorization"] == b"Bearer secret"
    assert headers[b"penstock-forwarded"] == b"one"
    assert headers[b"penstock-to"] == b"other"


def test_who_answers_something_else_is_unreachable_and_rests_for_a_moment() -> None:
    one = Totals(STR, here=(0,))
    one.put({key: 1 for key in ROWS if partition_for(key.encode(), 3) == 0})
    asked = []

    async def front(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["path"])
        await PlainTextResponse("<script>")(scope, receive, send)

    now = 0.0
    key = next(key for key in ROWS if partition_for(key.encode(), 3) == 1)
    peers = Peers("one", "host", None, lambda: now)
    with served(front) as port:
        peers.take("other", announced("other", port, {"totals": [1, 2]}))
        for path in (f"/stores/totals/{key}", "/stores/totals", f"/stores/totals/{key}"):
            assert get(web_of(one.holdings, peers), path).body["reason"] == "unreachable"
        assert asked == [f"/stores/totals/{key}"]
        now = 1.5
        assert get(web_of(one.holdings, peers), "/stores/totals").body["reason"] == "unreachable"
        assert asked[1:] == ["/stores/totals"]


@pytest.mark.parametrize(
    ("address", "port"), [("127.0.0.1", 70_000), ("localhost", -1), ("::1", 1), ("127.0.0.1", 0)]
)
def test_an_address_that_is_none_is_unreachable(address: str, port: int) -> None:
    one = Totals(STR, here=(0,))
    peers = Peers("one", "host", None, time.monotonic)
    peers.take("other", announced("other", port, {"totals": [1, 2]}, address=address))
    assert get(web_of(one.holdings, peers), "/stores/totals").body["reason"] == "unreachable"


def test_who_has_lost_a_partition_does_not_answer_and_does_not_ask_on() -> None:
    with two_workers(ROWS) as (_, other, web, peers):
        other.holdings.withdraw([("totals", 1)])
        key = next(key for key in ROWS if partition_for(key.encode(), 3) == 1)
        found = get(web, f"/stores/totals/{key}")
        assert (found.status, found.body["reason"]) == (503, "moved")
        assert peers.owner(("totals", 1)) is None
        assert get(web, "/stores/totals").body["reason"] == "moved"


def test_two_workers_with_stale_views_do_not_ask_each_other_for_ever() -> None:
    one, other = Totals(STR, here=(0,)), Totals(STR, here=(2,))
    of_one, of_other = (Peers(name, "host", None, time.monotonic) for name in ("one", "other"))
    key = next(key for key in ROWS if partition_for(key.encode(), 3) == 1)
    with (
        served(web_of(one.holdings, of_one)) as one_port,
        served(web_of(other.holdings, of_other)) as other_port,
    ):
        of_one.take("other", announced("other", other_port, {"totals": [1]}))
        of_other.take("one", announced("one", one_port, {"totals": [1]}))
        found = get(web_of(one.holdings, of_one), f"/stores/totals/{key}")
    assert (found.status, found.body["reason"]) == (503, "moved")


def test_a_worker_that_is_gone_is_unreachable_and_another_one_is_not_mistaken_for_it() -> None:
    one = Totals(STR, here=(0,))
    one.put({key: 1 for key in ROWS if partition_for(key.encode(), 3) == 0})
    peers = Peers("one", "host", None, time.monotonic)
    key = next(key for key in ROWS if partition_for(key.encode(), 3) == 1)
    with two_workers(ROWS) as (_, other, _, _), served(
        web_of(other.holdings, Peers("new", "host", None, time.monotonic))
    ) as port:  # fmt: skip
        peers.take("gone", announced("gone", port, {"totals": [1]}))
        found = get(web_of(one.holdings, peers), f"/stores/totals/{key}")
        assert (found.status, found.body["reason"]) == (503, "moved")
    peers.take("gone", announced("gone", port, {"totals": [1]}))
    found = get(web_of(one.holdings, peers), f"/stores/totals/{key}")
    assert (found.status, found.body["reason"]) == (503, "unreachable")
    assert found.headers["retry-after"] == "1"


def test_what_was_said_last_of_a_partition_counts() -> None:
    now = 0.0
    peers = Peers("me", "host", None, lambda: now)
    at = ("totals", 1)
    for name, port in (("a", 1), ("b", 2)):
        peers.take(name, announced(name, port, {"totals": [1]}))
    assert (found := peers.owner(at)) is not None
    assert found.instance_id == "b"
    assert peers.describe(at) == "worker b (host, 127.0.0.1:2)"
    peers.dispute(at, "b")
    assert (found := peers.owner(at)) is not None
    assert found.instance_id == "a"
    now = 94.0
    assert peers.owner(at) is not None
    now = 96.0
    assert peers.owner(at) is None
    peers.take("a", announced("a", 1, {"totals": [1]}))
    assert peers.owner(at) is not None
    peers.take("a", None)
    assert peers.owner(at) is None


@pytest.mark.parametrize(
    ("data", "token", "trusted"),
    [
        (announced("a", 1, {"totals": [1]}), None, True),
        (announced("a", 1, {"totals": [1]}, host="elsewhere"), None, False),
        (announced("a", 1, {"totals": [1]}, address="10.0.0.1"), None, False),
        (announced("a", 1, {"totals": [1]}, address="10.0.0.1"), "secret", False),
        (announced("a", 1, {"totals": [1]}, address="10.0.0.1", token="other"), "secret", False),
        (announced("a", 1, {"totals": [1]}, address="10.0.0.1", token="secret"), "secret", True),
        (announced("b", 1, {"totals": [1]}), None, False),
        (b"{", None, False),
        (b"{}", None, False),
    ],
)  # fmt: skip
def test_only_who_knows_the_token_or_is_here_is_asked(
    data: bytes, token: str | None, trusted: bool
) -> None:
    """Whoever can write to the topic could otherwise have the token sent to any address."""
    peers = Peers("me", "host", token, time.monotonic)
    peers.take("a", data)
    assert (peers.owner(("totals", 1)) is not None) == trusted


def test_a_worker_is_no_peer_of_itself() -> None:
    peers = Peers("me", "host", None, time.monotonic)
    peers.take("me", announced("me", 1, {"totals": [1]}))
    assert peers.owner(("totals", 1)) is None
