"""The example card-fraud, tested as its user would: payments in, alerts out, and time passes."""

from collections.abc import Iterator

import pytest

from penstock.examples.card_fraud import FORGET_MS, Alert, Payment, app
from penstock.testing import TestDriver

BEGIN = 1_700_000_000_000


@pytest.fixture
def driver() -> Iterator[TestDriver]:
    with TestDriver(app, now=BEGIN) as driver:
        yield driver


def pay(driver: TestDriver, *amounts: float, at: int = BEGIN, card: str = "4929") -> None:
    for amount in amounts:
        driver.topic("payments").send(Payment(amount, at), key=card)


def alerts(driver: TestDriver) -> list[tuple[str, Alert]]:
    return driver.topic("alerts").read()


def test_a_large_payment_after_three_tiny_ones_is_reported(driver: TestDriver) -> None:
    pay(driver, 0.5, 12.0, 0.1, 0.99, 500.01)
    assert alerts(driver) == [("4929", Alert(3, 500.01))]


@pytest.mark.parametrize("amounts", [(0.5, 0.5, 900.0), (0.5, 0.5, 1.0, 900.0), (0.5,) * 4])
def test_what_is_usual_is_not(driver: TestDriver, amounts: tuple[float, ...]) -> None:
    pay(driver, *amounts)
    assert alerts(driver) == []


def test_other_cards_do_not_count(driver: TestDriver) -> None:
    pay(driver, 0.5, 0.5, 0.5)
    pay(driver, 900.0, card="5413")
    assert alerts(driver) == []


@pytest.mark.parametrize(("after_ms", "reported"), [(FORGET_MS - 1, 1), (FORGET_MS, 0)])
def test_tiny_payments_are_forgotten_after_ten_minutes(
    driver: TestDriver, after_ms: int, reported: int
) -> None:
    pay(driver, 0.5, 0.5, 0.5)
    pay(driver, 900.0, at=BEGIN + after_ms)
    assert len(alerts(driver)) == reported


def test_another_tiny_payment_moves_the_timer(driver: TestDriver) -> None:
    pay(driver, 0.5, 0.5)
    pay(driver, 0.5, at=BEGIN + FORGET_MS - 1)
    pay(driver, 900.0, at=BEGIN + FORGET_MS + 1)
    assert alerts(driver) == [("4929", Alert(3, 900.0))]


def test_state_and_timer_survive_a_crash(driver: TestDriver) -> None:
    reported = driver.topic("alerts")
    pay(driver, 0.5, 0.5, 0.5)
    driver.crash()  # whatever is not in a topic is gone
    pay(driver, 900.0, at=BEGIN + 1)
    assert len(reported.read()) == 1
    driver.crash()
    pay(driver, 900.0, at=BEGIN + FORGET_MS)
    assert reported.read() == []
