"""Browsers: started for a block, under the program's own protocol."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from tests.browser import chromium


@contextmanager
def chrome() -> Iterator[Browser]:
    """Start a headless browser.

    Raises:
        NoBrowserError: if there is none and none could be had.
    """
    found = chromium.find()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found.path,
            args=chromium.FLAGS,
            env={**os.environ, **found.environment},
        )
        try:
            yield browser
        finally:
            browser.close()
