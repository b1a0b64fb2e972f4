"""Find cards that are tried out: a processor with state and a timer for each card.

It reads `payments`, and writes an alert when a large payment follows three tiny ones. A timer
forgets the tiny ones ten minutes after the last of them: each sets it again, which moves it. It
goes by event time, so that a replay of last week's payments finds what was found last week. State,
timers and alerts are committed together with the payments that have changed them.

To test it without a broker, where time passes by the payments alone:

    with TestDriver(app) as driver:
        for at, amount in ((0, 0.5), (1, 0.5), (2, 0.5), (3, 900.0)):
            driver.topic("payments").send(Payment(amount, at), key="4929")
        assert driver.topic("alerts").read() == [("4929", Alert(3, 900.0))]
"""

from collections.abc import Iterable

import msgspec

import penstock as ps

TINY, LARGE, PROBES = 1.0, 500.0, 3
FORGET_MS = 600_000


class Payment(msgspec.Struct):
    amount: float
    at: int  # milliseconds since the epoch


class Alert(msgspec.Struct):
    probes: int
    amount: float


class Fraud(ps.Processor[str, Payment, Alert]):
    """Count the tiny payments of a card until none has come for a while."""

    probes = ps.ValueState(int)

    def process(self, ctx: ps.Context[str], value: Payment) -> Iterable[Alert]:
        seen = self.probes.get() or 0
        if value.amount < TINY:
            self.probes.set(seen + 1)
            ctx.set_timer("forget", at=ctx.timestamp + FORGET_MS)
        elif seen >= PROBES and value.amount > LARGE:
            yield Alert(seen, value.amount)

    def on_timer(self, ctx: ps.Context[str], timer: ps.Timer) -> Iterable[Alert]:
        self.probes.clear()
        return ()


app = ps.App("card-fraud")
payments = app.stream("payments", key=str, value=Payment, timestamp="at")
payments.process(Fraud, name="fraud").to("alerts")

if __name__ == "__main__":
    app.run()
