"""Narrowing finds the record because of which a commit is refused."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.engine.batch import Batch
from penstock.engine.metadata import BatchId
from penstock.engine.narrowing import Narrowing

IN = ("in", 0)
MOST = 1_000
REFUSED = RuntimeError("refused")


def batch_of(first: int, rows: int) -> Batch:
    batch = Batch(BatchId(1, 0), 0)
    batch.add(IN, first, first + rows, rows)
    return batch


@given(st.integers(1, 3 * MOST), st.sets(st.integers(0, 3 * MOST), max_size=5))
def test_exactly_the_refused_records_are_found(records: int, bad: set[int]) -> None:
    """And the others are committed in order, in batches that grow again."""
    bad = {offset for offset in bad if offset < records}
    narrowing, position, tries = Narrowing(), 0, 0
    let_go: set[int] = set()
    while position < records:
        tries += 1
        batch = batch_of(position, min(narrowing.room(batch_of(0, 0), MOST), records - position))
        end = position + batch.rows
        known = set(narrowing.found_in(IN))
        if bad.intersection(range(position, end)) - known:
            assert narrowing.refused(batch, REFUSED)
            continue
        let_go |= known.intersection(range(position, end))
        narrowing.committed(batch, MOST)
        position = end
    assert let_go == bad
    assert not narrowing.found, "what is committed is forgotten"
    assert tries <= records / MOST + 40 * len(bad) + 2


def test_a_refusal_that_is_no_records_doing_is_no_step_forward() -> None:
    narrowing = Narrowing()
    assert narrowing.refused(batch_of(7, 1), REFUSED)
    assert not narrowing.refused(batch_of(7, 1), REFUSED)
    assert not narrowing.refused(batch_of(7, 0), REFUSED)


def test_what_another_partition_commits_forgets_nothing() -> None:
    narrowing = Narrowing()
    narrowing.blame(IN, 7, REFUSED)
    other = Batch(BatchId(1, 0), 0)
    other.add(("in", 1), 0, 50, 50)
    narrowing.committed(other, MOST)
    narrowing.committed(batch_of(0, 7), MOST)
    assert narrowing.found_in(IN) == {7: REFUSED}
    narrowing.committed(batch_of(7, 1), MOST)
    assert not narrowing.found_in(IN)
