"""The application that the page shows in tests: orders of a shop, with all that a page can show.

    python orders.py --brokers 127.0.0.1:9092 --id shop --state-dir /tmp/shop

Several sub-topologies, a store by key, one by window, event time, and dead letters whose text is
whatever the record says.
"""

import argparse
import json
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import msgspec

import penstock as ps
from tests.kafka.feeding import Row
from tests.kafka.workers import QUICK

COUNTRIES = ["AT", "BE", "CH", "CZ", "DE", "DK", "FR", "IT", "NL", "PL"]
BAD = "bad:"  # an order of such a country fails, and its error says the rest


class Order(msgspec.Struct):
    """What a customer has bought."""

    customer: str
    country: str
    cents: int


class Spent(msgspec.Struct):
    """What a customer has spent so far."""

    orders: int
    cents: int


def checked(order: Order) -> Order:
    """Refuse orders of no country."""
    if order.country.startswith(BAD):
        raise ValueError(order.country.removeprefix(BAD))
    return order


def is_large(order: Order) -> bool:
    return order.cents >= 9_000


def topics(prefix: str) -> dict[str, int]:
    """Return the topics that the application reads and writes, with their partitions."""
    names = {"orders": 4, "large-orders": 2, "spent-per-customer": 4, "sales-per-country": 2}
    return {f"{prefix}{name}": count for name, count in names.items()} | {f"{prefix}bad-orders": 1}


def build(arguments: list[str] | None = None) -> tuple[ps.App, argparse.Namespace]:
    """Make the application that the arguments describe."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--id", required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--prefix", default="")
    args = parser.parse_args(arguments)
    prefix = args.prefix
    app = ps.App(
        args.id,
        brokers=args.brokers,
        state_dir=args.state_dir,
        settings=ps.Settings(kafka=ps.KafkaSettings(**QUICK)),
    )
    policy = ps.dead_letter(f"{prefix}bad-orders", max_ratio=1, max_run=None)
    read = app.stream(f"{prefix}orders", key=str, value=Order, on_error=policy)
    orders = read.with_watermark("2s", idle="5s").map(checked)
    orders.filter(is_large).to(f"{prefix}large-orders")
    by_customer = orders.group_by("customer", name="by-customer")
    spent = by_customer.agg(Spent, name="spent", orders=ps.count(), cents=ps.sum("cents"))
    spent.to(f"{prefix}spent-per-customer")
    by_country = orders.group_by("country", name="by-country").window(ps.tumbling("10s"))
    sales = by_country.agg(ps.sum("cents"), name="sales")
    sales.to(f"{prefix}sales-per-country", output_mode="append")
    return app, args


def orders(*, seed: int = 1, bad: float = 0.0) -> Iterator[Row]:
    """Make orders for ever, timed by their own moment; a share of them fails."""
    draw = random.Random(seed)
    while True:
        customer = f"customer-{int(draw.paretovariate(0.6)) % 5_000}"
        country = draw.choice(COUNTRIES)
        if draw.random() < bad:
            country = f"{BAD}no such country: {draw.choice(['ZZ', 'Atlantis', 'XX'])}"
        order = {"customer": customer, "country": country, "cents": draw.randrange(100, 10_000)}
        yield Row(customer, json.dumps(order), round(time.time() * 1000))  # noqa: TID251


def main() -> None:
    """Run the application until SIGTERM."""
    app, _ = build()
    ended = Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    query = app.start()
    while query.is_active and not ended.wait(0.1):
        pass
    query.stop("5s")
    if error := query.exception():
        raise error


if __name__ == "__main__":
    main()
