"""How much is begun at a time, by what the user's functions are known to take."""

import logging
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import penstock as ps
from penstock.engine.batch import Batch
from penstock.engine.flush import Spent
from penstock.engine.metadata import BatchId
from penstock.errors import DataError
from penstock.operators.source import Fetched
from penstock.runtime.cost import GROWTH, Cost, RecordCost
from penstock.runtime.faults import Abortable
from penstock.runtime.settings import KafkaSettings, Settings

LIMIT_S, POLL_S = 4.0, 6.0
SETTINGS = Settings(
    kafka=KafkaSettings(
        session_timeout_ms=3_000,
        transaction_timeout_ms=round(1000 * LIMIT_S),
        request_timeout_ms=2_000,
        max_poll_interval_ms=round(1000 * POLL_S),
    )
)
CHUNK_S = SETTINGS.commit.chunk_ms / 1000
SLOW_S = 0.1


class Timed(ps.Processor[str, str, str]):
    """Says a word again, later."""

    def process(self, ctx: ps.Context[str], value: str) -> list[str]:
        ctx.set_timer("later", at=ctx.timestamp + 1)
        return []

    def on_timer(self, ctx: ps.Context[str], timer: ps.Timer) -> list[str]:
        return [timer.name]


def mapped() -> RecordCost:
    app = ps.App("app")
    app.stream("in", key=str, value=str).map(str.upper, value=str).to("out")
    return RecordCost(SETTINGS, app.topology())


def counted(*, behind: bool) -> RecordCost:
    app = ps.App("app")
    counts = app.stream("in", key=str, value=str).group_by_key().count(name="counts")
    (counts.to_stream().map(str, value=str) if behind else counts).to("out")
    return RecordCost(SETTINGS, app.topology())


def records(topic: str, first: int, count: int) -> Fetched:
    nothing = [b""] * count
    offsets = range(first, first + count)
    return Fetched(topic, 0, nothing, nothing, [0] * count, offsets, None, first + count)


def batch(rows: int) -> Batch:
    made = Batch(BatchId(1, 1), 0)
    made.add(("in", 0), 0, rows, rows)
    return made


@dataclass
class Loop:
    """A worker's loop over topics whose records take so many seconds each."""

    cost: RecordCost
    takes: dict[str, float]
    at: dict[str, int] = field(default_factory=dict)
    longest_s: float = 0.0
    chunks: int = 0

    def step(self, topic: str, waiting: int) -> int:
        """Process a chunk of what waits; return how many records that was."""
        first = self.at.get(topic, 0)
        count = min(waiting, self.cost.records_of(records(topic, first, waiting)))
        seconds = count * self.takes[topic]
        self.longest_s = max(self.longest_s, seconds)
        self.chunks += 1
        self.cost.measured(records(topic, first, count), seconds)
        self.at[topic] = first + count
        return count

    def drain(self, topic: str, count: int) -> None:
        while count:
            count -= self.step(topic, count)


@pytest.mark.parametrize(
    ("declare", "works"),
    [
        (lambda words: words.map(str, value=str).to("out"), False),
        (lambda words: words.group_by_key().count(name="n").to("out"), False),
        (lambda words: words.group_by_key().count(name="n").to_stream().to("out"), False),
        (lambda words: words.group_by_key().count(name="n").to_memory(), False),
        (
            lambda words: words.group_by_key().count(name="n").to_stream().filter(bool).to("out"),
            True,
        ),
        (lambda words: words.process(Timed, name="timed").to("out"), True),
        (
            lambda words: (
                words.group_by_key()
                .window(ps.tumbling("1s"))
                .count(name="n")
                .to("out", output_mode="append")
            ),
            False,
        ),
    ],
)
def test_functions_run_behind_stores_or_not(declare: Any, works: bool) -> None:
    app = ps.App("app")
    declare(app.stream("in", key=str, value=str))
    assert app.topology().works_behind_stores == works


@pytest.mark.parametrize("takes_s", [1e-6, 1e-3, SLOW_S, 0.7, 3.0])
def test_no_chunk_outlasts_a_timeout_from_the_first_record_on(takes_s: float) -> None:
    """A hundred at once, of 100 ms each, were more than the shortest timeouts allow."""
    loop = Loop(mapped(), {"in": takes_s})
    loop.drain("in", 500)
    assert loop.longest_s <= max(takes_s, 1.5 * CHUNK_S)


def test_a_cheap_beginning_says_little_about_the_rest() -> None:
    loop = Loop(mapped(), {"in": 1e-6})
    loop.step("in", 1_000)
    loop.takes["in"] = SLOW_S
    loop.drain("in", 100)
    assert loop.longest_s <= GROWTH * SLOW_S * 1.01


def test_cheap_records_soon_come_in_large_chunks() -> None:
    loop = Loop(mapped(), {"in": 1e-6})
    loop.drain("in", 1_000_000)
    assert loop.chunks <= 1_000_000 / SETTINGS.commit.chunk_records + 5


def test_records_of_one_topic_say_nothing_about_those_of_another() -> None:
    """Many cheap ones in between do not make a slow function's chunk a large one."""
    loop = Loop(mapped(), {"cheap": 1e-6, "slow": SLOW_S})
    loop.drain("slow", 20)
    loop.drain("cheap", 1_000_000)
    loop.drain("slow", 20)
    assert loop.longest_s <= SLOW_S


@given(st.lists(st.tuples(st.integers(1, 10_000), st.floats(0, 1)), max_size=20), st.floats(0, 5))
def test_there_is_always_room_and_never_more_than_tenfold(
    done: list[tuple[int, float]], seconds: float
) -> None:
    cost = Cost()
    for count, each in done:
        cost.learn(count, count * each, alarm_s=1.0)
    assert 1 <= cost.within(seconds) <= max(1, GROWTH * cost.most)


def test_what_is_slow_all_of_a_sudden_counts_at_once() -> None:
    cost = Cost()
    cost.learn(1_000, 0.001, alarm_s=1.0)
    cost.learn(50, 50 * SLOW_S, alarm_s=1.0)
    assert cost.within(1.0) == pytest.approx(1.0 / SLOW_S, abs=1)


def test_a_burst_behind_a_lull_is_not_held_up() -> None:
    """A record alone seems to cost what a flush costs; a thousand together tell better."""
    cost = Cost(most=1_000_000)
    for _ in range(100):
        cost.learn(1, 0.0005, alarm_s=1.0)
    cost.learn(2_000, 0.004, alarm_s=1.0)
    assert cost.within(1.0) > 300_000


def test_batches_in_front_of_a_slow_function_are_handed_on_in_time() -> None:
    cost, longest_s, sizes = counted(behind=True), 0.0, []
    for _ in range(10):
        rows = cost.room(batch(0), 1_000_000)
        assert cost.fills(batch(rows))
        assert not cost.fills(batch(rows - 1))
        longest_s = max(longest_s, rows * SLOW_S)
        cost.flushed(batch(rows), Spent(rows * SLOW_S, rows))
        sizes.append(rows)
    assert longest_s <= LIMIT_S / 4
    assert sizes[-1] == pytest.approx(LIMIT_S / 4 / SLOW_S, abs=1)


def test_batches_with_nothing_behind_their_stores_are_as_large_as_they_may_be() -> None:
    cost = counted(behind=False)
    assert cost.room(batch(0), 1_000_000) == 1_000_000
    cost.flushed(batch(100_000), Spent(0.05, 100_000))
    assert cost.room(batch(0), 1_000_000) == 1_000_000


def test_records_without_a_change_say_nothing_of_what_changes_take() -> None:
    """Those of another part of the application, in batches of their own or in the same one."""
    cost = counted(behind=True)
    for _ in range(100):
        cost.flushed(batch(1_000), Spent())
    assert cost.room(batch(0), 1_000_000) == 10_000
    cost.flushed(batch(1_000), Spent(2 * SLOW_S, 2))
    assert cost.room(batch(0), 1_000_000) == pytest.approx(LIMIT_S / 4 / SLOW_S, abs=1)


def test_a_record_that_is_several_changes_takes_them_together() -> None:
    cost = counted(behind=True)
    cost.flushed(batch(1), Spent(0.5, 5))
    assert cost.room(batch(0), 1_000_000) == 2


def test_windows_that_close_make_no_batch_smaller() -> None:
    cost = counted(behind=True)
    for rows in (1, 10, 100, 1_000):
        cost.flushed(batch(rows), Spent(0.0001, rows, 0.9, 20_000))
    assert cost.room(batch(0), 1_000_000) == 10_000
    assert cost.closings() == pytest.approx(20_000 / 0.9, rel=0.01)


def test_so_many_results_are_handed_on_as_take_a_quarter_of_the_transaction() -> None:
    cost, longest_s = counted(behind=True), 0.0
    for _ in range(10):
        most = cost.closings()
        longest_s = max(longest_s, most * SLOW_S)
        cost.flushed(batch(0), Spent(0.0, 0, most * SLOW_S, most))
    assert longest_s <= LIMIT_S / 4
    assert most == pytest.approx(LIMIT_S / 4 / SLOW_S, abs=1)


def test_timers_that_hand_on_nothing_and_take_long_are_noticed() -> None:
    cost = counted(behind=True)
    cost.flushed(batch(0), Spent(0.0, 0, 2.0, 0))
    assert cost.closings() == 1


def test_a_flush_that_outlasts_the_transaction_is_run_again_with_fewer() -> None:
    cost = counted(behind=True)
    cost.flushed(batch(1_000), Spent(0.01, 1_000))
    with pytest.raises(Abortable, match="The batch is run again with fewer of them"):
        cost.flushed(batch(50), Spent(50 * SLOW_S, 50))
    assert cost.room(batch(0), 1_000_000) == pytest.approx(LIMIT_S / 4 / SLOW_S, abs=1)


def test_records_that_outlast_the_transaction_are_run_again_one_by_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cost = mapped()
    with caplog.at_level(logging.WARNING, "penstock"):
        cost.measured(records("in", 0, 10), LIMIT_S / 2)
    assert "Processing 10 records of in/0 from offset 0 took 2.0 s, of 4 s" in caplog.text
    with pytest.raises(Abortable, match="run again one by one"):
        cost.measured(records("in", 0, 10), LIMIT_S + 1)
    assert cost.records_of(records("in", 0, 10)) == 1
    with pytest.raises(DataError, match="longer than the transaction may be open"):
        cost.measured(records("in", 3, 1), LIMIT_S + 1)
