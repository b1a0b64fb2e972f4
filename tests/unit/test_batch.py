"""Batches: what they count, and when they are due."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.engine.batch import NEXT_FETCH_MS, PAUSE_PER_COMMIT, Batch, Pace
from penstock.engine.metadata import BatchId

ID = BatchId(1, 0)


def pace(**changed: float) -> Pace:
    """The default pace, with small limits."""
    settings = {"interval_ms": 100, "min_interval_ms": 20, "max_records": 10, "max_bytes": 1000}
    return Pace(**{**settings, **changed})


def test_a_batch_counts_rows_and_offsets():
    """The first offset of each input stays, the last one moves, rows add up."""
    batch = Batch(ID, 0)
    batch.add(("a", 0), 5, 8, 3)
    batch.add(("b", 0), 0, 1, 1)
    batch.add(("a", 0), 8, 20, 4)
    assert batch.start_offsets == {("a", 0): 5, ("b", 0): 0}
    assert batch.next_offsets == {("a", 0): 20, ("b", 0): 1}
    assert batch.rows_in == {("a", 0): 7, ("b", 0): 1}
    assert batch.rows == 8


def test_drained_input_is_committed_at_once():
    """After a long pause a drained batch is due with its first record."""
    assert pace().due(Batch(ID, 1_000), 1_000, drained=True)


def test_an_input_with_more_waits_for_the_interval():
    """A batch that is not drained is due at the commit interval, not before."""
    batch = Batch(ID, 1_000)
    assert not pace().due(batch, 1_099, drained=False)
    assert pace().due(batch, 1_100, drained=False)


def test_commits_keep_their_distance():
    """A drained batch waits until min_interval_ms after the last commit."""
    paced = pace()
    paced.committed(990, 990)
    batch = Batch(ID, 1_000)
    assert not paced.due(batch, 1_009, drained=True)
    assert paced.wait_ms(batch, 1_004) == 6
    assert paced.due(batch, 1_010, drained=True)


def test_dear_commits_are_rarer():
    """The pause is twice the average commit time where that is more."""
    paced = pace()
    paced.committed(980, 996)
    batch = Batch(ID, 1_000)
    assert paced.wait_ms(batch, 1_000) == 980 + PAUSE_PER_COMMIT * 16 - 1_000


def test_the_pause_never_exceeds_the_interval():
    """However long commits take, a drained batch is due at the commit interval."""
    paced = pace()
    paced.committed(0, 1_000)
    assert paced.wait_ms(Batch(ID, 1_000), 1_000) == 100
    assert paced.due(Batch(ID, 1_000), 1_100, drained=True)


@pytest.mark.parametrize(("took", "longest"), [(20, 100), (90, 180), (900, 500)])
def test_dear_commits_share_what_they_cost_while_records_wait(took, longest):
    """A batch that is not drained stays open for two commits' time, up to 400 ms longer."""
    paced, batch = pace(), Batch(ID, 1_000)
    paced.committed(0, took)
    assert not paced.due(batch, 999 + longest, drained=False)
    assert paced.due(batch, 1_000 + longest, drained=False)


def test_an_input_that_is_behind_gets_a_moment_to_fetch():
    """Past the interval an empty queue counts as drained only after a moment, before it at once."""
    paced, batch = pace(), Batch(ID, 1_000)
    paced.committed(960, 1_050)
    assert paced.poll_ms(batch, 1_050) == paced.wait_ms(batch, 1_050) == 50
    assert paced.poll_ms(batch, 1_150) == NEXT_FETCH_MS
    assert paced.poll_ms(batch, 1_180) == 0


@pytest.mark.parametrize(("rows", "size"), [(10, 0), (0, 1000)])
def test_a_full_batch_is_due(rows, size):
    """The limits of records and bytes count at once, drained or not."""
    paced, batch = pace(), Batch(ID, 1_000)
    paced.committed(0, 1_000)
    assert not paced.due(batch, 1_000, drained=False)
    batch.add(("a", 0), 0, rows, rows)
    batch.bytes_in = size
    assert paced.due(batch, 1_000, drained=False)


def test_the_average_follows_slowly():
    """The first commit sets the average, each later one moves it by an eighth."""
    paced = pace()
    paced.committed(0, 8)
    assert paced.average_ms == 8
    paced.committed(100, 116)
    assert paced.average_ms == 9


@given(st.floats(0, 1e6), st.floats(0, 1e3), st.floats(0, 1e4), st.floats(0, 1e4), st.booleans())
def test_waiting_as_told_is_enough(committed, took, opened, later, drained):
    """A drained batch is due as soon as wait_ms says so, and one that is due needs no wait."""
    paced = pace()
    paced.committed(committed, committed + took)
    batch = Batch(ID, committed + took + opened)
    now = batch.opened_ms + later
    wait = max(0.0, paced.wait_ms(batch, now))
    assert paced.due(batch, now + wait + 1e-6, drained=True)
    if paced.due(batch, now, drained=drained):
        assert wait == 0
