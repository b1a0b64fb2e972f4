"""Aggregators: the columns of `agg`, each fed with a part of every value.

An aggregator is four functions: an empty state, a state with one more item, two states merged,
and the result of a state. All of them can be merged, so that sessions can use them. Items that
are None are passed over, as SQL does; `count` counts all records.

The sketches (`quantile`, `approx_distinct`, `top_k`) are those of Apache DataSketches: their
state is bounded, their results are estimates, and two runs over the same records may differ
within the error that is said.
"""

import builtins
import math
import operator
from collections.abc import Callable, Sequence
from functools import partial, reduce
from types import GenericAlias, NoneType, UnionType
from typing import Any, Generic, Protocol, TypeAlias, Union, get_args, get_origin, overload

import msgspec
from typing_extensions import TypeVar

from penstock.errors import TopologyError
from penstock.operators.agg import Column
from penstock.operators.fields import Selector, compile_selector
from penstock.serde.types import DataType, returned, where

V = TypeVar("V")
R = TypeVar("R")
A = TypeVar("A")
V_in = TypeVar("V_in", contravariant=True)
V_co = TypeVar("V_co", covariant=True)
R_co = TypeVar("R_co", covariant=True)

KLL_K = 200  # rank error 1.33 %
HLL_LOG2_K = 12  # error 1.6 % at one standard deviation, at most 4 kB
TOP_K_ROOM = 8  # counters kept for each item that is wanted

_NUMBERS = (int, float)


class Aggregator(Protocol[V_in, A, R_co]):
    """An aggregator of one's own. Its states have to be what JSON can hold."""

    def init(self) -> A:
        """Return an empty state."""
        ...

    def add(self, state: A, value: V_in, /) -> A:
        """Return the state with one more value.

        Args:
            state: the state so far; it may be changed in place.
            value: what is added.
        """
        ...

    def merge(self, a: A, b: A, /) -> A:
        """Return the state of both.

        Args:
            a: the state of earlier records; it may be changed in place.
            b: that of later ones.
        """
        ...

    def result(self, state: A, /) -> R_co:
        """Return what comes out.

        Args:
            state: a state, which stays as it is.
        """
        ...


class Agg(Generic[V_co, R_co]):
    """One column of `agg`: an aggregator, and what it reads of each value."""

    def __init__(self, bind: Callable[[DataType], Column]) -> None:
        self._bind = bind

    def bind(self, values: DataType) -> Column:
        """Check what it reads against the type of the values.

        Raises:
            TopologyError: if there is no such field, or it cannot be aggregated so.
        """
        return self._bind(values)


AnyAgg: TypeAlias = Agg[V, R] | Aggregator[V, Any, R]


def count() -> Agg[Any, int]:
    """Count the records.

    >>> import penstock as ps
    >>> orders = ps.App("shop").stream("orders", key=str, value=float).group_by_key()
    >>> orders.agg(n=ps.count(), largest=ps.max(lambda order: order), name="orders").name
    'orders'
    """
    return Agg(
        lambda _: Column(
            "count", int, int, lambda n, _value, _at: n + 1, _plus,
            add_all=lambda n, values, _times: n + len(values), immutable=True,
        )
    )  # fmt: skip


@overload
def sum(of: str) -> Agg[Any, Any]: ...
@overload
def sum(of: Callable[[V], R]) -> Agg[V, R]: ...
def sum(of: Any) -> Agg[Any, Any]:
    """Add numbers up. Nothing but None: 0.

    Args:
        of: a field path, or a function of the value.
    """

    def bind(values: DataType) -> Column:
        get, found = _numbers("sum", of, values)
        return Column(
            f"sum {_named(found)}", found, lambda: 0, _each(get, _plus), _plus,
            add_all=_all(get, lambda state, items: reduce(_plus, items, state)),
            immutable=_is_plain(found),
        )  # fmt: skip

    return Agg(bind)


@overload
def mean(of: str) -> Agg[Any, float]: ...
@overload
def mean(of: Callable[[V], float]) -> Agg[V, float]: ...
def mean(of: Any) -> Agg[Any, float]:
    """Take the arithmetic mean of numbers. Nothing but None: None.

    Args:
        of: a field path, or a function of the value.
    """

    def bind(values: DataType) -> Column:
        get, found = _numbers("mean", of, values)

        def add(state: tuple[int, Any], item: Any) -> tuple[int, Any]:
            return state[0] + 1, state[1] + item

        def merge(a: tuple[int, Any], b: tuple[int, Any]) -> tuple[int, Any]:
            return a[0] + b[0], a[1] + b[1]

        def add_all(state: tuple[int, Any], items: list[Any]) -> tuple[int, Any]:
            return state[0] + len(items), reduce(_plus, items, state[1])

        return Column(
            "mean", float, lambda: (0, 0), _each(get, add), merge,
            lambda state: state[1] / state[0] if state[0] else None, load=tuple,
            add_all=_all(get, add_all), immutable=_is_plain(found),
        )  # fmt: skip

    return Agg(bind)


@overload
def min(of: str) -> Agg[Any, Any]: ...
@overload
def min(of: Callable[[V], R]) -> Agg[V, R]: ...
def min(of: Any) -> Agg[Any, Any]:
    """Take the smallest item. Nothing but None: None.

    Args:
        of: a field path, or a function of the value.
    """
    return _extreme("min", of, builtins.min)


@overload
def max(of: str) -> Agg[Any, Any]: ...
@overload
def max(of: Callable[[V], R]) -> Agg[V, R]: ...
def max(of: Any) -> Agg[Any, Any]:
    """Take the largest item. Nothing but None: None.

    Args:
        of: a field path, or a function of the value.
    """
    return _extreme("max", of, builtins.max)


@overload
def stddev(of: str) -> Agg[Any, float | None]: ...
@overload
def stddev(of: Callable[[V], float]) -> Agg[V, float | None]: ...
def stddev(of: Any) -> Agg[Any, float | None]:
    """Take the sample standard deviation of numbers. Fewer than two of them: None.

    Welford's method, merged as Chan, Golub and LeVeque (1979).

    Args:
        of: a field path, or a function of the value.
    """

    def bind(values: DataType) -> Column:
        get, found = _numbers("stddev", of, values)
        return Column(
            "stddev", float, lambda: (0, 0.0, 0.0), _each(get, _welford), _chan,
            lambda state: math.sqrt(state[2] / (state[0] - 1)) if state[0] > 1 else None,
            load=tuple, immutable=_is_plain(found),
        )  # fmt: skip

    return Agg(bind)


@overload
def first(of: str) -> Agg[Any, Any]: ...
@overload
def first(of: Callable[[V], R]) -> Agg[V, R]: ...
def first(of: Any) -> Agg[Any, Any]:
    """Take the item with the smallest event time, the one that came first among equals.

    Args:
        of: a field path, or a function of the value.
    """
    return _by_time("first", of, lambda kept, at: at < kept)


@overload
def last(of: str) -> Agg[Any, Any]: ...
@overload
def last(of: Callable[[V], R]) -> Agg[V, R]: ...
def last(of: Any) -> Agg[Any, Any]:
    """Take the item with the largest event time, the one that came last among equals.

    Args:
        of: a field path, or a function of the value.
    """
    return _by_time("last", of, lambda kept, at: at >= kept)


@overload
def collect(of: str, *, limit: int) -> Agg[Any, list[Any]]: ...
@overload
def collect(of: Callable[[V], R], *, limit: int) -> Agg[V, list[R]]: ...
def collect(of: Any, *, limit: int) -> Agg[Any, list[Any]]:
    """Keep items in the order in which they came, up to a limit.

    Args:
        of: a field path, or a function of the value.
        limit: how many are kept; what comes behind is passed over.

    Raises:
        TopologyError: if the limit is below 1.
    """
    _at_least_one("collect", "limit", limit)

    def bind(values: DataType) -> Column:
        get, found = compile_selector(of, values)

        def add(state: list[Any], item: Any) -> list[Any]:
            if len(state) < limit:
                state.append(item)
            return state

        return Column(
            f"collect {_named(found.type)}", _list_of(found.type or Any), list, _each(get, add),
            lambda a, b: (a + b)[:limit],
        )  # fmt: skip

    return Agg(bind)


@overload
def quantile(of: str, q: float) -> Agg[Any, float | None]: ...
@overload
def quantile(of: Callable[[V], float], q: float) -> Agg[V, float | None]: ...
def quantile(of: Any, q: float) -> Agg[Any, float | None]:
    """Estimate a quantile of numbers by a KLL sketch: the rank is right within 1.4 %.

    Karnin, Lang, Liberty (2016), https://arxiv.org/abs/1603.05346, with k = 200.

    Args:
        of: a field path, or a function of the value.
        q: which one, between 0 and 1: 0.99 is the 99th percentile.

    Raises:
        TopologyError: if q is not between 0 and 1.
    """
    if not 0 <= q <= 1:
        raise TopologyError(f"q={q!r} of quantile is no share. Use 0 to 1: 0.99 is the p99.")

    def bind(values: DataType) -> Column:
        get, _ = _numbers("quantile", of, values)
        kll = _sketches().kll_doubles_sketch

        def merge(a: Any, b: Any) -> Any:
            a.merge(b)
            return a

        return Column(
            f"kll-{KLL_K}", float, partial(kll, KLL_K), _each(get, _update), merge,
            lambda sketch: None if sketch.is_empty() else sketch.get_quantile(q),
            lambda sketch: sketch.serialize(), kll.deserialize,
        )  # fmt: skip

    return Agg(bind)


@overload
def approx_distinct(of: str) -> Agg[Any, int]: ...
@overload
def approx_distinct(of: Callable[[V], object]) -> Agg[V, int]: ...
def approx_distinct(of: Any) -> Agg[Any, int]:
    """Estimate how many different items there are, within 3.2 % in 19 cases out of 20.

    HyperLogLog with 4,096 buckets (Flajolet et al., 2007).

    Args:
        of: a field path, or a function of the value. Items are compared by their JSON.
    """

    def bind(values: DataType) -> Column:
        get, _ = compile_selector(of, values)
        ds = _sketches()

        def add(sketch: Any, item: Any) -> Any:
            sketch.update(_json(item))
            return sketch

        def merge(a: Any, b: Any) -> Any:
            union = ds.hll_union(HLL_LOG2_K)
            union.update(a)
            union.update(b)
            return union.get_result(ds.tgt_hll_type.HLL_8)

        return Column(
            f"hll-{HLL_LOG2_K}", int, lambda: ds.hll_sketch(HLL_LOG2_K, ds.tgt_hll_type.HLL_8),
            _each(get, add), merge, lambda sketch: round(sketch.get_estimate()),
            lambda sketch: sketch.serialize_compact(), ds.hll_sketch.deserialize,
        )  # fmt: skip

    return Agg(bind)


@overload
def top_k(of: str, k: int) -> Agg[Any, list[tuple[Any, int]]]: ...
@overload
def top_k(of: Callable[[V], R], k: int) -> Agg[V, list[tuple[R, int]]]: ...
def top_k(of: Any, k: int) -> Agg[Any, list[Any]]:
    """Estimate the most frequent items, with how often each came: the most frequent one first.

    Exact up to eight times k different items; beyond that counts may be too high, by no more
    than a share of all records (Misra-Gries, as in DataSketches' frequent items).

    Args:
        of: a field path, or a function of the value. Items are compared by their JSON.
        k: how many.

    Raises:
        TopologyError: if k is below 1.
    """
    _at_least_one("top_k", "k", k)

    def bind(values: DataType) -> Column:
        get, found = compile_selector(of, values)
        ds = _sketches()
        frequent = ds.frequent_strings_sketch
        # It keeps up to 0.75 of its counters.
        room = math.ceil(math.log2(math.ceil(k * TOP_K_ROOM / 0.75)))

        def add(sketch: Any, item: Any) -> Any:
            sketch.update(_json(item), 1)
            return sketch

        def merge(a: Any, b: Any) -> Any:
            a.merge(b)
            return a

        def result(sketch: Any) -> list[list[Any]]:
            known = sketch.get_frequent_items(ds.frequent_items_error_type.NO_FALSE_NEGATIVES)
            ranked = sorted(known, key=lambda row: (-row[1], row[0]))[:k]
            return [[msgspec.json.decode(text), estimate] for text, estimate, *_ in ranked]

        return Column(
            f"frequent-{room}", _list_of(GenericAlias(tuple, (found.type or Any, int))),
            partial(frequent, room),
            _each(get, add), merge, result,
            lambda sketch: sketch.serialize(), frequent.deserialize,
        )  # fmt: skip

    return Agg(bind)


def column_of(aggregator: AnyAgg[V, R]) -> Agg[V, R] | None:
    """Return an aggregator as a column, one of a user's own too; None where it is none."""
    if isinstance(aggregator, Agg):
        return aggregator
    is_class = isinstance(aggregator, type)
    parts = [getattr(aggregator, name, None) for name in ("init", "add", "merge", "result")]
    return None if is_class or not all(map(callable, parts)) else _custom(aggregator)


def _custom(aggregator: "Aggregator[V, Any, R]") -> Agg[V, R]:
    name = f"{type(aggregator).__module__}.{type(aggregator).__qualname__}"
    empty: object = aggregator.init()
    states = type(empty)
    fits: Any = _NUMBERS if states in _NUMBERS else (object if states is NoneType else states)

    def add(state: Any, value: Any, _at: int) -> Any:
        found = aggregator.add(state, value)
        if not isinstance(found, fits):
            raise TypeError(
                f"{name}.add returned {type(found).__name__} ({found!r:.60}), and its init"
                f" {states.__name__}"
            )
        return found

    def bind(_: DataType) -> Column:
        of = returned(aggregator.result).type
        return Column(name, of, aggregator.init, add, aggregator.merge, aggregator.result)

    return Agg(bind)


_plus = operator.add  # one after the other: what floats add up to depends on the order


def _update(sketch: Any, item: Any) -> Any:
    sketch.update(item)
    return sketch


def _each(
    get: Callable[[Any], Any], add: Callable[[Any, Any], Any]
) -> Callable[[Any, Any, int], Any]:
    """Add an item of each value, unless it is None."""

    def added(state: Any, value: Any, _at: int) -> Any:
        item = get(value)
        return state if item is None else add(state, item)

    return added


def _all(
    get: Callable[[Any], Any], add: Callable[[Any, list[Any]], Any]
) -> Callable[[Any, Sequence[Any], Sequence[int]], Any]:
    """Add the items of many values at once, but those that are None."""

    def added(state: Any, values: Sequence[Any], _times: Sequence[int]) -> Any:
        items = [item for item in map(get, values) if item is not None]
        return add(state, items) if items else state

    return added


def _extreme(kind: str, of: Any, better: Callable[..., Any]) -> Agg[Any, Any]:
    """`better` returns the first of the best among its arguments."""

    def merge(a: Any, b: Any) -> Any:
        if a is None or b is None:
            return b if a is None else a
        return better(a, b)

    def bind(values: DataType) -> Column:
        get, found = compile_selector(of, values)
        named = f"{kind} {_named(found.type)}"
        return Column(
            named, found.type, lambda: None, _each(get, merge), merge,
            add_all=_all(get, lambda state, items: merge(state, better(items))),
            immutable=_is_plain(found.type),
        )  # fmt: skip

    return Agg(bind)


def _by_time(kind: str, of: Any, replaces: Callable[[int, int], bool]) -> Agg[Any, Any]:
    """State: [timestamp, item], or [] before the first one."""

    def bind(values: DataType) -> Column:
        get, found = compile_selector(of, values)

        def add(state: list[Any], value: Any, at: int) -> list[Any]:
            item = get(value)
            return state if item is None else merge(state, [at, item])

        def merge(a: list[Any], b: list[Any]) -> list[Any]:
            if not a or not b:
                return a or b
            return b if replaces(a[0], b[0]) else a

        return Column(
            f"{kind} {_named(found.type)}", found.type, list, add, merge,
            lambda state: state[1] if state else None,
        )  # fmt: skip

    return Agg(bind)


Moments = tuple[int, float, float]  # number, mean, sum of squared distances from it


def _welford(state: Moments, item: float) -> Moments:
    n, mean, m2 = state
    n += 1
    delta = item - mean
    mean += delta / n
    return n, mean, m2 + delta * (item - mean)


def _chan(a: Moments, b: Moments) -> Moments:
    if not a[0] or not b[0]:
        return a if a[0] else b
    n = a[0] + b[0]
    delta = b[1] - a[1]
    return n, a[1] + delta * b[0] / n, a[2] + b[2] + delta * delta * a[0] * b[0] / n


def _numbers(kind: str, of: Selector, values: DataType) -> tuple[Callable[[Any], Any], Any]:
    get, found = compile_selector(of, values)
    named: Sequence[Any] = getattr(found.type, "__args__", None) or (found.type,)
    kinds = [part for part in named if part not in (None, type(None))]
    if any(isinstance(part, type) and part not in _NUMBERS for part in kinds):
        told = repr(of) if isinstance(of, str) else where(of) if callable(of) else repr(of)
        raise TopologyError(
            f"{kind} takes numbers, and {told} is {_named(found.type)}. Name a field that is int"
            " or float, or pass a function that returns one."
        )
    return get, found.type


def _is_plain(type: Any) -> bool:
    """Whether items of a type, or None, can be shared: nobody can change them in place."""
    parts = get_args(type) if get_origin(type) in (Union, UnionType) else (type,)
    return all(part in (int, float, str, bool, bytes, NoneType) for part in parts)


def _list_of(type: Any) -> GenericAlias:
    return GenericAlias(list, (type,))


def _named(type: Any) -> str:
    return "any" if type is None else str(getattr(type, "__name__", type))


def _json(item: Any) -> str:
    return msgspec.json.encode(item, order="deterministic").decode()


def _at_least_one(kind: str, name: str, number: int) -> None:
    if number < 1:
        raise TopologyError(f"{name}={number} of {kind} keeps nothing. Use 1 or more.")


def _sketches() -> Any:
    try:
        import datasketches  # type: ignore[import-untyped] # pyright: ignore
    except ImportError:
        raise TopologyError(
            "Sketches need Apache DataSketches: pip install 'penstock[sketches]'."
        ) from None
    return datasketches
