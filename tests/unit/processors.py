"""Processors that several tests run, and how they run them."""

from collections.abc import Iterator
from typing import Any

import msgspec

import penstock as ps
from penstock.testing import TestDriver


class Payment(msgspec.Struct):
    card: str
    amount: float


class Alert(msgspec.Struct):
    card: str
    reason: str


class Fraud(ps.Processor[str, Payment, Alert]):
    small = ps.ValueState(int)

    def process(self, ctx: ps.Context[str], value: Payment) -> Iterator[Alert]:
        seen = self.small.get() or 0
        if value.amount < 1:
            self.small.set(seen + 1)
            ctx.set_timer("forget", at=ctx.timestamp + 600_000)
        elif seen >= 3 and value.amount > 500:
            yield Alert(ctx.key, f"{value.amount:.0f} after {seen} probes")

    def on_timer(self, ctx: ps.Context[str], timer: ps.Timer) -> Iterator[Alert]:
        self.small.clear()
        return iter(())


PAYMENTS = ps.Topic("payments", key=str, value=Payment)
ALERTS = ps.Topic("alerts", key=str, value=Alert)


def fraud_app() -> ps.App:
    app = ps.App("fraud")
    app.stream("payments", key=str, value=Payment).process(Fraud, name="fraud").to(ALERTS)
    return app


def rows(driver: TestDriver) -> dict[str, int]:
    """How many entries each store has."""
    return {
        name: len(overlay.scan(b"", b"\xff" * 20))
        for task in driver._tasks
        for name, overlay in task.overlays.items()
    }


def app_of(processor: Any, *, rekeyed: bool = False, value: Any = None, **options: Any) -> ps.App:
    """An application that processes integers, or texts, from `in` to `out`."""
    app = ps.App("app", **options)
    stream: Any = app.stream("in", key=str, value=value or str)
    if rekeyed:
        stream = stream.rekey(lambda text: text[:1], key=str, name="by-first")
    stream.process(processor, name="p").to("out")
    return app


class Steps(ps.Processor[str, str, str]):
    """Does what a record says, such as `set 5 tick; say`, and says what it sees."""

    said = ps.ValueState(str)

    def process(self, ctx: ps.Context[str], value: str) -> Iterator[str]:
        for step in value.split(";"):
            yield from self.do(ctx, step.split())

    def do(self, ctx: ps.Context[str], words: list[str]) -> Iterator[str]:
        match words:
            case ["set", at, name]:
                ctx.set_timer(name, at=int(at))
            case ["wall", at, name]:
                ctx.set_timer(name, at=int(at), clock="wall")
            case ["cancel", name]:
                ctx.cancel_timer(name)
            case ["keep", text]:
                self.said.set(text)
            case ["fail"]:
                raise ValueError("as told")
            case ["say"]:
                yield f"{self.said.get()} at {ctx.timestamp}/{ctx.stream_time}"
            case _:
                pass

    def on_timer(self, ctx: ps.Context[str], timer: ps.Timer) -> Iterator[str]:
        yield f"{timer.name} {timer.at} {ctx.timestamp}/{ctx.stream_time}"
        if timer.name.startswith("then-"):
            ctx.set_timer(timer.name[5:], at=timer.at + 1)
        if timer.name == "boom":
            raise ZeroDivisionError("in a timer")
        if timer.name == "odd":
            yield "odd"
        if timer.name == "for-ever":
            ctx.set_timer(timer.name, at=timer.at, clock=timer.clock)


def play(app: ps.App, *sent: tuple[str, str, int]) -> list[tuple[str, str]]:
    with TestDriver(app) as driver:
        for key, value, at in sent:
            driver.topic("in").send(value, key=key, at=at)
        return driver.topic("out").read()
