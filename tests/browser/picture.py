"""Make the picture of the page that the README shows, of a worker at work on a real broker.

    .venv/bin/python -m tests.browser.picture docs/images

It writes page.png, page-dark.png and page-phone.png. With --recording it keeps what the worker
has told as well: tests/browser/recording.json, which other tests of the page replay.
"""

import argparse
import datetime
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser

from penstock.testing.kafka_server import KafkaServer
from tests.browser import orders
from tests.browser.browsers import chrome
from tests.browser.replay import RECORDING
from tests.browser.shop import Shop
from tests.browser.watched import Watched
from tests.kafka.conftest import BROKER
from tests.kafka.feeding import Load

RATE = 1_500
BAD = 0.0005
SECONDS = 75
RECORDS_KEPT = 30
PATHS = ["status", "progress", "topology", "problems", "application"]
# Height is what fits: the head, the topology and the charts.
PICTURES: dict[str, dict[str, Any]] = {
    "page.png": {"width": 1280, "height": 1165, "color_scheme": "light"},
    "page-dark.png": {"width": 1280, "height": 1165, "color_scheme": "dark"},
    "page-phone.png": {"width": 390, "height": 844, "color_scheme": "light"},
}


def main() -> None:
    """Run the application under load, and look at it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=int, default=SECONDS)
    parser.add_argument("--recording", action="store_true")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    with KafkaServer(settings=BROKER) as server, tempfile.TemporaryDirectory() as folder:
        shop = Shop(server.bootstrap_servers, Path(folder), prefix="", name="shop")
        rows = {shop.orders: orders.orders(bad=BAD)}
        try:
            shop.start()
            with Load(server.bootstrap_servers, rows, RATE), chrome() as browser:
                time.sleep(args.seconds)
                take(browser, shop.address, args.folder)
                if args.recording:
                    record(shop)
        finally:
            shop.close()


def take(browser: Browser, address: str, folder: Path) -> None:
    """Take all pictures, each after the page has been live for a moment."""
    with Watched(browser) as watched:
        for name, window in PICTURES.items():
            page = watched.open(address, reduced_motion="reduce", **window)
            page.wait_for("#link", "live")
            page.page.wait_for_timeout(2_500)
            page.page.screenshot(path=folder / name)
            print(folder / name)
        watched.check()


def record(shop: Shop) -> None:
    """Keep what the worker tells, without what is of this machine."""
    found = {path: shop.web.json(f"/{path}") for path in PATHS}
    found["progress"]["recent"] = found["progress"]["recent"][-RECORDS_KEPT:]
    found["status"] |= {"host": "orders-1", "pid": 4711}
    for worker in found["application"]["workers"]:
        seen = datetime.datetime.fromtimestamp(worker["lastSeen"] / 1000, datetime.UTC)
        worker["lastSeen"] = seen.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    text = json.dumps(found, separators=(",", ":"))
    RECORDING.write_text(text.replace(f"{Path(__file__).parent}/", "") + "\n")
    print(RECORDING)


if __name__ == "__main__":
    main()
