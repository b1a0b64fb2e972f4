"""What every test of the page starts from: a browser, and pages that are watched."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser import browsers, chromium
from tests.browser.watched import Watched
from tests.kafka.conftest import kafka, topic

__all__ = ["kafka", "topic"]  # fixtures


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    """A headless browser, for the tests of one file."""
    try:
        with browsers.chrome() as browser:
            yield browser
    except chromium.NoBrowserError as error:
        pytest.skip(str(error))


@pytest.fixture
def watched(chrome: Browser) -> Iterator[Watched]:
    """Pages that are noted: they must ask nobody else, and complain of nothing."""
    with Watched(chrome) as pages:
        yield pages
        pages.check()
