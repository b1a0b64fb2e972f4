"""Pages of a real browser, with all that they ask for and complain about."""

import re
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request

WAIT_S = 20.0

# What a browser itself notes where a worker is gone, and nobody can keep it from that.
GONE = re.compile(r"net::ERR_(CONNECTION_|INCOMPLETE_CHUNKED|EMPTY_RESPONSE|NETWORK_CHANGED)")


class Watched:
    """Opens pages, and knows what they did.

    Args:
        browser: that opens them.

    Attributes:
        complaints: errors and warnings of all pages, those of the security policy among them.
        hosts: that were asked.
        allowed: a complaint that the test provokes.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        self.allowed = GONE

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for context in self._contexts:
            context.close()

    def open(
        self, address: str, *, width: int = 1440, height: int = 900, **options: Any
    ) -> "PenstockPage":
        """Open the page of a worker in a window of its own."""
        context = self._browser.new_context(viewport={"width": width, "height": height}, **options)
        self._contexts.append(context)
        page = context.new_page()
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(f"{error}\n{error.stack}"))
        page.on("request", self._asked)
        page.goto(address)
        return PenstockPage(page)

    def check(self) -> None:
        """Check that pages asked nobody but their worker, and had nothing to complain about."""
        assert self.hosts <= {"127.0.0.1"}
        assert not self.complaints, self.complaints

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not self.allowed.search(message.text):
            self.complaints.append(message.text)

    def _asked(self, request: Request) -> None:
        self.hosts.add(urlsplit(request.url).hostname or request.url[:40])


class PenstockPage:
    """The page of a worker, by what stands on it.

    Attributes:
        page: in the browser's own terms.
    """

    def __init__(self, page: Page) -> None:
        self.page = page

    def text(self, selector: str) -> str:
        """Return the text of an element, empty if it is not shown."""
        found = self.page.locator(selector)
        return found.inner_text() if found.is_visible() else ""

    def title(self, tile: str) -> int:
        """Return the exact number of a tile, of which the tile shows a short form."""
        found = self.page.locator(f"#tile-{tile}").get_attribute("title") or "-1"
        return int(found.replace(",", ""))

    def rows(self, table: str) -> list[list[str]]:
        """Return the cells of a table."""
        found: list[list[str]] = self.page.locator(f"#{table} tbody tr").evaluate_all(
            "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
        )
        return found

    def log(self, name: str) -> list[str]:
        """Return the entries of a list, newest first."""
        return self.page.locator(f"#{name} li .text").all_text_contents()

    def wait_until(self, reached: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> None:
        """Wait for something to be shown."""
        deadline = time.monotonic() + timeout_s
        while not reached():
            assert time.monotonic() < deadline, (
                f"not within {timeout_s:g} s: {what}\n{self.page.locator('body').inner_text()}"
            )
            self.page.wait_for_timeout(50)

    def wait_for(self, selector: str, text: str, timeout_s: float = WAIT_S) -> None:
        """Wait until an element has a text."""
        self.wait_until(lambda: text in self.text(selector), f"{text!r} in {selector}", timeout_s)

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than its window."""
        found: int = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        return found
