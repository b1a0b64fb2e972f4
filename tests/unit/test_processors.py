"""Processors: what they are given, and what they hand on."""

from collections.abc import Iterable

import pytest

import penstock as ps
from penstock.errors import TopologyError
from penstock.testing import TestDriver
from tests.unit.processors import (
    ALERTS,
    PAYMENTS,
    Alert,
    Payment,
    Steps,
    app_of,
    fraud_app,
    play,
    rows,
)


def test_three_probes_then_a_big_payment() -> None:
    with TestDriver(fraud_app()) as driver:
        payments, alerts = driver.topic(PAYMENTS), driver.topic(ALERTS)
        for second in range(3):
            payments.send(Payment("c", 0.5), key="c", at=second * 1000)
        driver.crash()
        payments.send(Payment("c", 900), key="c", at=4000)
        assert alerts.read() == [("c", Alert("c", "900 after 3 probes"))]


def test_probes_are_forgotten_before_the_record_that_comes_when_it_is_time() -> None:
    with TestDriver(fraud_app()) as driver:
        payments, alerts = driver.topic(PAYMENTS), driver.topic(ALERTS)
        with driver.batch():
            for second in range(3):
                payments.send(Payment("c", 0.5), key="c", at=second * 1000)
            payments.send(Payment("c", 900), key="c", at=601_999)
            payments.send(Payment("c", 900), key="c", at=602_000)
        assert len(alerts.read()) == 1
        assert rows(driver) == {"fraud-small": 0, "fraud-timers": 0}


class Now(ps.Processor[str, str, int]):
    def process(self, ctx: ps.Context[str], value: str) -> Iterable[int]:
        return [ctx.now]


def test_now_is_the_clock_of_the_driver() -> None:
    with TestDriver(app_of(Now), now=5) as driver:
        driver.topic("in").send("", key="a")
        driver.advance("1s")
        driver.topic("in").send("", key="a")
        assert driver.topic("out").read() == [("a", 5), ("a", 1_005)]


class Drawing(ps.Processor[str, str, float]):
    def process(self, ctx: ps.Context[str], value: str) -> Iterable[float]:
        if value == "set":
            ctx.set_timer("t", at=10)
        return [ctx.random.random(), ctx.random.random()]

    def on_timer(self, ctx: ps.Context[str], timer: ps.Timer) -> Iterable[float]:
        return [ctx.random.random()]


def test_a_record_draws_the_same_numbers_when_it_comes_again() -> None:
    sent = [("a", "set", 1), ("a", "", 2), ("b", "", 30)]
    drawn = play(app_of(Drawing), *sent)
    assert len({number for _, number in drawn}) == 7
    assert play(app_of(Drawing), *sent) == drawn
    with TestDriver(app_of(Drawing)) as driver, driver.batch():
        for key, value, at in sent:
            driver.topic("in").send(value, key=key, at=at)
    assert driver.topic("out").read() == drawn


class Headers(ps.Processor[str, str, str]):
    """Says what its record's headers are, also behind timers that fire in front of it."""

    def process(self, ctx: ps.Context[str], value: str) -> Iterable[str]:
        ctx.set_timer("t", at=ctx.timestamp + 1)
        return [",".join(name for name, _ in ctx.headers)]

    def on_timer(self, ctx: ps.Context[str], timer: ps.Timer) -> Iterable[str]:
        return [f"timer: {[*ctx.headers]}"]


def test_headers_are_those_of_the_record() -> None:
    with TestDriver(app_of(Headers)) as driver:
        with driver.batch():
            driver.topic("in").send("", key="a", at=1, headers=[("one", b"1")])
            driver.topic("in").send("", key="a", at=2, headers=[("two", b"2"), ("more", None)])
            driver.topic("in").send("", key="a", at=3)
        said = [value for _, value in driver.topic("out").read()]
        assert said == ["one", "timer: []", "two,more", "timer: []", ""]
        names = [list(headers) for headers in driver.topic("out").read_headers()]
        assert names == [["one"], [], ["two", "more"], [], []]


def test_records_without_a_key_are_dropped_but_move_time() -> None:
    app = ps.App("app")
    app.stream("in", value=str, key=bytes).process(Steps, name="p").to("out")
    with TestDriver(app) as driver:
        driver.topic("in").send("set 5 t", key=b"a", at=1)
        driver.topic("in").send("say", at=6)
        assert driver.topic("out").read() == [(b"a", "t 5 5/6")]
        assert driver._tasks[0].take_tally().dropped == 1


def test_a_processor_without_state_has_no_store_and_keeps_time() -> None:
    class Time(ps.Processor[str, str, int]):
        def process(self, ctx: ps.Context[str], value: str) -> Iterable[int]:
            return [ctx.stream_time]

    with TestDriver(app_of(Time)) as driver:
        for at in (5, 3, 9):
            driver.topic("in").send("", key="k", at=at)
            driver.crash()
        assert driver.topic("out").read() == [("k", 5), ("k", 5), ("k", 9)]
        assert rows(driver) == {}


def test_a_processor_without_state_takes_records_without_a_key() -> None:
    class Key(ps.Processor[bytes | None, str, str]):
        def process(self, ctx: ps.Context[bytes | None], value: str) -> Iterable[str]:
            return [f"{ctx.key!r} {value}"]

    app = ps.App("app")
    app.stream("in", value=str).process(Key, name="p").to("out")
    with TestDriver(app) as driver:
        driver.topic("in").send("x")
        driver.topic("in").send("y", key=b"k")
        assert driver.topic("out").read() == [(None, "None x"), (b"k", "b'k' y")]


def test_state_is_of_one_task() -> None:
    """Two drivers of one application do not see each other's."""
    app = fraud_app()
    with TestDriver(app) as one, TestDriver(app) as other:
        for driver in (one, other, one, other):
            driver.topic(PAYMENTS).send(Payment("c", 0.5), key="c", at=1)
        other.topic(PAYMENTS).send(Payment("c", 0.5), key="c", at=1)
        for driver in (one, other):
            driver.topic(PAYMENTS).send(Payment("c", 900), key="c", at=2)
        assert one.topic(ALERTS).read() == []
        assert len(other.topic(ALERTS).read()) == 1


def total(amount: int, so_far: int | None) -> tuple[int | None, str | None]:
    after = (so_far or 0) + amount
    return (None, "reset") if amount == 0 else (after, f"{after}" if after > 2 else None)


def test_a_function_keeps_state() -> None:
    app = ps.App("app")
    app.stream("in", key=str, value=int).update_state(total, name="total").to("out")
    assert [store.name for store in app.topology().stores] == ["total-state"]
    with TestDriver(app) as driver:
        for amount in (1, 2, 0, 3):
            driver.topic("in").send(amount, key="k")
            driver.crash()
        assert driver.topic("out").read() == [("k", "3"), ("k", "reset"), ("k", "3")]


def test_a_function_without_types_is_told_them() -> None:
    stream = ps.App("app").stream("in", key=str, value=int)
    with pytest.raises(TopologyError, match=r"Pass state= to update_state"):
        stream.update_state(lambda n, s: (n, n), name="a")
    stream.update_state(lambda n, s: (n, n), name="a", state=int, value=int, ttl="1h").to("out")
