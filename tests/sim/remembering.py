"""The application with memory under simulation: duplicates are dropped, and timers fire.

Timers of event time tell of keys that have gone quiet; those of the wall clock, of what has been
gathered since the first record.
"""

import random
from collections.abc import Iterable, Iterator

import penstock as ps
from penstock.runtime.settings import CommitSettings, KafkaSettings, Settings
from tests.sim import applications
from tests.sim.feeding import STRANGE_MS, EventFeeder, Feeder, Times
from tests.sim.plans import Plan
from tests.sim.world import World

EVENTS = "events"
ONCE, QUIET, GATHERED = "once", "quiet", "gathered"
OUTPUTS = (ONCE, QUIET, GATHERED, applications.DEAD)

WITHIN_MS, QUIET_MS, GATHER_MS = 2_000, 900, 700
DISORDER_MS = 3_000


class GoneQuiet(ps.Processor[str, str, str]):
    """Say how many records a key had until it was quiet for a while."""

    count = ps.ValueState(int)

    def process(self, ctx: ps.Context[str], value: str) -> Iterable[str]:
        self.count.set((self.count.get() or 0) + 1)
        ctx.set_timer("quiet", at=ctx.timestamp + QUIET_MS)
        return ()

    def on_timer(self, ctx: ps.Context[str], timer: ps.Timer) -> Iterator[str]:
        yield str(self.count.get())
        self.count.clear()


class Gather(ps.Processor[str, str, str]):
    """Hand on the numbers of records together, some time after the first of them."""

    numbers = ps.ListState(str)

    def process(self, ctx: ps.Context[str], value: str) -> Iterable[str]:
        if not list(self.numbers):
            ctx.set_timer("full", at=ctx.now + GATHER_MS, clock="wall")
        self.numbers.append(value)
        return ()

    def on_timer(self, ctx: ps.Context[str], timer: ps.Timer) -> Iterator[str]:
        yield ",".join(self.numbers)
        self.numbers.clear()


def kind(value: str) -> str:
    """What makes records of a key equal."""
    return value[-1]


def make_app(plan: Plan) -> ps.App:
    """Make it."""
    kafka = KafkaSettings(
        protocol=plan.protocol,
        session_timeout_ms=applications.SESSION_MS,
        transaction_timeout_ms=8_000,
        request_timeout_ms=2_000,
        max_poll_interval_ms=10_000,
    )
    settings = Settings(kafka=kafka, state=applications.STATE, commit=CommitSettings())
    dead = ps.dead_letter(applications.DEAD, max_ratio=1, max_run=None)
    app = ps.App(applications.ID, settings=settings, on_error=dead)
    events = app.stream(EVENTS, key=str, value=str)
    events.drop_duplicates(kind, within=f"{WITHIN_MS}ms", name="seen").to(ONCE)
    events.process(GoneQuiet, name="quiet").to(QUIET)
    events.process(Gather, name="gather").to(GATHERED)
    return app


class RememberingWorld(World):
    """A world of that application."""

    inputs = (EVENTS,)
    outputs = OUTPUTS

    def __init__(self, plan: Plan) -> None:
        self.disorder_ms = random.Random(plan.seed).choice((1, DISORDER_MS))
        super().__init__(plan)

    def make_feeder(self) -> Feeder:
        times = Times(60_000, self.disorder_ms, STRANGE_MS if self.plan.strange else ())
        return EventFeeder(self.broker, self.draw, self.plan.partitions, self.inputs, times)

    def make_app(self) -> ps.App:
        return make_app(self.plan)

    def work_off(self) -> None:
        """Let the wall clock go on, too, until it has nothing to fire any more."""
        super().work_off()
        for _ in range(4 * GATHER_MS // 100):
            self.broker.advance(0.1)
            for slot in self.slots:
                self.step(slot)
        super().work_off()
