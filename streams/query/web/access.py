"""Access: who may ask, and what stands in front of every answer.

Rule 1: only GET and HEAD. Nothing here changes anything.
Rule 2: with a token, nothing but /healthz and /readyz is told without it. It is compared in
        constant time. A browser opens /?token=TOKEN once and is given a cookie instead, which is
        not the token, and an address without it.
Rule 3: on loopback, a request that names another host is refused: a page of another site may
        have made its own name lead here (DNS rebinding).
Rule 4: what goes wrong in an answer is logged here, and told without its text.
"""

import hashlib
import hmac
import logging
from collections.abc import Callable, Iterable
from http.cookies import SimpleCookie
from typing import Final
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.query.web.answers import FAILED, BrokenOff, refusal

log = logging.getLogger("penstock")

OPEN: Final = frozenset({"/healthz", "/readyz"})
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
METHODS: Final = frozenset({"GET", "HEAD"})
SECURITY: Final = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": (
        "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    ),
}
_EVERYWHERE: Final = [
    (name.encode(), value.encode())
    for name, value in {"cache-control": "no-store", **SECURITY}.items()
]


class Access:
    """Let in who may ask, and put the headers of all answers on.

    Args:
        app: what answers.
        token: returns what a caller has to show, None where nobody has to.
        hosts: names under which the server may be asked, None for any.
    """

    def __init__(
        self, app: ASGIApp, token: Callable[[], str | None], hosts: Iterable[str] | None
    ) -> None:
        self._app = app
        self._token = token
        self._hosts = None if hosts is None else frozenset(map(str.lower, hosts))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = message["headers"]
                there = {name for name, _ in headers}
                message["headers"] = [*headers, *(of for of in _EVERYWHERE if of[0] not in there)]
            await send(message)

        answering = self._refused(scope) or self._app
        try:
            await answering(scope, receive, send_with_headers)
        except BrokenOff:
            raise  # the connection is closed, so that nobody takes a part for the whole
        except Exception:
            log.exception("A request to the HTTP server has failed. Processing goes on.")
            if begun:
                raise
            told = refusal(500, "failed", FAILED)
            await told(scope, receive, send_with_headers)

    def _refused(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if scope["method"] not in METHODS:
            why = "Nothing can be changed here: use GET or HEAD."
            return refusal(405, "method-not-allowed", why, {"allow": "GET, HEAD"})
        if self._hosts is not None and _name(headers.get("host", "localhost")) not in self._hosts:
            return refusal(
                403,
                "foreign-host",
                "This server listens on loopback, and the request names another host. Ask for"
                " localhost, or set HttpSettings(host=..., token=...).",
            )
        token = self._token()
        if token is None or scope["path"] in OPEN:
            return None
        return _without_token(scope, headers, token)


def _without_token(scope: Scope, headers: Headers, token: str) -> Response | None:
    """Return what a caller without the token gets, None where it is shown."""
    if _shows(headers.get("authorization", ""), token):
        return None
    if _cookie(headers, _cookie_name(token), _derived(token, "session")):
        return None
    given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
    if scope["path"] == "/" and _same(given, token):
        opened = RedirectResponse("./", 303)
        opened.set_cookie(
            _cookie_name(token), _derived(token, "session"), httponly=True, samesite="strict"
        )
        return opened
    return refusal(
        401,
        "unauthorized",
        "A token is needed: send the header 'Authorization: Bearer TOKEN', or open /?token=TOKEN"
        " once in a browser.",
        {"www-authenticate": 'Bearer realm="penstock"'},
    )


def _shows(authorization: str, token: str) -> bool:
    scheme, _, given = authorization.partition(" ")
    return scheme.lower() == "bearer" and _same(given.strip(), token)


def _cookie(headers: Headers, name: str, value: str) -> bool:
    cookies: SimpleCookie = SimpleCookie()
    try:
        cookies.load(headers.get("cookie", ""))
    except Exception:  # noqa: BLE001 - whatever is wrong with it, it is no cookie of ours
        return False
    return name in cookies and _same(cookies[name].value, value)


def _cookie_name(token: str) -> str:
    """Cookies know no port: each token has a name of its own, or servers took each other's."""
    return f"penstock-{_derived(token, 'name')[:8]}"


def _derived(token: str, what: str) -> str:
    return hmac.new(token.encode(), f"penstock {what}".encode(), hashlib.sha256).hexdigest()


def _same(given: str, wanted: str) -> bool:
    digests = (hashlib.sha256(text.encode("utf-8", "replace")).digest() for text in (given, wanted))
    return hmac.compare_digest(*digests)


def _name(host: str) -> str:
    """Return a Host header without its port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()


def allowed_hosts(host: str, *, loopback: bool) -> frozenset[str] | None:
    """Return the names under which a server on an address may be asked, None for any."""
    if not loopback:
        return None
    return LOOPBACK | {f"[{host}]" if ":" in host else host}
