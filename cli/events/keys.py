"""Where keys come from: `--keys`, and the bytes of a key.

zipf:N[:s]      0 to N-1, rank r drawn with weight 1 / (r + 1)^s; s is 1 unless given
uniform:N       0 to N-1, all equally often
cycle:N         0 to N-1 in turn
counter         0, 1, 2, ...: each key once
"""

import itertools
import random
from collections.abc import Callable
from typing import Any

import msgspec

from penstock.cli.events.placeholders import (
    LARGEST_ZIPF,
    split_arguments,
    whole_number,
    zipf_weights,
)
from penstock.errors import TopologyError

Numbers = Callable[[int], list[int]]
"""Draw so many numbers."""


def draw_keys(text: str, seed: int) -> Numbers:
    """Read what `--keys` says.

    >>> draw_keys("cycle:3", seed=0)(5)
    [0, 1, 2, 0, 1]

    Raises:
        TopologyError: if it is no such thing.
    """
    name, colon, rest = text.partition(":")
    builder = _KINDS.get(name)
    try:
        if builder is None:
            raise ValueError(f"{name!r} is unknown")
        return builder(rest if colon else None, random.Random(f"{seed}/keys"))  # noqa: S311
    except ValueError as error:
        raise TopologyError(
            f"--keys {text} says not how keys are drawn: {error}. Write zipf:N, zipf:N:s,"
            " uniform:N, cycle:N or counter."
        ) from None


def _zipf(arguments: str | None, generator: random.Random) -> Numbers:
    weights = zipf_weights(arguments)
    ranks = range(len(weights))
    return lambda rows: generator.choices(ranks, cum_weights=weights, k=rows)


def _uniform(arguments: str | None, generator: random.Random) -> Numbers:
    numbers = range(_count(arguments))
    return lambda rows: generator.choices(numbers, k=rows)


def _cycle(arguments: str | None, _: random.Random) -> Numbers:
    turns = itertools.cycle(range(_count(arguments)))
    return lambda rows: list(itertools.islice(turns, rows))


def _counter(arguments: str | None, _: random.Random) -> Numbers:
    split_arguments(arguments, 0, 0)
    numbers = itertools.count()
    return lambda rows: list(itertools.islice(numbers, rows))


def _count(arguments: str | None) -> int:
    return whole_number(split_arguments(arguments, 1, 1)[0], 1, LARGEST_ZIPF)


_KINDS: dict[str, Callable[[str | None, random.Random], Numbers]] = {
    "zipf": _zipf,
    "uniform": _uniform,
    "cycle": _cycle,
    "counter": _counter,
}


def text_keys(numbers: Numbers, prefix: str = "key") -> Callable[[int], list[bytes]]:
    """Make keys that are text: `key-17`."""
    form = f"{prefix}-%d".encode().__mod__
    return lambda rows: list(map(form, numbers(rows)))


def text_of(value: Any) -> bytes | None:
    """Write a key whose type nobody has declared: text as it is, numbers as JSON has them.

    Raises:
        ValueError: if it is neither.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bool | int | float):
        return msgspec.json.encode(value)
    raise ValueError(f"{msgspec.json.encode(value).decode()[:80]} is no key: text or a number is")
