"""Where a server listens: settings, the environment, which wins, and ports that are taken."""

import os
import socket
import subprocess
import sys

import pytest

from penstock.errors import TopologyError
from penstock.runtime.exits import Exit
from penstock.runtime.http_address import http_address
from penstock.runtime.settings import HttpSettings
from penstock.secret import Secret
from tests.unit.shown import TOKEN, address

OTHERS = ["0.0.0.0", "::", "192.0.2.1"]


@pytest.mark.parametrize(
    ("settings", "environment", "expected"),
    [
        ({}, {}, ("127.0.0.1", 8321, None)),
        ({"port": 0}, {}, ("127.0.0.1", 0, None)),
        ({"enabled": False}, {}, None),
        ({"enabled": False}, {"PENSTOCK_HTTP": "127.0.0.1:1"}, ("127.0.0.1", 1, None)),
        ({}, {"PENSTOCK_HTTP": "off"}, None),
        ({}, {"PENSTOCK_HTTP": ""}, ("127.0.0.1", 8321, None)),
        ({"port": 5}, {"PENSTOCK_HTTP": "localhost:7"}, ("localhost", 7, None)),
        ({}, {"PENSTOCK_HTTP": "[::1]:7"}, ("::1", 7, None)),
        ({"token": TOKEN}, {}, ("127.0.0.1", 8321, TOKEN)),
        ({"token": Secret(TOKEN)}, {}, ("127.0.0.1", 8321, TOKEN)),
        ({"token": TOKEN}, {"PENSTOCK_HTTP_TOKEN": TOKEN * 2}, ("127.0.0.1", 8321, TOKEN * 2)),
        ({"host": "0.0.0.0", "token": TOKEN}, {}, ("0.0.0.0", 8321, TOKEN)),
        ({}, {"PENSTOCK_HTTP": "0.0.0.0:1", "PENSTOCK_HTTP_TOKEN": TOKEN}, ("0.0.0.0", 1, TOKEN)),
    ],
)  # fmt: skip
def test_the_environment_wins(settings, environment, expected):
    found = http_address(HttpSettings(**settings), environment)
    assert (found and (found.host, found.port, found.token)) == expected


NO_TOKEN = r"PENSTOCK_HTTP_TOKEN \(python -c .* makes one\).* on 127\.0\.0\.1:\d"


@pytest.mark.parametrize("host", OTHERS)
def test_others_can_reach_it_only_with_a_token(host):
    for settings, environment in (
        ({"host": host}, {}),
        ({}, {"PENSTOCK_HTTP": f"[{host}]:1" if ":" in host else f"{host}:1"}),
    ):
        with pytest.raises(
            TopologyError, match=r"PENSTOCK_HTTP_TOKEN \(python -c .* makes one\).* 127\.0\.0\.1:\d"
        ):
            http_address(HttpSettings(**settings), environment)


@pytest.mark.parametrize(
    "place", ["8321", ":8321", "host", "host:", "host:x", "host:65536", "host:-1", "on", "a:٣"]
)
def test_what_is_no_place_is_refused(place):
    with pytest.raises(TopologyError, match="'off' or HOST:PORT"):
        http_address(HttpSettings(), {"PENSTOCK_HTTP": place})


@pytest.mark.parametrize(
    "token", ["short", "x" * 15, "with a space in it", "x" * 16 + "\n", "ä" * 16]
)
def test_a_token_that_is_none_is_refused_and_not_shown(token):
    for act in (
        lambda: HttpSettings(token=token),
        lambda: http_address(HttpSettings(token=Secret(token)), {}),
        lambda: http_address(HttpSettings(), {"PENSTOCK_HTTP_TOKEN": token}),
    ):
        with pytest.raises(TopologyError, match="16 or more") as caught:
            act()
        assert token not in str(caught.value)


def test_the_token_shows_in_no_repr():
    settings = HttpSettings(token=TOKEN)
    assert TOKEN not in repr(settings) + repr(http_address(settings, {}))


@pytest.mark.parametrize("wrong", [{"host": ""}, {"host": "a b"}, {"port": -1}, {"port": 65_536}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(TopologyError, match="HttpSettings"):
        HttpSettings(**wrong)


def test_a_host_that_is_none_is_refused():
    with pytest.raises(TopologyError, match="no address of this host"):
        http_address(HttpSettings(host="no-such-host.invalid"), {})


# Ports


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_taken_port_is_left_for_the_next_free_one(taken):
    with address(port=taken).bind() as found:
        assert taken < found.getsockname()[1] <= taken + 100


def test_a_taken_port_is_refused_where_no_other_will_do(taken):
    with pytest.raises(TopologyError, match=f"Port {taken} of 127.0.0.1 is taken"):
        address(port=taken, next_port=False).bind()


def test_any_free_port():
    with address(port=0).bind() as found:
        assert found.getsockname()[1] > 0


def test_an_address_that_is_not_ours_is_refused():
    with pytest.raises(TopologyError, match=r"cannot listen on 192\.0\.2\.1"):
        address(host="192.0.2.1", port=0).bind()


def test_the_last_port_has_no_next(taken, monkeypatch):
    monkeypatch.setattr("penstock.query.web.binding.MOST_TRIED", 0)
    with pytest.raises(TopologyError, match="all taken"):
        address(port=taken).bind()


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True)]
    + [(host, False) for host in OTHERS],
)
def test_what_loopback_is(host, is_loopback):
    assert address(host=host).is_loopback == is_loopback


def test_a_worker_behind_a_supervisor_leaves_the_address_to_it():
    found = http_address(HttpSettings(host="0.0.0.0", token=TOKEN), {}).behind()
    assert (found.host, found.port, found.token, found.told) == ("127.0.0.1", 0, TOKEN, False)


@pytest.mark.parametrize("flags", [[], ["--workers", "2"]], ids=["a worker", "a supervisor"])
def test_nothing_is_started_where_others_could_read(flags, tmp_path):
    """Neither a worker nor anything on the cluster: there is none that it could ask."""
    file = tmp_path / "shop.py"
    file.write_text(
        "import penstock as ps\n"
        "app = ps.App('shop', brokers='127.0.0.1:1')\n"
        "app.stream('a', key=str, value=str).to('b')\n"
    )
    run = [sys.executable, "-m", "penstock.cli", "run", str(file), "--http", "0.0.0.0:0", *flags]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PENSTOCK_HTTP")}
    done = subprocess.run(run, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == Exit.TOPOLOGY, done.stderr
    assert "PENSTOCK_HTTP_TOKEN" in done.stderr
    assert "is process" not in done.stderr
