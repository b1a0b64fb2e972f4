"""What a template can draw: the placeholders, and how each of them makes a column of texts.

    {zipf:N[:s]}       0 to N-1, rank r drawn with weight 1 / (r + 1)^s; s is 1 unless given
    {uniform:A:B}      an integer from A to B, both included
    {float:A:B}        a number from A to B with six decimals
    {choice:a,b,c}     one of the texts, all equally often
    {counter[:start]}  start, start + 1, ...; start is 0 unless given
    {now_ms}           the time of the event, in milliseconds since the epoch
    {uuid}             a version 4 UUID
    {hex:N}            N hexadecimal digits
    {pad:N}            a filler of N characters, always the same

A builder reads its arguments, raising ValueError with what is wrong, and returns a draw.
"""

import itertools
import math
import random
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

# A column draws the texts of some rows: its generator, their numbers, their times in ms.
Draw: TypeAlias = Callable[[random.Random, range, Sequence[int]], Sequence[bytes]]

LARGEST_ZIPF = 10_000_000  # ranks: 32 bytes each
_LARGEST_WHOLE = 2**53  # beyond it JSON readers, and random(), lose integers
_LARGEST_TEXT = 1_000_000  # characters: Kafka's default limit of a record
_LARGEST_POOL = 100_000  # numbers rendered once rather than at each draw


def _zipf(arguments: str | None) -> Draw:
    weights = zipf_weights(arguments)
    return _numbers(range(len(weights)), weights)


def zipf_weights(arguments: str | None) -> list[float]:
    """Read `N` or `N:s` as the cumulated weights of N ranks.

    Raises:
        ValueError: if it is neither.
    """
    ranks, exponent = split_arguments(arguments, 1, 2, default="1")
    count, power = whole_number(ranks, 1, LARGEST_ZIPF), _real_number(exponent)
    _check_order(0, power)
    return list(itertools.accumulate((rank + 1) ** -power for rank in range(count)))


def _uniform(arguments: str | None) -> Draw:
    low, high = (
        whole_number(text, -_LARGEST_WHOLE, _LARGEST_WHOLE)
        for text in split_arguments(arguments, 2, 2)
    )
    _check_order(low, high)
    return _numbers(range(low, high + 1), None)


def _numbers(numbers: range, weights: list[float] | None) -> Draw:
    if len(numbers) > _LARGEST_POOL:
        return lambda generator, rows, _: _render(
            generator.choices(numbers, cum_weights=weights, k=len(rows))
        )
    pool = _render(numbers)
    return lambda generator, rows, _: generator.choices(pool, cum_weights=weights, k=len(rows))


def _render(numbers: Sequence[int]) -> list[bytes]:
    return list(map(b"%d".__mod__, numbers))


def _float(arguments: str | None) -> Draw:
    low, high = (_real_number(text) for text in split_arguments(arguments, 2, 2))
    _check_order(low, high)
    width = high - low

    def draw(generator: random.Random, rows: range, _: Sequence[int]) -> list[bytes]:
        uniform = generator.random
        return [b"%.6f" % (low + width * uniform()) for _ in rows]

    return draw


def _choice(arguments: str | None) -> Draw:
    if not arguments:
        raise ValueError("name at least one text")
    pool = [option.encode() for option in arguments.split(",")]
    return lambda generator, rows, _: generator.choices(pool, k=len(rows))


def _counter(arguments: str | None) -> Draw:
    start = whole_number(
        split_arguments(arguments, 0, 1, default="0")[0], -_LARGEST_WHOLE, _LARGEST_WHOLE
    )
    return lambda _, rows, __: _render(range(start + rows.start, start + rows.stop))


def _now_ms(arguments: str | None) -> Draw:
    split_arguments(arguments, 0, 0)
    # A block of an unpaced run has one time: 15 ns per row to see that, 100 to render each.
    return lambda _, __, times: (
        _render(times[:1]) * len(times) if len(set(times)) == 1 else _render(times)
    )


def _uuid(arguments: str | None) -> Draw:
    split_arguments(arguments, 0, 0)
    # 32 digits, of which the two that say version and variant (x) are the format's.
    parts, render = struct.Struct("8s4sx3sx3s12s"), b"%b-%b-4%b-a%b-%b".__mod__
    return lambda generator, rows, _: list(
        map(render, parts.iter_unpack(_digits(generator, 32 * len(rows))))
    )


def _hex(arguments: str | None) -> Draw:
    size = whole_number(split_arguments(arguments, 1, 1)[0], 1, _LARGEST_TEXT)
    stride = math.ceil(size / 8) * 8  # a generator draws 32 bits at a time

    def draw(generator: random.Random, rows: range, _: Sequence[int]) -> list[bytes]:
        digits = _digits(generator, stride * len(rows))
        return [digits[at : at + size] for at in range(0, len(digits), stride)]

    return draw


def _digits(generator: random.Random, count: int) -> bytes:
    return generator.randbytes(count // 2).hex().encode()


def _pad(arguments: str | None) -> Draw:
    filler = b"x" * whole_number(split_arguments(arguments, 1, 1)[0], 0, _LARGEST_TEXT)
    return lambda _, rows, __: [filler] * len(rows)


def split_arguments(
    arguments: str | None, least: int, most: int, *, default: str = ""
) -> list[str]:
    """Split what stands behind a name, filled up with a default.

    Raises:
        ValueError: if there are too few or too many.
    """
    parts = [] if arguments is None else arguments.split(":")
    if not least <= len(parts) <= most:
        raise ValueError(f"it has {len(parts)} argument{'s' * (len(parts) != 1)}")
    return parts + [default] * (most - len(parts))


def whole_number(text: str, low: int, high: int) -> int:
    """Read an integer within bounds.

    Raises:
        ValueError: if it is none.
    """
    if not re.fullmatch(r"[+-]?[0-9]{1,20}", text) or not low <= int(text) <= high:
        raise ValueError(f"{text!r} is not an integer from {low:,} to {high:,}")
    return int(text)


def _real_number(text: str) -> float:
    if not re.fullmatch(r"[+-]?[0-9]{1,15}(\.[0-9]{1,15})?", text):
        raise ValueError(f"{text!r} is not a decimal number")
    return float(text)


def _check_order(low: float, high: float) -> None:
    if low > high:
        raise ValueError(f"{low:g} is above {high:g}")


class Form(NamedTuple):
    """How a placeholder is written, and what reads its arguments."""

    usage: str
    build: Callable[[str | None], Draw]


PLACEHOLDERS: Mapping[str, Form] = {
    "zipf": Form("{zipf:N[:s]}", _zipf),
    "uniform": Form("{uniform:A:B}", _uniform),
    "float": Form("{float:A:B}", _float),
    "choice": Form("{choice:a,b,c}", _choice),
    "counter": Form("{counter[:start]}", _counter),
    "now_ms": Form("{now_ms}", _now_ms),
    "uuid": Form("{uuid}", _uuid),
    "hex": Form("{hex:N}", _hex),
    "pad": Form("{pad:N}", _pad),
}
