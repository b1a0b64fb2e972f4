"""Restoring as a state machine: when a store is complete, and how far several are."""

import pytest

from penstock.engine.restore import Restore, RestoreProgress


def restore(start: int = 0, end: int = 10) -> Restore:
    """The restore of one partition."""
    return Restore("s", "app-s-changelog", 0, start, end)


def test_a_store_that_is_up_to_date_is_done():
    """Nothing is read where the store reflects the changelog's end."""
    assert restore(10, 10).done
    assert restore(10, 10).remaining == 0


def test_records_alone_are_not_the_end():
    """Applying the last record is not enough: markers may follow, and open transactions."""
    one = restore()
    one.applied(7, 10)
    assert not one.done
    assert one.records == 7


def test_an_end_of_partition_at_the_end_is_the_end():
    """An event at or behind the end taken at the start completes the store."""
    for offset in (10, 12):
        one = restore()
        one.reached(offset)
        assert one.done
        assert one.remaining == 0


def test_an_early_end_of_partition_keeps_waiting():
    """An event before the end means an open transaction: the store is not complete."""
    one = restore()
    one.applied(4, 4)
    one.reached(6)
    assert not one.done
    assert one.remaining == 4
    one.reached(10)
    assert one.done


def test_done_stays_done():
    """A later event with a smaller offset does not undo what is complete."""
    one = restore()
    one.reached(10)
    one.reached(3)
    assert one.done
    assert one.next_offset == 10


def test_the_next_offset_never_goes_back():
    """Events that overtake records do not lose the position."""
    one = restore()
    one.reached(8)
    one.applied(2, 5)
    assert one.next_offset == 8
    assert one.remaining == 2


def test_progress_adds_stores_up():
    """Complete ones count with what they were; what is left is of the others."""
    first, second = restore(0, 100), restore(50, 250)
    first.applied(100, 100)
    first.reached(101)
    second.applied(99, 150)
    found = RestoreProgress.of([first, second], 2.0)
    assert (found.complete, found.left) == ((("s", 0),), (("s", 0),))
    assert (found.records, found.offsets, found.remaining) == (199, 201, 100)
    assert found.records_per_second == 99.5
    assert found.seconds_left == pytest.approx(100 * 2.0 / 201)


def test_nobody_knows_how_long_what_has_not_begun_takes():
    """Neither at the very beginning, nor where a changelog does not answer for long."""
    for seconds in (0.0, 60.0):
        found = RestoreProgress.of([restore(5, 10)], seconds)
        assert (found.records, found.remaining) == (0, 5)
        assert found.records_per_second == 0.0
        assert found.seconds_left is None


def test_nothing_left_takes_no_time():
    """Also where nothing had to be read, and where only the end is to be told yet."""
    read = restore()
    read.applied(10, 10)
    for found in (RestoreProgress.of(of, 0.0) for of in ([], [restore(10, 10)], [read])):
        assert (found.remaining, found.seconds_left) == (0, 0.0)


def test_time_left_is_that_of_offsets():
    """Ten records and as many offsets without one a second: a hundred offsets last five seconds.

    By records it would be ten.
    """
    found = restore(0, 120)
    found.applied(10, 20)
    assert RestoreProgress.of([found], 1.0).seconds_left == 5.0
