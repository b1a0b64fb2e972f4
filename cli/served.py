"""What a worker of a running application answers over HTTP: its stores, and rows of them.

Whoever is asked answers for the whole application, and passes on what others have. The token of
`PENSTOCK_HTTP_TOKEN` goes to the address that was named and nowhere else: redirects are not
followed.
"""

import http.client
import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from penstock.cli.application import Application
from penstock.cli.changelogs import last_values
from penstock.cli.cluster import did_you_mean
from penstock.cli.entries import Wanted
from penstock.cli.layouts import Entry
from penstock.errors import PenstockError, TopologyError
from penstock.runtime.clock import now_ms

DEFAULT_URL: Final = "http://127.0.0.1:8321"
WORKERS: Final = "workers"  # the end of the name of the topic on which they announce themselves
FRESH_MS: Final = 95_000  # they say so every 30 seconds
TOKEN: Final = "PENSTOCK_HTTP_TOKEN"  # noqa: S105 - the name of a variable
TIMEOUT_S = 10.0
PAGE = 1_000
TRIES, PAUSE_S = 5, 1.0
_OTHERWISE = "penstock state ... --from-changelog reads the changelog, and needs no worker."


def find_worker(application: Application, url: str | None) -> "Served":
    """Find a worker of an application that answers.

    Left out, the address is the first one that a worker on this host takes; where another
    application is there, those that the workers have announced are tried. They are not where there
    is a token: it goes to no address that somebody else has written down.

    Args:
        application: whose.
        url: where it answers; None to find out.

    Raises:
        TopologyError: if the address is none, or a worker of another application is there.
        PenstockError: if nobody answers.
    """
    try:
        return Served(application.id, url or DEFAULT_URL)
    except PenstockError:
        if url is not None or os.environ.get(TOKEN):
            raise
        for place in _announced(application):
            with suppress(PenstockError):
                return Served(application.id, place)
        raise


def _announced(application: Application) -> list[str]:
    """Return where workers on this host say that they answer, the last that has said so first."""
    topic, now = f"{application.id}-{WORKERS}", now_ms()
    try:
        with last_values(application.brokers, topic) as found:
            told = sorted(found, key=lambda last: -last.timestamp)
    except PenstockError:  # there is no such topic, or no cluster
        return []
    places = [_place(last.value) for last in told if now - last.timestamp < FRESH_MS]
    return [place for place in places if place is not None]


def _place(announced: bytes) -> str | None:
    try:
        found = msgspec.json.decode(announced, type=_Announcement)
    except msgspec.DecodeError:
        return None
    here = found.host == platform.node() and 0 < found.port < 65_536
    return f"http://127.0.0.1:{found.port}" if here else None


class _Announcement(msgspec.Struct):
    """What is needed of what a worker says of itself."""

    host: str
    port: int


class Served:
    """The tables of a running application.

    Args:
        application: its id.
        url: where one of its workers answers.

    Raises:
        TopologyError: if the address is none, or a worker of another application is there.
        PenstockError: if nobody answers, or not to us.
    """

    def __init__(self, application: str, url: str) -> None:
        self._place = urlsplit(url)
        self._url = url.rstrip("/")
        if self._place.scheme not in ("http", "https") or not self._place.hostname:
            raise TopologyError(
                f"{url!r} is no address. Write --url http://HOST:PORT, as the worker's log says it."
            )
        found = self._ask(("status",)).get("name")
        if found != application:
            raise TopologyError(
                f"At {self._url} is the application {found}, not {application}. Name the address"
                f" of one of its workers with --url, which their logs say. {_OTHERWISE}"
            )

    def stores(self) -> list[dict[str, Any]]:
        """Return what the worker says of each store."""
        found: list[dict[str, Any]] = self._ask(("stores",))["stores"]
        return found

    def rows(self, store: str, wanted: Wanted, at_once: int | None = None) -> Iterator[Entry]:
        """Return rows of a store, a page at a time.

        Args:
            store: its name.
            wanted: which rows.
            at_once: how many are asked for together; a thousand, which is the most, if left out.

        Raises:
            TopologyError: if there is no such store, or it has no windows and some are wanted.
            PenstockError: if a part of it cannot be read now, or the key means nothing.
        """
        windowed = self._check(store, wanted)
        asked = _parameters(wanted)
        if wanted.key is not None:
            found = self._ask(("stores", store, wanted.key), asked)
            rows: list[dict[str, Any]] = found.get("rows", [found] if found else [])
            yield from (_entry(row, windowed=windowed) for row in rows)
            return
        asked["limit"] = str(min(at_once or PAGE, PAGE))
        while True:
            found = self._ask(("stores", store), asked)
            yield from (_entry(row, windowed=windowed) for row in found["rows"])
            if not found.get("after"):
                return
            asked["after"] = found["after"]

    def _check(self, store: str, wanted: Wanted) -> bool:
        """Return whether a store has windows."""
        known = {of["name"]: bool(of["windowed"]) for of in self.stores()}
        if store not in known:
            raise TopologyError(
                f"The application at {self._url} has no store named {store!r}."
                f"{did_you_mean(store, known)} Use one of {', '.join(known) or 'none'}.",
                store=store,
            )
        times = wanted.since_ms is not None or wanted.until_ms is not None
        keys = wanted.start is not None or wanted.stop is not None
        if times and not known[store]:
            raise TopologyError(
                f"The store {store} has no windows: leave --since and --until out.", store=store
            )
        if keys and known[store]:
            raise TopologyError(
                f"The store {store} is in the order of its windows: use --since and --until, or"
                " read the changelog with --from-changelog.",
                store=store,
            )
        return known[store]

    def _ask(self, path: tuple[str, ...], asked: Mapping[str, str] = {}) -> dict[str, Any]:
        """Return an answer; what may be tried again is tried again, a few times.

        Nothing for a key is an answer too, without any field.
        """
        for tries in range(1, TRIES + 1):
            status, body = self._answer(path, asked)
            try:
                found = json.loads(body)
                reason, why = found.get("reason", ""), str(found.get("error", ""))
            except (ValueError, AttributeError):
                raise self._strange(status) from None
            if status == 200:
                return dict(found)
            if status == 404 and reason == "not-found":
                return {}
            if status != 503 or tries == TRIES:
                raise self._refused(status, why)
            time.sleep(PAUSE_S)
        raise AssertionError("the last try ends it")

    def _answer(self, path: tuple[str, ...], asked: Mapping[str, str]) -> tuple[int, bytes]:
        made: Any = http.client.HTTPConnection
        if self._place.scheme == "https":
            made = http.client.HTTPSConnection
        token = os.environ.get(TOKEN)
        headers = {"authorization": f"Bearer {token}"} if token else {}
        parts = "/".join(quote(part, safe="") for part in path)
        target = f"{self._place.path.rstrip('/')}/{parts}{'?' if asked else ''}{urlencode(asked)}"
        try:
            connection = made(self._place.hostname, self._place.port, timeout=TIMEOUT_S)
            try:
                connection.request("GET", target, headers=headers)
                answer = connection.getresponse()
                return answer.status, answer.read()
            finally:
                connection.close()
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise PenstockError(
                f"No worker answers at {self._url}: {type(error).__name__}: {error}. Start one, or"
                f" name its address with --url. {_OTHERWISE}"
            ) from error

    def _refused(self, status: int, why: str) -> PenstockError:
        if status in (401, 403):
            return PenstockError(
                f"The worker at {self._url} wants its token. Set the environment's {TOKEN}."
            )
        return PenstockError(f"The worker at {self._url} refuses: {why or status} {_OTHERWISE}")

    def _strange(self, status: int) -> PenstockError:
        return PenstockError(
            f"What is at {self._url} answers with {status}, and not as a worker of Penstock does."
            f" Name the address of one with --url. {_OTHERWISE}"
            if status not in (401, 403)
            else str(self._refused(status, ""))
        )


def _parameters(wanted: Wanted) -> dict[str, str]:
    found = {
        "prefix": wanted.prefix,
        "from": wanted.start if wanted.since_ms is None else str(wanted.since_ms),
        "to": wanted.stop if wanted.until_ms is None else str(wanted.until_ms),
    }
    return {name: text for name, text in found.items() if text is not None}


def _entry(row: Mapping[str, Any], *, windowed: bool) -> Entry:
    window = row["window"] if windowed else None
    return Entry(
        row["key"],
        row["value"],
        row["timestamp"],
        window=(window["start"], window["end"]) if window else None,
    )
