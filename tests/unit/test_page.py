"""The page as files: small, from here alone, without markup made of data, and kept by browsers."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urljoin, urlsplit

import pytest

from penstock.query.web.page import page_routes, static_files
from tests.unit.shown import Shown
from tests.web import Web

FILES = {file.name: file for file in static_files()}
VENDORED = {
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "uPlot.LICENSE": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
}
OURS = sorted(name for name in FILES if name not in VENDORED)
SCRIPTS = [name for name in OURS if name.endswith(".js")]
MOST_BYTES = 200_000

# What makes markup or code of text.
MARKUP = r"innerHTML|outerHTML|insertAdjacent|document\.write|DOMParser|Function\(|\beval\(|srcdoc"


def text(name: str) -> str:
    return FILES[name].content.decode()


def references(name: str) -> set[str]:
    """What a file loads, as paths from the root."""
    patterns = {
        ".html": r'(?:src|href)="([^"#]+)"',
        ".js": r'(?:from|import) "([^"]+)"|import\("([^"]+)"\)',
        ".css": r'@import "([^"]+)"|url\(([^)]+)\)',
    }
    base = "/" if name == "index.html" else f"/static/{name}"
    found = re.findall(patterns.get(name[name.rindex(".") :], r"(?!)()"), text(name))
    parts = [part for of in found for part in ([of] if isinstance(of, str) else of) if part]
    return {urljoin(base, part) for part in parts}


def test_all_of_it_is_small() -> None:
    assert sum(len(file.content) for file in FILES.values()) <= MOST_BYTES


@pytest.mark.parametrize("name", VENDORED)
def test_what_others_have_made_is_as_they_have_made_it(name: str) -> None:
    """uPlot 1.6.32 from the npm registry, with its licence beside it."""
    assert hashlib.sha256(FILES[name].content).hexdigest() == VENDORED[name]


@pytest.mark.parametrize("name", OURS)
def test_it_loads_what_is_there_and_nothing_else(name: str) -> None:
    facts = {"/metrics", "/status", "/progress", "/topology", "/problems", "/application"}
    served = {f"/static/{name}" for name in FILES} | facts
    assert references(name) <= served
    assert not [url for url in re.findall(r"https?://[^\s\"']+", text(name)) if "w3.org" not in url]


def test_every_file_is_used() -> None:
    used = set().union(*map(references, OURS))
    assert {f"/static/{name}" for name in FILES} - used == {"/static/index.html"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_makes_markup_of_text(name: str) -> None:
    assert not re.search(MARKUP, text(name))


def test_the_document_has_no_code_and_no_style_of_its_own() -> None:
    """What a policy of 'self' alone would refuse."""
    index = text("index.html")
    assert not re.search(r"<script(?![^>]*\bsrc=)", index)
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", index)


def test_the_modules_are_asked_for_at_once() -> None:
    """Without it a browser finds them one behind the other."""
    asked = set(re.findall(r'"modulepreload" href="static/([^"]+)"', text("index.html")))
    assert asked == set(SCRIPTS) - {"page.js", "theme.js"}


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/static/page.js", "text/javascript; charset=utf-8"),
        ("/static/page.css", "text/css; charset=utf-8"),
        ("/static/icon.svg", "image/svg+xml"),
        ("/static/uPlot.LICENSE", "text/plain; charset=utf-8"),
    ],
)
def test_a_browser_keeps_what_it_has_got(path: str, media_type: str) -> None:
    with serving() as web:
        first = web.get(path)
        again = web.get(path, If_None_Match=first.headers["etag"])
        other = web.get(path, If_None_Match='"other", W/"another"')
        head = web.get(path, method="HEAD")
    assert first.status == other.status == head.status == 200
    assert first.headers["content-type"] == media_type
    assert first.headers["cache-control"] == "no-cache"
    assert "default-src 'self'" in first.headers["content-security-policy"]
    assert first.headers["x-content-type-options"] == "nosniff"
    assert (again.status, again.body) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert first.body == other.body
    assert not head.body


@pytest.mark.parametrize(
    "path",
    [
        "/static",
        "/static/",
        "/static/page.py",
        "/static/../page.py",
        "/static/%2e%2e/page.py",
        "/static/..%2fpage.py",
        "/static//etc/passwd",
    ],
)
def test_nothing_else_is_served(path: str) -> None:
    with serving() as web:
        assert web.get(path).status == 404


@contextmanager
def serving() -> Iterator[Web]:
    """The page behind a worker's own server."""
    with Shown().serving(page_routes()) as found:
        yield Web(found.port)


def test_an_address_of_the_page_is_on_one_host() -> None:
    """It works below a prefix, behind a proxy: no path begins at the root."""
    assert not [url for url in re.findall(r'(?:src|href)="([^"]+)"', text("index.html"))
                if urlsplit(url).netloc or url.startswith("/")]  # fmt: skip
