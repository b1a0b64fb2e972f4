"""The order of inputs: by timestamp, with a bounded wait for what is missing."""

from collections.abc import Iterable, Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from penstock.engine.order import InputOrder
from penstock.operators.source import Fetched

A, B = ("a", 0), ("b", 0)
Input = tuple[str, int]


class Inputs:
    """Two inputs with ends that the test knows of."""

    def __init__(self, max_idle_ms: int = 100) -> None:
        self.ends: dict[Input, int] = {A: -1, B: -1}
        self.offsets: dict[Input, int] = {A: 0, B: 0}
        self.order = InputOrder(
            [A, B], max_idle_ms=max_idle_ms, times=lambda run: run.timestamps, latest=self.latest
        )

    def latest(self, inputs: Iterable[Input]) -> Mapping[Input, int]:
        return {at: self.ends[at] for at in inputs}

    def add(self, at: Input, *timestamps: int, size: int = 1) -> None:
        start = self.offsets[at]
        self.offsets[at] = end = start + len(timestamps)
        column: Sequence[bytes] = [b"x" * size] * len(timestamps)
        offsets = list(range(start, end))
        self.order.add(Fetched(*at, column, column, timestamps, offsets, None, end))

    def end(self, at: Input) -> None:
        """Say that an input is at its end, behind a marker."""
        self.offsets[at] += 1
        self.order.add(Fetched(*at, [], [], [], [], None, self.offsets[at]))

    def take(self, now_ms: float = 0) -> list[tuple[str, list[int]]]:
        """Take all that can be taken now, as topics with their timestamps."""
        found: list[tuple[str, list[int]]] = []
        while (run := self.order.next(now_ms)) is not None:
            found.append((run.topic, list(run.timestamps)))
        return found


def test_the_older_record_comes_first():
    """Runs are cut where another input is next; among equals the first input."""
    inputs = Inputs()
    inputs.add(A, 1, 5, 6, 9)
    inputs.add(B, 2, 3, 6, 7)
    inputs.end(A)
    inputs.end(B)
    taken = inputs.take()
    assert [run for run in taken if run[1]] == [
        ("a", [1]),
        ("b", [2, 3]),
        ("a", [5, 6]),
        ("b", [6, 7]),
        ("a", [9]),
    ]


def test_the_order_of_offsets_stands():
    """A record that is older than the one before it waits for it."""
    inputs = Inputs()
    inputs.add(A, 10, 1)
    inputs.add(B, 5, 20)
    assert inputs.take(0) == [("b", [5]), ("a", [10, 1])]


def test_an_input_without_records_holds_the_others_back():
    """Until it has some, or is at its end."""
    inputs = Inputs()
    inputs.add(A, 5)
    assert inputs.take(0) == []
    assert inputs.order.holds
    inputs.add(B, 3)
    assert inputs.take(1) == [("b", [3])]
    inputs.end(B)
    assert inputs.take(2) == [("b", []), ("a", [5])]
    assert not inputs.order.holds


def test_the_wait_is_bounded():
    """After max_idle_ms what is there goes on, and all that follows."""
    inputs = Inputs(max_idle_ms=100)
    inputs.add(A, 5)
    assert inputs.take(1_000) == inputs.take(1_099) == []
    assert inputs.take(1_100) == [("a", [5])]
    inputs.add(A, 6)
    assert inputs.take(1_101) == []  # nothing was there meanwhile: it begins anew


def test_an_end_that_the_client_knows_is_enough():
    """No event is needed where the position is the input's end."""
    inputs = Inputs()
    inputs.add(B, 1, 2)
    inputs.add(A, 9)
    assert inputs.take() == [("b", [1, 2])]
    inputs.ends[B] = 3
    assert inputs.take() == []
    inputs.ends[B] = 2
    assert inputs.take() == [("a", [9])]


def test_new_records_end_the_end():
    """An input that was at its end and goes on is waited for again."""
    inputs = Inputs()
    inputs.end(B)
    inputs.add(A, 1)
    assert inputs.take() == [("b", []), ("a", [1])]
    inputs.add(B, 2)
    inputs.end(A)
    assert inputs.take() == [("a", []), ("b", [2])]
    inputs.add(A, 3)
    assert inputs.take() == []


def test_an_end_comes_behind_its_records():
    """The offset behind the last record is told once that record was taken."""
    inputs = Inputs()
    inputs.add(A, 1, 2)
    inputs.end(A)
    inputs.add(B, 9)
    inputs.end(B)
    assert inputs.take() == [("a", [1, 2]), ("a", []), ("b", [9]), ("b", [])]


def test_clearing_forgets_all():
    """What was queued is fetched again."""
    inputs = Inputs()
    inputs.add(A, 1)
    inputs.end(B)
    assert inputs.order.queued(A) == 1
    inputs.order.clear()
    assert inputs.order.queued(A) == 0
    assert inputs.take() == []
    inputs.add(A, 1)
    assert inputs.take() == []


@given(
    st.lists(st.lists(st.integers(0, 20), min_size=1, max_size=6), max_size=4),
    st.lists(st.lists(st.integers(0, 20), min_size=1, max_size=6), max_size=4),
)
def test_it_is_the_merge_record_by_record(a, b):
    """However the inputs are cut, the records come as if the older head was taken each time."""
    inputs = Inputs()
    for at, runs in ((A, a), (B, b)):
        for run in runs:
            inputs.add(at, *run)
        inputs.end(at)
    taken = [(topic, time) for topic, times in inputs.take() for time in times]
    heads = {"a": [t for run in a for t in run], "b": [t for run in b for t in run]}
    expected: list[tuple[str, int]] = []
    while heads["a"] or heads["b"]:
        topic = min((of for of in heads if heads[of]), key=lambda of: (heads[of][0], of))
        expected.append((topic, heads[topic].pop(0)))
    assert taken == expected


@given(st.lists(st.tuples(st.sampled_from([A, B]), st.integers(0, 9), st.integers(0, 5))))
def test_what_waits_is_weighed(runs: list[tuple[Input, int, int]]) -> None:
    """In bytes of values, whatever was taken of it."""
    inputs, left = Inputs(), {A: 0, B: 0}
    for at, first, count in runs:
        inputs.add(at, *range(first, first + count), size=count)
        left[at] += count * count
        while (run := inputs.order.next(0)) is not None:
            left[run.topic, run.partition] -= sum(len(value or b"") for value in run.values)
        assert {of: inputs.order.queued_bytes(of) for of in (A, B)} == left
    inputs.order.clear()
    assert inputs.order.queued_bytes(A) == inputs.order.queued_bytes(B) == 0
