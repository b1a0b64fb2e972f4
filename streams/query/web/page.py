"""The page: what a worker does, for people with a browser.

The files in `static/` are all of it: no build step, and nothing from anywhere else, so it works
without a network. They hold no facts of the application: these come from the JSON endpoints
beside the page, and the page writes them as text, never as markup.

Each file is read once and served from memory with a hash of its content as its ETag: a browser
asks again each time, which costs an answer without a body, and sees a new version at once.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

INDEX: Final = "index.html"
MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".LICENSE": "text/plain; charset=utf-8",
}
KEEP_AND_ASK: Final = "no-cache"  # keep it, and ask whether it is still good


@dataclass(frozen=True)
class StaticFile:
    """A file of the page.

    Attributes:
        name: within `static/`.
        content: all of it.
        media_type: what a browser takes it for.
        etag: names the content.
    """

    name: str
    content: bytes
    media_type: str
    etag: str


def page_routes() -> list[Route]:
    """Return the routes of the page: `/` and `/static/NAME`, for GET and HEAD.

    Nothing that they serve is a secret; what the page then asks for may need a token.
    """
    found = static_files()
    [index] = [file for file in found if file.name == INDEX]
    return [
        Route("/", partial(_serve, index), name="page"),
        *(Route(f"/static/{of.name}", partial(_serve, of), name=of.name) for of in found),
    ]


def static_files() -> Sequence[StaticFile]:
    """Return the files of the page, by name."""
    folder = files("penstock.query.web") / "static"
    return [
        _read(file.name, file.read_bytes())
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
    ]


def _read(name: str, content: bytes) -> StaticFile:
    suffix = name[name.rindex(".") :]
    etag = hashlib.sha256(content).hexdigest()[:32]
    return StaticFile(name, content, MEDIA_TYPES[suffix], f'"{etag}"')


async def _serve(file: StaticFile, request: Request) -> Response:
    headers = {"Cache-Control": KEEP_AND_ASK, "ETag": file.etag}
    if _has(request.headers.get("If-None-Match", ""), file.etag):
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.media_type)


def _has(known: str, etag: str) -> bool:
    return any(tag.strip().removeprefix("W/") == etag for tag in known.split(","))
