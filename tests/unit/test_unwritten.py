"""What waits to be written finds the keys of a range, in any order of commits and ranges."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.state.unwritten import Unwritten

KEYS = st.binary(max_size=2)
COMMITS = st.dictionaries(KEYS, st.none() | st.binary(max_size=1), max_size=5)
RANGES = st.tuples(KEYS, st.none() | KEYS)


@given(st.lists(st.one_of(COMMITS, RANGES), max_size=20))
def test_a_range_is_that_of_a_dict(steps: list[dict[bytes, bytes | None] | tuple[bytes, bytes]]):
    """A range has each of its keys as the last commit has left it."""
    waiting, naive = Unwritten(), dict[bytes, bytes | None]()
    for step in steps:
        if isinstance(step, dict):
            waiting.add(step)
            naive.update(step)
            continue
        start, stop = step
        wanted = {k: v for k, v in naive.items() if k >= start and (stop is None or k < stop)}
        assert waiting.between(start, stop) == wanted
        assert waiting == naive


def test_keys_that_are_committed_again_and_again_take_no_more_room():
    """What is kept to find them does not grow with the commits."""
    waiting = Unwritten()
    waiting.add({b"first": b""})
    waiting.between(b"", None)
    for number in range(2_000):
        waiting.add({key.to_bytes(2): b"%d" % number for key in range(20)})
        assert len(waiting.between(b"", b"\0\2")) == 2
    assert waiting._runs is not None
    assert sum(len(keys) for *_, keys in waiting._runs) == len(waiting)
