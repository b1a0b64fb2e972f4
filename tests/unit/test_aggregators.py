"""Aggregators: what comes out of items, in one piece or merged, and what is refused."""

import math
import statistics
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import penstock as ps
from penstock import aggregators as agg
from penstock.errors import TopologyError
from penstock.operators.agg import StatesSerde
from penstock.serde.types import DataType
from penstock.testing import TestDriver

NUMBERS = st.lists(st.none() | st.integers(-1_000, 1_000), max_size=40)


class Item(msgspec.Struct):
    x: int | None = None
    name: str = ""


ITEM = DataType(Item)


def known(numbers: list[int | None]) -> list[int]:
    return [n for n in numbers if n is not None]


def fed(column: agg.Column, numbers: list[int | None], first_at: int = 0) -> Any:
    state = column.init()
    for at, number in enumerate(numbers, first_at):
        state = column.add(state, Item(number), at)
    return state


def through_bytes(column: agg.Column, state: Any) -> Any:
    serde = StatesSerde({"n": column})
    return serde.decode(serde.encode([state]))[0]


def mean_of(numbers: list[int]) -> float | None:
    return sum(numbers) / len(numbers) if numbers else None


def stddev_of(numbers: list[int]) -> float | None:
    return statistics.stdev(numbers) if len(numbers) > 1 else None


EXACT = {
    "sum": (agg.sum("x"), sum),
    "mean": (agg.mean("x"), mean_of),
    "min": (agg.min("x"), lambda numbers: min(numbers, default=None)),
    "max": (agg.max("x"), lambda numbers: max(numbers, default=None)),
    "stddev": (agg.stddev("x"), stddev_of),
    "first": (agg.first("x"), lambda numbers: numbers[0] if numbers else None),
    "last": (agg.last("x"), lambda numbers: numbers[-1] if numbers else None),
    "collect": (agg.collect("x", limit=7), lambda numbers: numbers[:7]),
    "distinct": (agg.approx_distinct("x"), lambda numbers: len(set(numbers))),
}


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, float):
        return math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-9)
    return found == expected


@pytest.mark.parametrize("name", EXACT)
@given(before=NUMBERS, behind=NUMBERS)
def test_results_are_those_of_all_items(
    name: str, before: list[int | None], behind: list[int | None]
) -> None:
    """Whether they came in one piece or in two that are merged, through bytes in between."""
    of, expected = EXACT[name]
    column = of.bind(ITEM)
    whole = known(before + behind)
    assert same(column.result(fed(column, before + behind)), expected(whole))
    halves = (
        through_bytes(column, fed(column, before)),
        through_bytes(column, fed(column, behind, len(before))),
    )
    assert same(column.result(column.merge(*halves)), expected(whole))


@pytest.mark.parametrize("name", EXACT)
@given(numbers=NUMBERS, cut=st.integers(0, 40))
def test_many_items_at_once_are_those_one_by_one(
    name: str, numbers: list[int | None], cut: int
) -> None:
    column = EXACT[name][0].bind(ITEM)
    values, times = [Item(number) for number in numbers], list(range(len(numbers)))
    state = column.init()
    for part in (slice(0, cut), slice(cut, None)):
        state = column.added(state, values[part], times[part])
    assert column.result(state) == column.result(fed(column, numbers))


def test_states_are_shared_only_where_nobody_can_change_them() -> None:
    class Lists(msgspec.Struct):
        of: list[int]
        one: float | None

    def is_shared(of: agg.Agg[Any, Any]) -> bool:
        return of.bind(DataType(Lists)).immutable

    assert is_shared(agg.max("one"))
    assert not is_shared(agg.max("of"))
    assert not is_shared(agg.max(lambda value: value.of))


def test_records_are_counted_whatever_is_in_them() -> None:
    column = agg.count().bind(ITEM)
    assert column.result(fed(column, [1, None, 3])) == 3
    assert column.merge(2, 3) == 5


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=3_000), st.floats(0, 1))
def test_a_quantile_is_right_within_its_error_of_rank(numbers: list[int], q: float) -> None:
    column = agg.quantile("x", q).bind(ITEM)
    found = column.result(through_bytes(column, fed(column, list(numbers))))
    below = sum(n < found for n in numbers) / len(numbers)
    up_to = sum(n <= found for n in numbers) / len(numbers)
    assert below - 0.03 <= q <= up_to + 0.03


def test_the_most_frequent_items_come_first() -> None:
    column = agg.top_k("x", 3).bind(ITEM)
    numbers = [n for n in range(12) for _ in range(n)]
    merged = column.merge(fed(column, [*numbers]), through_bytes(column, fed(column, [*numbers])))
    expected = [list(row) for row in Counter(numbers * 2).most_common(3)]
    assert column.result(merged) == expected


def test_items_of_many_values_stay_within_bounds() -> None:
    """The state of a sketch does not grow with what it has seen."""
    for of in (agg.approx_distinct("x"), agg.top_k("x", 5), agg.quantile("x", 0.5)):
        column = of.bind(ITEM)
        state = fed(column, list(range(50_000)))
        assert len(StatesSerde({"n": column}).encode([state])) < 8_000
    distinct = agg.approx_distinct("x").bind(ITEM)
    assert 48_000 < distinct.result(fed(distinct, list(range(50_000)))) < 52_000


def test_first_and_last_go_by_event_time() -> None:
    first, last = agg.first("x").bind(ITEM), agg.last("x").bind(ITEM)
    for column, expected in ((first, 3), (last, 1)):
        state = column.init()
        for number, at in ((1, 50), (2, 20), (3, 10)):
            state = column.add(state, Item(number), at)
        assert column.result(state) == expected


class Longest:
    """An aggregator of one's own."""

    def init(self) -> str:
        return ""

    def add(self, state: str, value: Item, /) -> str:
        return max(state, value.name, key=len)

    def merge(self, a: str, b: str, /) -> str:
        return max(a, b, key=len)

    def result(self, state: str, /) -> int:
        return len(state)


def test_an_aggregator_of_ones_own_is_a_column() -> None:
    found = agg.column_of(Longest())
    assert found is not None
    column = found.bind(ITEM)
    assert column.type is int
    state = column.add(column.init(), Item(1, "ab"), 0)
    assert column.result(column.merge(state, "abc")) == 3
    assert column.format.endswith("Longest")


class Fickle(Longest):
    """Returns another type at one of the items."""

    def add(self, state: str, value: Item, /) -> str:
        return 13 if value.x == 13 else super().add(state, value)  # type: ignore[return-value]


def test_an_item_at_which_a_state_changes_its_type_is_left_out() -> None:
    app = ps.App("app", on_error="skip")
    items = app.stream("in", key=str, value=Item).group_by_key()
    items.agg(longest=Fickle(), name="both").to("out")
    with TestDriver(app) as driver:
        for x, name in ((1, "ab"), (13, "abcd"), (2, "abc")):
            driver.topic("in").send(Item(x, name), key="k")
        assert driver.topic("out").read()[-1] == ("k", {"longest": 3})
        (failure,) = driver._tasks[0].failures
        assert "Fickle.add returned int (13), and its init str" in str(failure.error)


def test_an_aggregator_of_ones_own_stands_beside_the_others() -> None:
    app = ps.App("app")
    items = app.stream("in", key=str, value=Item).group_by_key()
    items.agg(n=ps.count(), longest=Longest(), name="both").to("both")
    items.agg(Longest(), name="alone").to("alone")
    with TestDriver(app) as driver:
        for name in ("ab", "abc", "a"):
            driver.topic("in").send(Item(1, name), key="k")
        assert driver.topic("both").read()[-1] == ("k", {"n": 3, "longest": 3})
        assert driver.topic("alone").read()[-1] == ("k", 3)
    with pytest.raises(TopologyError, match="has n=3, which is none"):
        items.agg(n=3, name="none")  # type: ignore[arg-type]
    with pytest.raises(TopologyError, match="an object"):
        items.agg(n=Longest, name="class")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: agg.sum("name").bind(ITEM), "sum takes numbers, and 'name' is str"),
        (lambda: agg.mean("y").bind(ITEM), "Item has no field 'y'"),
        (lambda: agg.quantile("x", 99), "Use 0 to 1"),
        (lambda: agg.top_k("x", 0), "Use 1 or more"),
        (lambda: agg.collect("x", limit=0), "Use 1 or more"),
    ],
)
def test_what_cannot_be_aggregated_is_refused(make: Any, told: str) -> None:
    with pytest.raises(TopologyError, match=told):
        make()
