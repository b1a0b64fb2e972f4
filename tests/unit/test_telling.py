"""Reporting: whatever is told when, each batch is in exactly one record of progress."""

import uuid
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

import penstock as ps
from penstock.engine.batch import Batch
from penstock.engine.metadata import BatchId
from penstock.query.events import Idle
from penstock.query.monitor import Monitor
from penstock.query.progress import Progress
from penstock.runtime.reporting import Reporter

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "commit", "abort", "tick"]),
        st.floats(0.0, 0.7, allow_nan=False),
        st.integers(0, 20),
    ),
    max_size=40,
)


class Clock:
    """Seconds that a test lets pass."""

    now = 1_000.0

    def read(self) -> float:
        return self.now


def reporter(clock: Clock) -> Reporter:
    app = ps.App("app")
    app.stream("in", value=str).to("out")
    monitor = Monitor(app.topology(), uuid.UUID(int=1))
    return Reporter(monitor, interval_ms=1_000, now=clock.read, now_ms=int)


@given(STEPS)
def test_each_committed_batch_is_told_once(steps: list[tuple[str, float, int]]) -> None:
    clock = Clock()
    report = reporter(clock)
    told: list[Progress] = []
    report.monitor.attach(lambda one: told.append(one) if isinstance(one, Progress) else None)
    batch, number, committed = None, 0, 0
    for what, seconds, rows in steps:
        clock.now += seconds
        if what == "begin" and batch is None:
            report.begin(clock.now, 0)
            batch = Batch(BatchId(1, number), 0.0)
            batch.add(("in", 0), 0, rows, rows)
        elif what == "commit" and batch is not None:
            report.phase("addBatch", clock.now)
            report.committed(batch, [], 0)
            committed, number, batch = committed + rows_of(batch), number + 1, None
        elif what == "abort":
            batch = None
        elif what == "tick":
            report.tick([], clock.now)
    report.ended([], clock.now)
    assert sum(one.num_input_rows for one in told) == committed
    assert sum(one.batches for one in told) == number
    assert [one.batch_id for one in told] == sorted({one.batch_id for one in told})
    assert all(one.batches for one in told)


def rows_of(batch: Batch) -> int:
    return batch.rows


def test_silence_is_told_as_such_each_ten_seconds() -> None:
    clock = Clock()
    report = reporter(clock)
    told: list[object] = []
    report.monitor.attach(told.append)
    tick: Callable[[], None] = lambda: report.tick([], clock.now)  # noqa: E731
    for _ in range(250):
        clock.now += 0.1
        tick()
    assert [type(one) for one in told] == [Idle] * 2
