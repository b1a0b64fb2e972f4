"""Test an application without a broker: TestDriver under pytest.

    python -m pytest unit_test.py

The application adds up what each card pays and reports what goes beyond a limit. In a project it
has a file of its own, and its tests import it. Topology, tasks, stores and changelogs are those of
production; a `send` is one committed batch.
"""

import msgspec

import penstock as ps
from penstock.testing import TestDriver

LIMIT_CENTS = 50_000


class Payment(msgspec.Struct):
    card: str
    cents: int


app = ps.App("card-limits", on_error=ps.dead_letter("payments-dead"))
spent = (
    app.stream("payments", value=Payment)
    .group_by("card", name="by-card")
    .aggregate(int, lambda total, payment: total + payment.cents, name="spent-per-card")
)
spent.to_stream().filter(lambda total: total is not None and total > LIMIT_CENTS).to("over-limit")


def test_a_card_is_reported_once_it_is_beyond_its_limit() -> None:
    with TestDriver(app) as driver:
        sent, reported = driver.topic("payments"), driver.topic("over-limit")
        sent.send(Payment("4929", 30_000))
        sent.send(Payment("5413", 45_000))
        assert reported.read() == []
        sent.send(Payment("4929", 25_000))
        assert reported.read() == [("4929", 55_000)]


def test_totals_survive_a_crash() -> None:
    with TestDriver(app) as driver:
        driver.topic("payments").send(Payment("4929", 30_000))
        driver.crash()  # whatever is not in a topic is gone
        driver.topic("payments").send(Payment("4929", 1))
        assert driver.store(spent).get("4929") == 30_001


def test_a_payment_without_a_card_is_put_aside_and_changes_nothing() -> None:
    with TestDriver(app) as driver:
        driver.topic("payments").send_bytes(b'{"cents": 100}')
        assert driver.topic("payments-dead").read() == [(None, b'{"cents": 100}')]
        assert driver.store(spent).get("4929") is None
