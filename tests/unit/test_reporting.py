"""Reporting: phases add up without waiting, what is aborted is not told, one record for many."""

import uuid
from types import SimpleNamespace
from typing import Any

import pytest

import penstock as ps
from penstock.engine.batch import Batch
from penstock.engine.metadata import BatchId
from penstock.engine.restore import Restore, RestoreProgress
from penstock.query.events import Idle, Rebalance
from penstock.query.monitor import Monitor
from penstock.query.progress import Progress, iso
from penstock.runtime.gathering import latency
from penstock.runtime.reporting import IDLE_S, Reporter
from penstock.runtime.tasks import OwnedTask, Phase
from tests.unit.test_task import commit, fetched, task_of


class Run:
    """A reporter with a clock of its own, and a task of one partition."""

    def __init__(self, app: ps.App) -> None:
        self.now = 100.0
        self.task = task_of(app)
        lead: Any = SimpleNamespace(part=self.task.part, tasks=1, topic="in", siblings=[])
        lead.inputs = lambda number: [("in", number)]
        self.owned = OwnedTask(lead, 0, Phase.RUNNING, {("in", 0): 0}, task=self.task)
        self.owned.stores = dict.fromkeys(self.task.overlays)  # type: ignore[arg-type]
        self.told: list[Any] = []
        self.end = 0
        monitor = Monitor(app.topology(), uuid.UUID(int=1))
        monitor.attach(self.told.append)
        self.reporter = Reporter(
            monitor,
            interval_ms=1_000,
            now=lambda: self.now,
            now_ms=lambda: round(self.now * 1000),
        )
        self.reporter.latest = lambda ats: dict.fromkeys(ats, self.end)
        self.batches = 0

    def work(self, *numbers: int, seconds: float = 0.1, waited: float = 0.0) -> Batch:
        """Process and flush a batch: a tenth of a second for each phase but the first."""
        reporter, rows = self.reporter, fetched(*numbers)
        batch = Batch(BatchId(1, self.batches), self.now * 1000)
        reporter.begin(self.now, round(self.now * 1000))
        reporter.fetching(self.now)
        self.now += 0.2 + waited
        reporter.fetched(self.now, waited)
        self.task.process(rows)
        reporter.processed(("in", 0), rows.timestamps)
        batch.positions["in", 0] = self.owned.offsets["in", 0]
        batch.add(("in", 0), 10, 10 + len(numbers), len(numbers))
        self.now += seconds
        reporter.phase("addBatch", self.now)
        commit(self.task)
        for phase in ("walCommit", "commitOffsets", "stateCommit"):
            self.now += 0.1
            reporter.phase(phase, self.now)
        return batch

    def commit(self, batch: Batch) -> None:
        self.owned.offsets.update(batch.next_offsets)
        self.reporter.committed(batch, [self.owned], round(self.now * 1000))
        self.batches += 1

    def tell(self) -> Progress:
        self.reporter.tick([self.owned], self.now)
        found: Progress = self.told.pop()
        return found


@pytest.fixture
def run() -> Run:
    app = ps.App("app")
    app.stream("in", key=str, value=int).group_by_key().count(name="n").to("out")
    return Run(app)


def test_phases_add_up_without_waiting(run: Run) -> None:
    run.commit(run.work(1, 2, seconds=0.5, waited=3.0))
    one = run.tell()
    assert one.duration_ms == {
        "addBatch": 500,
        "commitOffsets": 100,
        "getBatch": 200,
        "latestOffset": 0,
        "queryPlanning": 0,
        "stateCommit": 100,
        "triggerExecution": 1_000,
        "walCommit": 100,
    }
    assert (one.batch_duration, one.max_batch_duration, one.waiting_ms) == (1_000, 1_000, 3_000)
    assert one.processed_rows_per_second == 2.0
    assert one.input_rows_per_second == 0.0


def test_what_is_aborted_is_not_told(run: Run) -> None:
    """Nor does it begin a record: time, rows and samples are those of the batch run again."""
    run.work(1, 2, 3, seconds=9.0)
    run.task.discard({})
    began_ms = round(run.now * 1000)
    run.commit(run.work(1, seconds=0.5))
    one = run.tell()
    assert one.timestamp == iso(began_ms)
    assert one.batch_duration == 1_000
    assert (one.batches, one.num_input_rows) == (1, 1)
    assert one.state_operators[0].num_rows_total == 1


def test_one_record_covers_the_batches_since_the_one_before(run: Run) -> None:
    run.end = 100
    run.commit(run.work(1, 2))
    first = run.tell()
    for number in range(3):
        run.commit(run.work(number, seconds=0.1 * number))
    second = run.tell()
    assert (first.batches, first.batch_id) == (1, 0)
    assert (second.batches, second.batch_id) == (3, 3)
    assert second.num_input_rows == 3
    assert second.max_batch_duration == 700
    assert first.sources[0].end_offset == second.sources[0].start_offset
    assert second.lag == 100 - run.owned.offsets["in", 0]
    assert second.state_operators[0].num_rows_updated == 3, "one key in each of three batches"
    assert second.state_operators[0].num_rows_total == 1


def test_an_end_seen_too_early_is_not_behind_us(run: Run) -> None:
    """What the client has last seen of an end may be older than what was read since."""
    run.end = 5
    run.commit(run.work(1, 2))
    [source] = run.tell().sources
    assert source.latest_offset == source.end_offset == {"in": {"0": 12}}
    assert source.metrics["maxOffsetsBehindLatest"] == "0"


def test_what_was_given_back_is_told_all_the_same(run: Run) -> None:
    run.commit(run.work(1, 2))
    run.reporter.rebalanced([], [("in", 0)], [], 0.25)
    run.reporter.tick([], run.now)
    one = run.told[-1]
    [source] = one.sources
    assert source.end_offset == {"in": {"0": 12}}
    assert source.num_input_rows == one.num_input_rows == 2
    assert (one.rebalances, one.rebalance_ms) == (1, 250)
    assert isinstance(run.told[0], Rebalance)


def test_the_last_record_covers_the_rest(run: Run) -> None:
    run.commit(run.work(1))
    run.tell()
    run.commit(run.work(2))
    run.now -= 0.5
    run.reporter.tick([run.owned], run.now)
    assert run.told == [], "no second has passed"
    run.reporter.ended([run.owned], run.now)
    assert run.told[-1].num_input_rows == 1
    run.reporter.ended([run.owned], run.now)
    assert len(run.told) == 1, "there is nothing more to tell"


def test_idleness_is_no_progress(run: Run) -> None:
    run.commit(run.work(1))
    run.tell()
    run.now += IDLE_S
    run.reporter.tick([run.owned], run.now)
    assert [type(one) for one in run.told] == [Idle]
    assert run.told[0].assigned == {"in": (0,)}


def test_restores_are_told_once(run: Run) -> None:
    restore = Restore("n", "changelog", 0, 0, 9, records=7)
    run.reporter.restored(RestoreProgress.of([restore], 1.5))
    run.commit(run.work(1))
    run.told.clear()
    first = run.tell()
    run.commit(run.work(1, seconds=1.0))
    second = run.tell()
    assert (first.restored_rows, first.restore_ms) == (7, 1_500)
    assert (second.restored_rows, second.restore_ms) == (0, 0)


def test_a_callback_within_a_fetch_is_no_waiting_for_records(run: Run) -> None:
    """The group takes partitions while records are waited for: the open batch ends there."""
    reporter = run.reporter
    reporter.begin(run.now, 0)
    reporter.fetching(run.now)
    run.now += 2.0
    for phase in ("addBatch", "walCommit", "commitOffsets", "stateCommit"):
        reporter.phase(phase, run.now)
        run.now += 0.1
    run.commit(Batch(BatchId(1, 0), 0.0))
    reporter.fetched(run.now, run.now - 100.0)
    one = run.tell()
    assert (one.waiting_ms, one.batch_duration) == (2_000, 300)


def test_a_clock_behind_a_record_makes_no_negative_latency(run: Run) -> None:
    run.task.process(fetched(1))
    run.reporter.begin(run.now, 0)
    run.reporter.processed(("in", 0), [10**15, 99_000])
    run.commit(Batch(BatchId(1, 0), 0.0))
    found = run.tell().latency_ms
    assert found is not None
    assert (found.p50, found.max) == (0, 1_000)


@pytest.mark.parametrize(
    ("sampled", "told"),
    [([5], (5, 5, 5, 5)), ([1, 2], (1, 2, 2, 2)), (list(range(1, 101)), (50, 95, 99, 100))],
)
def test_percentiles_are_of_the_sample(sampled: list[int], told: tuple[int, ...]) -> None:
    found = latency(sampled)
    assert found is not None
    assert (found.p50, found.p95, found.p99, found.max) == told
