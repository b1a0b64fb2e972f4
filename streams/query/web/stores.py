"""Tables over HTTP: the stores of an application, a key, the windows of a key, a page of rows.

    GET /stores                                 names, types, and where their partitions are
    GET /stores/NAME/KEY                        {"key", "value", "timestamp"}
    GET /stores/NAME/KEY?from=&to=              of a windowed table: {"rows": [...]}, by time
    GET /stores/NAME?from=&to=&limit=&after=    {"rows": [...], "after": ...}, a page of rows
    GET /stores/NAME?prefix=&limit=&after=      likewise, of keys that begin so

`from` and `to` are keys; of a windowed table times, in milliseconds or ISO 8601, within which the
windows begin. `after` is what the page before has said, null behind the last. How keys are written
stands in `json_rows`.

Rule 1: whoever is asked answers for the whole application. What other workers have, they are asked
        for. A page is complete or it is refused: no partition is left out silently.
Rule 2: an error is `{"error": a sentence, "reason": a word}`: unknown-store and not-found are
        404, bad-key and bad-request 400; restoring, moved, stalled and unreachable are 503 and may
        be tried again, ended may not.
Rule 3: a partition is answered for by a worker that has it, at that moment, or by none.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from penstock.errors import TopologyError
from penstock.query.layout import Layout, Place, Raw, Selection, deciding, encoded, layout_of
from penstock.query.leases import OpenPartition, Unavailable
from penstock.query.peers import Peer, Peers
from penstock.query.reading import Holdings
from penstock.query.web.forwarding import FROM, TO, Unreachable, ask
from penstock.query.web.json_rows import encode, encode_cursor, encode_row, key_of
from penstock.query.web.parameters import (
    Refused,
    after_of,
    limit_of,
    numbers_of,
    parsed,
    selected_of,
    times_of,
)
from penstock.serde.types import format_of
from penstock.state.definition import StoreDefinition

log = logging.getLogger("penstock")

PAGE_BYTES = 8 * 1024 * 1024
RETRY_S = "1"

_HEADERS = {"x-content-type-options": "nosniff", "cache-control": "no-store"}
_NO_ROWS = b'{"rows":[]}'
_RETRY = ("restoring", "moved", "stalled", "unreachable")
Placed: TypeAlias = tuple[Place, bytes]  # a row as JSON


class Page(NamedTuple):
    """Rows, in the order of their places.

    Attributes:
        rows: as JSON.
        more: whether there are more behind them.
    """

    rows: list[Placed]
    more: bool


class _WireRow(msgspec.Struct):
    """A row between two workers."""

    place: tuple[int, str, str]
    row: msgspec.Raw


class _WirePage(msgspec.Struct):
    rows: list[_WireRow]
    more: bool


class _Wanted(NamedTuple):
    """What a page is to have."""

    store: StoreDefinition
    layout: Layout
    selected: Selection
    limit: int
    after: Place | None


def store_routes(holdings: Holdings, peers: Peers | None = None) -> list[Route]:
    """Return the endpoints of tables.

    Args:
        holdings: what this worker has.
        peers: who has the rest; None where nobody else is asked.
    """
    endpoints = _Endpoints(holdings, peers)
    return [
        Route("/stores", _answered(endpoints.stores), methods=["GET"]),
        Route("/stores/{name}", _answered(endpoints.page), methods=["GET"]),
        Route("/stores/{name}/{key:path}", _answered(endpoints.key), methods=["GET"]),
    ]


class _Endpoints:
    def __init__(self, holdings: Holdings, peers: Peers | None) -> None:
        self._holdings = holdings
        self._peers = peers

    async def stores(self, request: Request) -> Response:
        """List the stores."""
        return _json({"stores": [self._described(store) for store in self._holdings.stores]})

    async def key(self, request: Request) -> Response:
        """Answer for one key."""
        forwarded = self._is_forwarded(request)
        store, layout = self._store(request)
        key = parsed(store, layout, request.path_params["key"], key_of)
        start_ms, stop_ms = times_of(request) if layout.windowed else (None, None)
        look = _look(layout, store, key)
        partitions = numbers_of(request) if forwarded else None
        decides = deciding(layout, key)
        try:
            found = self._holdings.find(layout, store.name, decides, look, partitions)
        except Unavailable as error:
            if forwarded or error.reason != "moved" or self._peers is None:
                raise
            return await self._ask_owners(request, store.name, error.partition)
        if layout.windowed:
            return _json({"rows": _windows(layout, found or [], start_ms, stop_ms)})
        entry = layout.entry(key, found[0]) if found else None
        if entry is None:
            raise _not_found(store.name)
        return Response(encode_row(layout, entry), media_type="application/json", headers=_HEADERS)

    async def page(self, request: Request) -> Response:
        """Answer with a page of rows."""
        forwarded = self._is_forwarded(request)
        store, layout = self._store(request)
        wanted = _Wanted(
            store, layout, selected_of(request, store, layout), limit_of(request), after_of(request)
        )
        if forwarded:
            page = await run_in_threadpool(self._own, wanted, numbers_of(request))
            wired = [
                _WireRow((span, raw.hex(), window.hex()), msgspec.Raw(row))
                for (span, raw, window), row in page.rows
            ]
            return _json(_WirePage(wired, page.more))
        pages = await self._all(request, wanted)
        rows = sorted((row for page in pages for row in page.rows), key=lambda row: row[0])
        shown = rows[: wanted.limit]
        more = len(rows) > len(shown) or any(page.more for page in pages)
        # Behind the end of a page that goes on, rows of others may be missing.
        bound = min((page.rows[-1][0] for page in pages if page.more and page.rows), default=None)
        if bound is not None:
            shown = [row for row in shown if row[0] <= bound]
        return _json(
            {
                "rows": [msgspec.Raw(row) for _, row in shown],
                "after": encode_cursor(shown[-1][0]) if more and shown else None,
            }
        )

    async def _all(self, request: Request, wanted: _Wanted) -> list[Page]:
        """Ask every worker that has partitions for its page."""
        name = wanted.store.name
        here = set(self._holdings.here(name)) | set(self._holdings.coming(name))
        elsewhere = self._owners(name, here)
        asked: list[Awaitable[Page]] = [
            self._others(request, wanted, peer, numbers) for peer, numbers in elsewhere.items()
        ]
        if here or not elsewhere:
            asked.append(run_in_threadpool(self._own, wanted, sorted(here) or None))
        return list(await asyncio.gather(*asked))

    def _own(self, wanted: _Wanted, partitions: Sequence[int] | None) -> Page:
        rows = self._holdings.read(
            wanted.layout,
            wanted.store.name,
            wanted.selected,
            after=wanted.after,
            partitions=partitions,
            at_once=min(wanted.limit + 1, 256),
        )
        found: list[Placed] = []
        size = 0
        try:
            for entry in rows:
                if len(found) == wanted.limit or size > PAGE_BYTES:
                    return Page(found, more=True)
                data = encode_row(wanted.layout, entry)
                size += len(data)
                assert rows.place is not None
                found.append((rows.place, data))
            return Page(found, more=False)
        finally:
            rows.close()

    async def _others(
        self, request: Request, wanted: _Wanted, peer: Peer, numbers: list[int]
    ) -> Page:
        query = dict(request.query_params)
        query["partitions"] = ",".join(map(str, numbers))
        name = wanted.store.name
        status, body = await self._ask(peer, ("stores", name), query)
        if status != 200:
            self._learn(name, numbers, peer, body)
            raise Refused(503, _reason(body), f"{peer} cannot answer for {name} now.")
        try:
            found = msgspec.json.decode(body, type=_WirePage)
            rows = [
                ((span, bytes.fromhex(raw), bytes.fromhex(window)), bytes(row.row))
                for row in found.rows
                for span, raw, window in [row.place]
            ]
        except (msgspec.MsgspecError, ValueError) as error:
            raise Refused(503, "unreachable", f"{peer} answers in another version.") from error
        return Page(rows, found.more)

    async def _ask_owners(self, request: Request, name: str, number: int | None) -> Response:
        """Ask who has the partition of a key; where that is not known, everybody."""
        count = self._holdings.partitions.get(name, 0)
        here = set(self._holdings.here(name))
        skipped = here if number is None else set(range(count)) - {number}
        asked = [
            self._pass_on(request, name, peer, numbers)
            for peer, numbers in self._owners(name, skipped).items()
        ]
        if not asked:
            raise Refused(503, "moved", f"The worker does not know yet where {name} is.")
        answers = await asyncio.gather(*asked)
        there = [body for body in answers if body is not None]
        if not there:
            raise _not_found(name)
        # Where there are no windows, others may have some.
        best = next((body for body in there if body != _NO_ROWS), _NO_ROWS)
        return Response(best, media_type="application/json", headers=_HEADERS)

    async def _pass_on(
        self, request: Request, name: str, peer: Peer, numbers: list[int]
    ) -> bytes | None:
        """Return what a worker has of a key, None for nothing."""
        parts = ("stores", name, request.path_params["key"])
        query = {**request.query_params, "partitions": ",".join(map(str, numbers))}
        status, body = await self._ask(peer, parts, query)
        if status == 404:
            return None
        if status != 200:
            self._learn(name, numbers, peer, body)
            raise Refused(503, _reason(body), f"{peer} cannot answer for {name} now.")
        return body

    def _owners(self, name: str, skipped: Container[int]) -> dict[Peer, list[int]]:
        """Return who has which partitions.

        Raises:
            Refused: if one is nobody's.
        """
        found: dict[Peer, list[int]] = {}
        for number in range(self._holdings.partitions.get(name, 0)):
            if number not in skipped:
                peer = self._peers and self._peers.owner((name, number))
                if not peer:
                    raise Refused(503, "moved", f"Nobody says that it has {name}/{number} yet.")
                found.setdefault(peer, []).append(number)
        return found

    async def _ask(
        self, peer: Peer, parts: tuple[str, ...], query: Mapping[str, str]
    ) -> tuple[int, bytes]:
        assert self._peers is not None
        if self._peers.rests(peer.instance_id):
            raise Refused(503, "unreachable", f"{peer} has not answered just now. Ask again.")
        sender, token = self._peers.instance_id, self._peers.token
        try:
            return await run_in_threadpool(ask, peer, parts, query, sender=sender, token=token)
        except Unreachable as error:
            self._peers.rest(peer.instance_id)
            raise Refused(503, "unreachable", f"{error}. Ask again.") from error

    def _learn(self, name: str, numbers: Sequence[int], peer: Peer, body: bytes) -> None:
        if _reason(body) == "moved" and self._peers:
            for number in numbers:
                self._peers.dispute((name, number), peer.instance_id)

    def _is_forwarded(self, request: Request) -> bool:
        """Whether another worker asks; it has to mean this one."""
        meant = request.headers.get(TO)
        if self._peers is not None and meant not in (None, self._peers.instance_id):
            raise Refused(503, "moved", "Another worker was here before. Ask again.")
        return FROM in request.headers

    def _store(self, request: Request) -> tuple[StoreDefinition, Layout]:
        try:
            store = self._holdings.definition(request.path_params["name"])
        except TopologyError as error:
            names = ", ".join(sorted(of.name for of in self._holdings.stores)) or "none"
            known = f"The application has no such store. It has: {names}."
            raise Refused(404, "unknown-store", known) from error
        return store, layout_of(store)

    def _described(self, store: StoreDefinition) -> dict[str, Any]:
        name, count = store.name, self._holdings.partitions.get(store.name, 0)
        here, coming = self._holdings.here(name), self._holdings.coming(name)
        elsewhere: dict[str, list[int]] = {}
        for number in range(count):
            peer = self._peers and self._peers.owner((name, number))
            if peer and number not in here and number not in coming:
                elsewhere.setdefault(peer.instance_id, []).append(number)
        layout = layout_of(store)
        return {
            "name": name,
            "definition": store.describe(),
            "key": format_of(layout.key),
            "windowed": layout.windowed,
            "partitions": count,
            "here": here,
            "restoring": coming,
            "elsewhere": elsewhere,
        }


def _look(
    layout: Layout, store: StoreDefinition, key: Any
) -> Callable[[OpenPartition], list[Raw] | None]:
    """Return what looks for a key in a partition."""
    try:
        if layout.windowed:
            inner = encoded(store, layout.key, key)
            return lambda of: of.history(layout, inner)
        raw = layout.find(key)
    except TypeError as error:
        raise Refused(400, "bad-key", str(error)) from error

    def look(of: OpenPartition) -> list[Raw] | None:
        data = of.get(raw)
        return None if data is None else [(raw, data)]

    return look


def _windows(
    layout: Layout, rows: Sequence[Raw], start_ms: int | None, stop_ms: int | None
) -> list[msgspec.Raw]:
    first = -(2**63) if start_ms is None else start_ms
    last = 2**63 if stop_ms is None else stop_ms
    return [
        msgspec.Raw(encode_row(layout, row))
        for _, row in layout.entries(rows)
        if first <= row.key.start < last
    ]


def _not_found(name: str) -> Refused:
    return Refused(404, "not-found", f"The store {name} has no such key.")


def _answered(
    endpoint: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Refused as refused:
            return _refusal(refused.status, refused.reason, str(refused))
        except Unavailable as error:
            return _refusal(503, error.reason, str(error))
        except Exception as error:
            # What it says may quote a row.
            log.warning("A question about tables has failed.", exc_info=error)
            what = f"The rows cannot be read or shown: {type(error).__name__}. See the log."
            return _refusal(500, "failed", what)

    return answer


def _refusal(status: int, reason: str, error: str) -> Response:
    headers = {"retry-after": RETRY_S} if reason in _RETRY else {}
    return _json({"error": error, "reason": reason}, status, headers)


def _json(found: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    headers = {**_HEADERS, **(headers or {})}
    return Response(encode(found), status, headers, "application/json")


def _reason(body: bytes) -> str:
    try:
        found = msgspec.json.decode(body, type=dict[str, Any]).get("reason")
    except msgspec.MsgspecError:
        return "unreachable"
    return found if found in _RETRY else "unreachable"
