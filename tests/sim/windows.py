"""The application with windows under simulation: on an input, behind a new key, and behind those.

Its partitions are minutes apart, as after an outage. Their records come in order, or so much out
of order that some are late: that is drawn with the rest of a world.
"""

import random
from collections import Counter

import pytest

import penstock as ps
from penstock.engine import task
from penstock.engine.metadata import BatchId, decode
from penstock.runtime.settings import CommitSettings, KafkaSettings, Settings
from penstock.runtime.worker import Worker
from tests.sim import applications
from tests.sim.feeding import STRANGE_MS, EventFeeder, Feeder, Times
from tests.sim.plans import Plan
from tests.sim.world import World

EVENTS = "events"
CLOSED, COUNTS = "closed", "counts"
SESSIONS, SESSION_UPDATES = "sessions", "session-updates"
REGROUPED, REGROUPED_COUNTS = "regrouped", "regrouped-counts"
CHAINED_COUNTS = "chained-counts"
OUTPUTS = (
    CLOSED, COUNTS, SESSIONS, SESSION_UPDATES, REGROUPED, REGROUPED_COUNTS, CHAINED_COUNTS,
    applications.DEAD,
)  # fmt: skip
PER_SECOND, PER_SESSION, PER_LETTER, CHAINED = "per-second", "per-session", "per-letter", "chained"

SIZE_MS, GAP_MS, GRACE_MS, CHAINED_MS = 1_000, 700, 300, 2_000
SKEW_MS, DISORDER_MS = 180_000, 2_500
IDLE_MS = 60_000  # longer than a partition is without records while others have some
MOST_ROUNDS = 100
SLICES = (1, 4, 20_000)  # results at once: so that many a batch ends between two slices
SETTLED_STEPS = 10  # looks come once a second, and a time has two topics to go through


def make_app(plan: Plan) -> ps.App:
    """Make it."""
    kafka = KafkaSettings(
        protocol=plan.protocol,
        session_timeout_ms=applications.SESSION_MS,
        transaction_timeout_ms=8_000,
        request_timeout_ms=2_000,
        max_poll_interval_ms=10_000,
    )
    commit = CommitSettings(purge_interval_ms=400, max_idle_ms=IDLE_MS)
    settings = Settings(kafka=kafka, state=applications.STATE, commit=commit)
    dead = ps.dead_letter(applications.DEAD, max_ratio=1, max_run=None)
    app = ps.App(applications.ID, settings=settings, on_error=dead)
    events = app.stream(EVENTS, key=str, value=str)
    by_key, grace = events.group_by_key(), f"{GRACE_MS}ms"
    counts = by_key.window(ps.tumbling(f"{SIZE_MS}ms"), grace=grace)
    closed = counts.count(name=PER_SECOND, emit=plan.emit)
    closed.to(CLOSED, output_mode="append")
    closed.to(COUNTS)
    sessions = by_key.window(ps.session(f"{GAP_MS}ms"), grace=grace)
    found = sessions.count(name=PER_SESSION, emit=plan.emit)
    found.to(SESSIONS, output_mode="append")
    found.to(SESSION_UPDATES)
    by_letter = events.group_by(applications.last_letter, key=str, name="by-letter")
    letters = by_letter.window(ps.tumbling(f"{SIZE_MS}ms"), grace=grace).count(name=PER_LETTER)
    letters.to(REGROUPED, output_mode="append")
    letters.to(REGROUPED_COUNTS)
    results = closed.to_stream(output_mode="append").group_by(parity, key=str, name="by-parity")
    chained = results.window(ps.tumbling(f"{CHAINED_MS}ms"), grace="0ms").count(name=CHAINED)
    chained.to(CHAINED_COUNTS)
    return app


def parity(count: int) -> str:
    return str(count % 2)


class WindowsWorld(World):
    """A world of that application.

    Attributes:
        late: how many records were late in all that was committed, by store.
    """

    inputs = (EVENTS,)
    outputs = OUTPUTS

    def __init__(self, plan: Plan) -> None:
        self.disorder_ms = random.Random(plan.seed).choice((1, GRACE_MS, DISORDER_MS))
        self.late: Counter[str] = Counter()
        self._late_of: dict[BatchId, Counter[str]] = {}
        super().__init__(plan)
        self._note_commits()

    def make_feeder(self) -> Feeder:
        times = Times(SKEW_MS, self.disorder_ms, STRANGE_MS if self.plan.strange else ())
        return EventFeeder(self.broker, self.draw, self.plan.partitions, self.inputs, times)

    def make_app(self) -> ps.App:
        return make_app(self.plan)

    def made(self, worker: Worker) -> None:
        """Note how many records are late in each of its batches."""
        send = worker._producer.send_offsets

        def noted(*args: object) -> None:
            tasks = [owned.task for owned in worker._touched.values() if owned.task]
            self._late_of[worker._batch.id] = sum(
                (of._steps.counting.batch.late for of in tasks), Counter()
            )
            send(*args)  # type: ignore[arg-type]

        worker._producer.send_offsets = noted  # type: ignore[method-assign]

    def run(self) -> None:
        """Let it happen, with more or fewer results at once."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(task, "CLOSED_AT_ONCE", SLICES[self.plan.seed % len(SLICES)])
            super().run()

    def work_off(self) -> None:
        """Let time go on, too, until nobody holds anybody back any more."""
        super().work_off()
        for _ in range(MOST_ROUNDS):
            written = self._written()
            for _ in range(IDLE_MS // 2_000 + SETTLED_STEPS):  # who has just written is not idle
                self._step_all(2)
            if written == self._written():
                super().work_off()
                return
        raise AssertionError("it never comes to rest")

    def _step_all(self, seconds: float) -> None:
        self.broker.advance(seconds)
        for slot in self.slots:
            self.step(slot)

    def _written(self) -> int:
        return sum(log.end for topic in self.broker.topics.values() for log in topic.partitions)

    def _note_commits(self) -> None:
        group = self.broker.group(applications.ID)
        end = group.end_pending

        def noted(producer_id: int, *, commit: bool) -> None:
            offsets = group._pending.get(producer_id, {}) if commit else {}
            memories = [decode(text, f"{at}") for at, (_, text) in offsets.items()]
            for batch in {memory.batch for memory in memories if memory and memory.batch}:
                self.late += self._late_of.pop(batch)
            end(producer_id, commit=commit)

        group.end_pending = noted  # type: ignore[method-assign]
