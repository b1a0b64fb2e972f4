"""Restoring as a state machine: when a store is complete."""

from penstock.engine.restore import Restore


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
