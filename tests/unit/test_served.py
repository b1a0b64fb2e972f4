"""`penstock state` beside something that answers over HTTP: what is asked, and what goes wrong."""

import json
import platform
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from typer.testing import CliRunner

from penstock.cli import served
from penstock.cli.main import app

STORES = [
    {"name": "totals", "definition": "key-value str int", "windowed": False, "partitions": 4,
     "here": [0, 1], "restoring": [2], "elsewhere": {"b": [3]}},
    {"name": "per-minute", "definition": "key-value windows 60000/60000 str int",
     "windowed": True, "partitions": 4, "here": [0, 1, 2, 3], "restoring": [], "elsewhere": {}},
]  # fmt: skip


def row(key, value, start=None):
    window = {} if start is None else {"window": {"start": start, "end": start + 60_000}}
    return {"key": key, "value": value, "timestamp": 5, **window}


class Worker:
    """Answers with what it is told to, and notes what it was asked."""

    def __init__(self):
        self.answers = {
            "/status": (200, {"name": "shop"}),
            "/stores": (200, {"stores": STORES}),
        }
        self.asked = []
        self.headers = []
        self.targets = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                at = urlsplit(self.path)
                outer.asked.append((unquote(at.path), dict(parse_qsl(at.query))))
                outer.headers.append(self.headers)
                outer.targets.append(self.path)
                found = outer.answers.get(unquote(at.path), (404, {"reason": "not-found"}))
                status, body = found.pop(0) if isinstance(found, list) else found
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("location", f"{outer.url}/elsewhere")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def worker(monkeypatch):
    monkeypatch.delenv("PENSTOCK_HTTP_TOKEN", raising=False)
    monkeypatch.setattr(served, "PAUSE_S", 0.01)
    found = Worker()
    yield found
    found.close()


def run(worker, *words):
    return CliRunner().invoke(app, ["state", *words, "--url", worker.url])


def refused(worker, *words):
    done = run(worker, *words)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1), done
    return done.stderr


def objects(done):
    assert done.exit_code == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_stores_are_listed(worker):
    text = run(worker, "list", "shop").stdout.splitlines()
    assert text[1].split() == ["totals", "4", "2", "1", "1", "key-value", "str", "int"]
    assert objects(run(worker, "list", "shop", "--json")) == [STORES]


def test_a_key_is_asked_for_as_it_is(worker):
    worker.answers["/stores/totals/a/b ?&ä"] = 200, row("a/b ?&ä", 3)
    assert objects(run(worker, "get", "shop", "totals", "a/b ?&ä", "--json")) == [
        {"key": "a/b ?&ä", "value": 3, "timestamp": 5}
    ]
    assert worker.targets[-1] == "/stores/totals/a%2Fb%20%3F%26%C3%A4"


def test_a_key_that_is_not_there_ends_with_1(worker):
    done = run(worker, "get", "shop", "totals", "x")
    assert (done.exit_code, done.stderr) == (1, "totals has nothing of the key x.\n")


def test_windows_of_a_key_are_asked_for_by_time(worker):
    worker.answers["/stores/per-minute/a"] = 200, {"rows": [row("a", 3, 60_000)]}
    words = ["get", "shop", "per-minute", "a", "--since", "1970-01-01T00:01", "--json"]
    assert objects(run(worker, *words)) == [
        {"key": "a", "start": 60_000, "end": 120_000, "value": 3, "timestamp": 5}
    ]
    assert worker.asked[-1][1] == {"from": "60000"}


def test_pages_are_read_up_to_the_limit(worker, monkeypatch):
    monkeypatch.setattr(served, "PAGE", 2)
    pages = [
        (200, {"rows": [row("a", 1), row("b", 2)], "after": "x"}),
        (200, {"rows": [row("c", 3), row("d", 4)], "after": "y"}),
    ]
    worker.answers["/stores/totals"] = pages
    done = run(worker, "scan", "shop", "totals", "--from", "a", "--limit", "3", "--json")
    assert [of["key"] for of in objects(done)] == ["a", "b", "c"]
    assert "these are the first 3" in done.stderr
    asked = [query for path, query in worker.asked if path == "/stores/totals"]
    assert asked == [
        {"from": "a", "limit": "2"},
        {"from": "a", "limit": "2", "after": "x"},
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["get", "other", "totals", "a"], "is the application shop, not other"),
        (["get", "shop", "total", "a"], "Did you mean totals?"),
        (["scan", "shop", "totals", "--since", "1h"], "has no windows"),
        (["scan", "shop", "per-minute", "--from", "a"], "in the order of its windows"),
    ],
)
def test_what_cannot_be_asked_is_told(worker, words, said):
    assert said in refused(worker, *words)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (400, {"reason": "bad-key", "error": "That is no key."}, "refuses: That is no key."),
        (503, {"reason": "restoring", "error": "It is restored."}, "refuses: It is restored."),
        (401, b"no", "wants its token. Set the environment's PENSTOCK_HTTP_TOKEN"),
        (200, b"<html>", "not as a worker of Penstock does"),
        (200, b"[1]", "not as a worker of Penstock does"),
        (302, b"", "not as a worker of Penstock does"),
    ],
)
def test_what_a_worker_refuses_is_told(worker, status, body, said):
    worker.answers["/stores/totals/a"] = status, body
    assert said in refused(worker, "get", "shop", "totals", "a")
    assert "/elsewhere" not in [path for path, _ in worker.asked], "a redirect was followed"


def test_what_moves_is_asked_for_again(worker):
    moved = 503, {"reason": "moved", "error": "It has moved."}
    worker.answers["/stores/totals/a"] = [moved, moved, (200, row("a", 3))]
    assert objects(run(worker, "get", "shop", "totals", "a", "--json"))[0]["value"] == 3


def test_the_token_is_shown(worker, monkeypatch):
    run(worker, "list", "shop")
    assert worker.headers[-1]["authorization"] is None
    monkeypatch.setenv("PENSTOCK_HTTP_TOKEN", "canary")
    done = run(worker, "list", "shop")
    assert worker.headers[-1]["authorization"] == "Bearer canary"
    assert "canary" not in done.output


def test_where_nobody_answers_the_way_out_is_told(worker):
    worker.server.server_close()
    said = refused(worker, "list", "shop")
    assert "No worker answers" in said
    assert "--from-changelog" in said


def test_what_a_row_holds_does_not_reach_the_terminal(worker):
    worker.answers["/stores/totals"] = 200, {"rows": [row("a\x1b[2J", "\x9b1m")]}
    text = run(worker, "scan", "shop", "totals").output
    assert r"a\x1b[2J" in text
    assert not {"\x1b", "\x9b"} & set(text)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "127.0.0.1:8321", "http://", "ftp://x"])
def test_what_is_no_address_is_refused(url):
    done = CliRunner().invoke(app, ["state", "list", "shop", "--url", url])
    assert done.exit_code == 1
    assert "is no address" in done.stderr


def announced(host=None, port=8322, **more):
    return json.dumps(
        {"instanceId": "a", "host": host or platform.node(), "port": port, **more}
    ).encode()


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (announced(), "http://127.0.0.1:8322"),
        (announced("another-host"), None),
        (announced(port=0), None),
        (announced(port=70_000), None),
        (announced(port="8322/@evil"), None),
        (b"null", None),
        (b"no json", None),
    ],
)
def test_who_has_announced_itself_from_this_host_is_asked(data, place):
    assert served._place(data) == place


def test_one_that_is_announced_is_found_behind_another_application(worker, monkeypatch):
    other = Worker()
    try:
        other.answers["/status"] = 200, {"name": "other"}
        monkeypatch.setattr(served, "DEFAULT_URL", other.url)
        monkeypatch.setattr(served, "_announced", lambda known: ["http://127.0.0.1:1", worker.url])
        done = CliRunner().invoke(app, ["state", "list", "shop", "--json"])
        assert objects(done) == [STORES]
        asked = len(worker.asked)
        monkeypatch.setenv("PENSTOCK_HTTP_TOKEN", "canary")
        done = CliRunner().invoke(app, ["state", "list", "shop", "--json"])
        assert "is the application other, not shop" in done.stderr
        assert len(worker.asked) == asked, "a token was shown to who has only said its address"
    finally:
        other.close()
