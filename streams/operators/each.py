"""Each: a function over a column, which tells for every value that it fails on.

A step that raised at its first bad value would have to be run again for each of them. So a
column is gone through to its end, and what failed is told together; where nothing fails, that
costs nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from penstock.errors import BrokerError, BugError, DataError, StateError, TopologyError
from penstock.serde.columns import decode_column, encode_column
from penstock.serde.types import Serde

T = TypeVar("T")


class TimerFailed(DataError):
    """A timer of a processor has failed: no policy lets it go, it would fire again."""


# What is not a record's fault, whatever record it shows at.
NOT_DATA = (BrokerError, BugError, StateError, TimerFailed, TopologyError)
R = TypeVar("R")


class EachFailed(Exception):
    """Some values of the column that a step was given have failed.

    Attributes:
        errors: what was raised, by the value's index in the chunk.
        results: what became of the column, None for those that failed; empty where nobody
            can go on with it.
    """

    def __init__(self, errors: Mapping[int, Exception], results: Sequence[Any] = ()) -> None:
        super().__init__(f"{len(errors)} values failed")
        self.errors = errors
        self.results = results

    def moved(self, indices: Sequence[int]) -> "EachFailed":
        """The same failures in a column of which only the values at `indices` were given."""
        return EachFailed({indices[at]: error for at, error in self.errors.items()})


def each(function: Callable[[T], R], column: Sequence[T]) -> list[R]:
    """Apply a function to every value of a column.

    Raises:
        EachFailed: if it fails for some.

    >>> each(int, ["1", "2"])
    [1, 2]
    """
    rest = iter(column)
    results: list[Any] = []
    errors: dict[int, Exception] = {}
    while len(results) < len(column):
        try:
            results += map(function, rest)
            if len(results) < len(column):
                raise RuntimeError("the function raised StopIteration")
        except NOT_DATA:
            raise
        except Exception as error:  # noqa: BLE001 - a user's function raises what it likes
            errors[len(results)] = error
            results.append(None)
    if errors:
        raise EachFailed(errors, results)
    return results


def encode_each(serde: Serde[Any], values: Sequence[Any]) -> list[bytes | None]:
    """Encode a column of a chunk, None to None.

    Raises:
        EachFailed: if some values have no bytes.
    """
    return _whole_or_each(encode_column, serde.encode, serde, values)


def decode_each(serde: Serde[Any], column: Sequence[bytes | None]) -> list[Any]:
    """Decode a column of a chunk, None to None.

    Raises:
        EachFailed: if some bytes are no value.
    """
    return _whole_or_each(decode_column, serde.decode, serde, column)


def _whole_or_each(
    whole: Callable[[Serde[Any], Sequence[Any]], list[Any]],
    one: Callable[[Any], Any],
    serde: Serde[Any],
    column: Sequence[Any],
) -> list[Any]:
    try:
        return whole(serde, column)
    except NOT_DATA:
        raise
    except Exception as error:  # noqa: BLE001 - a serde raises what it likes
        failed = error
    if None in column:
        each(lambda item: None if item is None else one(item), column)
    else:
        each(one, column)
    raise failed
