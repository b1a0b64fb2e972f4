"""docs/troubleshooting.md: each trouble brought about, its words compared, its remedy tried.

The page is read here: a text that it shows and nobody prints fails, and so does a section, or an
output in it, that no test knows.
"""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock.runtime.exits import Exit
from penstock.testing.kafka_server import KafkaServer
from tests.kafka import checking
from tests.kafka.conftest import create_topic
from tests.kafka.shop import PARTITIONS, Shop, headings, shown

pytestmark = pytest.mark.kafka

SOON = {"session_timeout_ms": 1_000, "topic_check_ms": 200}


@pytest.mark.parametrize("title", headings())
def test_what_the_page_shows_is_what_is_said_and_its_remedy_works(title: str, shop: Shop) -> None:
    shop.title = title
    TROUBLES[title](shop)
    assert shop.compared == len(shown(title)), "the page shows more than the test has seen"


def test_every_trouble_is_on_the_page() -> None:
    assert set(TROUBLES) == set(headings())


@pytest.fixture
def shop(kafka: KafkaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """The application of the page with a hundred orders, in the current folder; not started yet."""
    monkeypatch.chdir(tmp_path)
    # Not in the current folder: a folder named penstock there would hide the package.
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PENSTOCK_BROKERS", kafka.bootstrap_servers)
    made = Shop(kafka.bootstrap_servers, tmp_path)
    for name in (*made.inputs, *made.outputs):
        create_topic(made.servers, name, PARTITIONS)
    made.order(100)
    yield made
    made.close()


# The troubles


def wrong_broker(shop: Shop) -> None:
    shop.configured(connect_timeout_ms=2_500)
    shop.arguments = ("--brokers", "localhost:1")
    fails(shop, Exit.BROKER)
    shop.check_says(("2.5 s", "30 s"))
    shop.settings, shop.arguments = "", ()
    mended(shop)


def wrong_type(shop: Shop) -> None:
    fails(shop, Exit.TOPOLOGY, ('group_by("item"', 'group_by("itme"'))
    shop.check_says()
    fails(shop, Exit.DATA, ("cents: int\n    at", "cents: str\n    at"))
    shop.check_says()
    shop.write()
    shop.runs_exactly()
    fails(shop, Exit.TOPOLOGY, ("key=str, value=Order", "key=int, value=Order"))
    shop.check_says()
    mended(shop)


def missing_name(shop: Shop) -> None:
    fails(shop, Exit.TOPOLOGY, ('count(name="per-item")', "count()"))
    shop.check_says()
    mended(shop)


def renamed_store(shop: Shop) -> None:
    shop.runs_exactly()
    shop.order(20, first=300)
    fails(shop, Exit.TOPOLOGY, ('count(name="per-item")', 'count(name="items-sold")'))
    shop.check_says()
    mended(shop)


def deleted_topic(shop: Shop) -> None:
    shop.configured(**SOON)
    shop.start()
    shop.wait_exact()
    delete(shop, shop.inputs[0])
    shop.ends(Exit.BROKER)
    shop.check_says()
    fails(shop, Exit.TOPOLOGY)
    shop.check_says()
    penstock("topics", shop.inputs[0], "--create", str(PARTITIONS))
    shop.order(200)
    fails(shop, Exit.BROKER)
    shop.check_says()
    start_over(shop)
    delete(shop, shop.changelog("accounts"))
    fails(shop, Exit.BROKER)
    shop.check_says()
    fails(shop, Exit.BROKER)  # it is not made anew either
    start_over(shop)


def full_disk(shop: Shop) -> None:
    shop.runs_exactly()
    shop.order(50, first=300)
    shop.log = shop.log.with_suffix(".full.log")  # it may not become long either
    with no_file_longer_than(5_000):
        fails(shop, Exit.STATE)
    full = "No space left on device"
    shop.check_says(("While appending", f"{full}: While appending"), ("File too large", full))
    mended(shop)


def poison(shop: Shop) -> None:
    shop.poison()
    shop.order(50, first=500)
    fails(shop, Exit.DATA)
    shop.check_says()
    dead = shop.topic("orders-dead")
    create_topic(shop.servers, dead, PARTITIONS)
    shop.write(('App("shop"', 'App("shop", on_error=ps.dead_letter("orders-dead")'))
    shop.start()
    shop.wait_exact()
    shop.stop()
    shop.check_says()
    assert [letter.value for letter in checking.read(shop.servers, dead).records] == [b"no JSON"]
    divide = ("account.cents += order.cents", "account.cents += order.cents // (order.cents - 600)")
    shop.order(1, first=599)
    fails(shop, Exit.DATA, divide)
    shop.check_says()
    mended(shop)


def killed_worker(shop: Shop) -> None:
    shop.arguments = ("--workers", "2")
    shop.workers = 2
    shop.start()
    shop.wait_share()
    os.kill(shop.pids()[1], signal.SIGKILL)
    shop.order(200, first=500)
    shop.wait_for("restart 1 of 10")
    shop.wait_exact()
    shop.stop()
    shop.check_says()


def two_versions(shop: Shop) -> None:
    create_topic(shop.servers, shop.topic("returns"), PARTITIONS)
    shop.configured(**SOON)
    shop.start()
    shop.wait_for("runs from")
    with shop.beside() as newer:
        newer.write(
            (
                'at")\n',
                'at")\nreturns = app.stream("returns", key=str, value=Order, timestamp="at")\n',
            ),
            ("orders.group_by_key()", "orders.merge(returns).group_by_key()"),
            file="newer.py",
        )
        newer.start()
        newer.ends(Exit.TOPOLOGY)
        newer.check_says(("for up to 1 s", "for up to 10 s"))
        shop.order(30, first=300)
        shop.wait_exact()
        shop.stop()
        newer.order(30, first=400)
        newer.runs_exactly()


def wrong_file(shop: Shop) -> None:
    shop.file = "shpo.py"
    fails(shop, Exit.TOPOLOGY)
    shop.check_says()
    shop.write()
    text = (shop.folder / "shop.py").read_text()
    (shop.folder / "shop.py").write_text(text.split("app = ps.App")[0] + "def make(): ...\n")
    fails(shop, Exit.TOPOLOGY)
    shop.check_says()
    mended(shop)


TROUBLES: dict[str, Callable[[Shop], None]] = {
    "The broker's address is wrong": wrong_broker,
    "A type is wrong": wrong_type,
    "A name is missing": missing_name,
    "A store was renamed": renamed_store,
    "A topic is missing, or was deleted": deleted_topic,
    "The disk is full": full_disk,
    "A record is poison": poison,
    "A worker was killed": killed_worker,
    "Two versions run side by side": two_versions,
    "It is the wrong file": wrong_file,
}


def fails(shop: Shop, code: int, *edits: tuple[str, str]) -> None:
    """Run the program, with some of its text replaced: it ends with the code."""
    if edits:
        shop.write(*edits)
    shop.start()
    shop.ends(code)


def mended(shop: Shop) -> None:
    """Run the program of the page: it goes on, and its results are exact."""
    shop.write()
    shop.order(50)
    shop.runs_exactly()


def start_over(shop: Shop) -> None:
    shop.wait_left()
    penstock("reset", shop.id, "--to", "earliest", "--state", "--yes")
    mended(shop)


def delete(shop: Shop, topic: str) -> None:
    checking.admin(shop.servers).delete_topics([topic])[topic].result()
    shop.wait_gone(topic)


def penstock(*arguments: str) -> None:
    """Run a command that succeeds."""
    command = [sys.executable, "-m", "penstock.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@contextmanager
def no_file_longer_than(size_bytes: int) -> Iterator[None]:
    """Let processes that are started meanwhile fill no file further, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
