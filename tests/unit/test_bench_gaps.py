"""How long an output stood still, from the times at which its records were seen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.gaps import common_gap, longest_gap, worst_gap


@pytest.mark.parametrize(
    ("times", "gap"),
    [
        pytest.param([0, 1, 10.5, 11, 12, 25], 13, id="between two records"),
        pytest.param([0, 9, 15, 20, 21], 6, id="from the last record before the event"),
        pytest.param([0, 10, 13, 16, 19, 26], 7, id="to the first record after the event"),
        pytest.param([0, 1, 2, 30, 31], 28, id="across the whole of it"),
        pytest.param([0, 9, 10, 14, 20, 99], 6, id="not what was over before, nor what came after"),
        pytest.param([14, 19, 21], 5, id="no record before"),
        pytest.param([9, 12, 13], 7, id="no record after"),
        pytest.param([], 10, id="no record at all"),
        pytest.param([10, 20], 10, id="records at both ends"),
    ],
)
def test_the_longest_gap_of_an_event_from_10_to_20(times, gap):
    assert longest_gap(times, 10, 20) == gap


def test_one_partition_that_stands_still_is_the_worst_and_not_common():
    flows = [9 + i / 4 for i in range(50)]
    stands = [9, 10, 18, 19, 21]
    assert worst_gap([flows, stands, flows], 10, 20) == 8
    assert common_gap([flows, stands, flows], 10, 20) == 0.25


def test_partitions_that_stand_still_in_turn_have_a_common_gap_only_where_they_overlap():
    assert common_gap([[9, 10, 16, 21], [9, 13, 20, 21]], 10, 20) == 4


times = st.lists(st.floats(min_value=0, max_value=30), max_size=30).map(sorted)


@given(st.lists(times.map(lambda found: [0, *found, 30]), min_size=1, max_size=4))
def test_the_whole_never_stands_still_for_longer_than_its_worst_partition(partitions):
    assert common_gap(partitions, 10, 20) <= worst_gap(partitions, 10, 20)


@given(times)
def test_every_moment_of_the_event_is_within_the_gap_of_a_record_or_an_end(found):
    gap = longest_gap(found, 10, 20)
    for moment in (10 + i / 2 for i in range(21)):
        before = max([10, *(at for at in found if at <= moment)])
        after = min([20, *(at for at in found if at >= moment)])
        assert after - before <= gap
