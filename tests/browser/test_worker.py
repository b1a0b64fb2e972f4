"""The page of a real worker, on a real broker: it shows what the broker says."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.testing.kafka_server import KafkaServer
from tests.browser import orders
from tests.browser.shop import Shop
from tests.browser.watched import PenstockPage, Watched
from tests.kafka import checking
from tests.kafka.feeding import Row, feed

pytestmark = pytest.mark.kafka

RECORDS = 3_000
LIVE_S = 3.0
HARM = "<img src=x onerror='globalThis.harmed = true'>"


@pytest.fixture
def shop(kafka: KafkaServer, tmp_path: Path) -> Iterator[Shop]:
    """An application with a worker of its own, still to be started."""
    found = Shop(kafka.bootstrap_servers, tmp_path, f"{secrets.token_hex(3)}-")
    try:
        yield found
    finally:
        found.close()


def test_it_shows_what_the_broker_says(shop: Shop, watched: Watched) -> None:
    """Records, positions and lag are the broker's own, and what comes next is seen in seconds."""
    shop.feed(RECORDS)
    shop.start()
    page = watched.open(shop.address)
    page.wait_until(lambda: page.title("input") == 3 * RECORDS, "all records are read, twice again")
    page.wait_until(lambda: page.title("lag") == 0, "nothing is left")
    assert page.text("h1") == shop.id
    ends = shop.ends()
    page.wait_until(lambda: at_least(positions(page), ends), "positions are the ends", LIVE_S)
    committed = checking.committed(shop.servers, shop.id, [shop.orders])
    assert {(topic, str(number)): offset for (topic, number), offset in committed.items()} == {
        at: offset for at, offset in positions(page).items() if at[0] == shop.orders
    }
    assert set(page.log("problems")) == set()
    spent = len({record.key for record in checking.read(shop.servers, shop.orders).records})
    assert {row[0] for row in page.rows("stores")} == {"spent", "sales"}
    assert spent > 100

    shop.feed(RECORDS, seed=2)
    page.wait_until(lambda: page.title("input") == 6 * RECORDS, "more records", LIVE_S)


def test_it_survives_a_restart_of_the_worker(shop: Shop, watched: Watched) -> None:
    shop.feed(RECORDS)
    shop.start()
    page = watched.open(shop.address)
    page.wait_until(lambda: page.title("input") >= 3 * RECORDS, "all records are read")
    run = page.text("#footer-run").split()[1]
    shop.kill()
    page.wait_for("#link", "lost", LIVE_S)
    assert "The connection to the worker is lost" in page.text("#banner")
    shop.start()
    page.wait_for("#link", "live")
    page.wait_until(lambda: run not in page.text("#footer-run"), "another run")
    assert any(text.startswith("A new run has begun") for text in page.log("events"))
    before = page.title("input")
    shop.feed(RECORDS, seed=2)
    page.wait_until(lambda: page.title("input") >= before + 3 * RECORDS, "it goes on")


def test_hostile_records_are_shown_and_do_nothing(shop: Shop, watched: Watched) -> None:
    """The text of an error is the record's; so is a key of ten thousand characters."""
    shop.start()
    page = watched.open(shop.address)
    page.wait_for("#link", "live")
    texts = [HARM, "<script>globalThis.harmed = true</script>", "\u202e" + "x" * 10_000]
    rows = [
        Row(text, json.dumps({"customer": text, "country": f"{orders.BAD}{text}", "cents": 1}))
        for text in texts
    ]
    feed(shop.servers, shop.orders, rows)
    page.wait_until(lambda: page.title("trouble") == len(rows), "the failures")
    page.wait_until(lambda: len(page.log("problems")) == len(rows), "their texts")
    assert any(HARM in text for text in page.log("problems"))
    assert all(len(text) <= 400 for text in page.log("problems"))
    assert "3 dead letters" in page.text("#tile-trouble .more")
    assert page.page.evaluate("globalThis.harmed") is None
    assert page.page.locator("body img, body script").count() == 0


def positions(page: PenstockPage) -> dict[tuple[str, str], int]:
    found = {(row[0], row[1]): row[4].replace(",", "") for row in page.rows("partitions")}
    return {at: int(offset) for at, offset in found.items() if offset.isdigit()}


def at_least(found: dict[tuple[str, str], int], ends: dict[tuple[str, str], int]) -> bool:
    """Positions may be behind the markers of transactions, which are no records."""
    return all(found.get(at, -1) >= end for at, end in ends.items())
