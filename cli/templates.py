"""Event templates: text with placeholders, compiled to columns of bytes.

A template is any text, usually JSON, with placeholders in braces:

    {"user": "u{zipf:1000}", "page": "/p{choice:home,cart}", "at": {now_ms}, "n": {counter}}

    {zipf:N[:s]}       0 to N-1, rank r drawn with weight 1 / (r + 1)^s; s is 1 unless given
    {uniform:A:B}      an integer from A to B, both included
    {float:A:B}        a number from A to B with six decimals
    {choice:a,b,c}     one of the texts, all equally often
    {counter[:start]}  start, start + 1, ...; start is 0 unless given
    {now_ms}           milliseconds since the epoch, one value per block
    {uuid}             a version 4 UUID
    {hex:N}            N hexadecimal digits
    {pad:N}            a filler of N characters, always the same

Rule 1. An identifier in braces, with or without arguments, is a placeholder and must be in
        the table. Any other brace is literal, so JSON needs no escaping.
Rule 2. Each placeholder draws from its own generator, seeded by the seed and its position.
        Rows are therefore a function of seed and row number (and the clock, for `now_ms`):
        how they are cut into blocks never matters.
Rule 3. The key of a row is the text of one field of its value. Where that text stands is
        found once, on a sample row; no row is ever parsed.

Nothing here reads a clock or knows Kafka, and no part of a template is ever evaluated.
"""

import itertools
import json
import math
import random
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from penstock.errors import TopologyError


class Block(NamedTuple):
    """Consecutive rows of a template; keys is None for a template without a key."""

    values: list[bytes]
    keys: list[bytes] | None


class Template:
    """Make rows from a template; the same text and seed make the same rows.

    `key` names the top-level field of a JSON template that becomes the key: the text of a
    string without its quotes, or a number as the value spells it, in UTF-8.

    >>> template = Template('{"user": "u{counter}"}', key="user")
    >>> template.block(2, now_ms=0)
    Block(values=[b'{"user": "u0"}', b'{"user": "u1"}'], keys=[b'u0', b'u1'])

    Raises:
        TopologyError: for an unknown placeholder, wrong arguments, or a key that is not a
            string or number field of a JSON template.
    """

    def __init__(self, text: str, seed: int = 0, *, key: str | None = None) -> None:
        pieces = _parse(text)
        draws = [piece.draw for piece in pieces if piece.draw is not None]
        self._columns = [(draw, _generator(f"{seed}/{at}")) for at, draw in enumerate(draws)]
        self._next_row = 0
        self._row = _layout(pieces)
        self._key = None if key is None else _key_layout(pieces, key)
        self.row_bytes = sum(len(piece.sample.encode()) for piece in pieces)
        """The size of a typical row, in bytes: what a caller sizes its blocks by."""

    def block(self, rows: int, now_ms: int) -> Block:
        """Make the next rows, with the given time in every `now_ms`."""
        numbers = range(self._next_row, self._next_row + rows)
        self._next_row += rows
        drawn = [draw(generator, numbers, now_ms) for draw, generator in self._columns]
        keys = None if self._key is None else _join(self._key, drawn, rows)
        return Block(_join(self._row, drawn, rows), keys)


# A column draws the texts of some rows: its generator, their numbers, the time in ms.
_Draw: TypeAlias = Callable[[random.Random, range, int], Sequence[bytes]]

# A row is laid out as literals and the numbers of columns.
_Layout: TypeAlias = list[bytes | int]


def _join(layout: _Layout, drawn: list[Sequence[bytes]], rows: int) -> list[bytes]:
    # Hot path: one join per row. The template above, key included, costs 0.5 us per row:
    # python -m timeit -s 'from penstock.cli.templates import Template; t = Template(...,
    # key="user")' 't.block(5000, 0)'
    parts = [
        itertools.repeat(p, rows) if isinstance(p, bytes) else drawn[p] for p in layout or [b""]
    ]
    return list(map(b"".join, zip(*parts, strict=True)))


class _Piece(NamedTuple):
    """A literal or a placeholder; `sample` is its text in the sample row."""

    sample: str
    draw: _Draw | None = None
    name: str = ""
    arguments: str = ""


_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)(?::([^{}]*))?\}")


def _parse(text: str) -> list[_Piece]:
    pieces: list[_Piece] = []
    end = 0
    for match in _PLACEHOLDER.finditer(_encodable(text)):
        pieces.append(_Piece(text[end : match.start()]))
        pieces.append(_placeholder(match))
        end = match.end()
    pieces.append(_Piece(text[end:]))
    return [piece for piece in pieces if piece.sample or piece.draw]


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TopologyError(
            f"The template has a character at position {error.start} that UTF-8 cannot"
            " express. Give the template in the encoding of your terminal."
        ) from None
    return text


def _placeholder(match: re.Match[str]) -> _Piece:
    name, arguments = match[1], match[2]
    known = _PLACEHOLDERS.get(name)
    if known is None:
        names = ", ".join(form.usage for form in _PLACEHOLDERS.values())
        raise TopologyError(f"The template has an unknown placeholder {match[0]}. Known: {names}.")
    try:
        draw = known.build(arguments)
    except ValueError as error:
        raise TopologyError(
            f"The template has {match[0]}, but the form is {known.usage}: {error}."
        ) from None
    sample = draw(_generator("sample"), range(1), 0)[0].decode()
    return _Piece(sample, draw, name, arguments or "")


def _generator(seed: str) -> random.Random:
    return random.Random(seed)  # noqa: S311 - test data; a text is hashed the same everywhere


def _layout(pieces: list[_Piece]) -> _Layout:
    number = itertools.count()
    return [piece.sample.encode() if piece.draw is None else next(number) for piece in pieces]


# The key: where a field's text stands in the pieces.


def _key_layout(pieces: list[_Piece], key: str) -> _Layout:
    sample = "".join(piece.sample for piece in pieces)
    spans = _fields(sample)
    if key not in spans:
        raise TopologyError(
            f"The template has no field {key!r} to be the key. Its fields are:"
            f" {', '.join(spans) or 'none'}."
        )
    start, end = spans[key]
    if sample[start] == '"':
        return _cut(pieces, key, start + 1, end - 1, text=True)
    if sample[start] in "-0123456789":
        return _cut(pieces, key, start, end, text=False)
    raise TopologyError(
        f"Field {key!r} of the template is {sample[start:end]}; a key is a string or a number."
    )


def _fields(sample: str) -> dict[str, tuple[int, int]]:
    """Find the span of each top-level field's value in a JSON object."""
    decoder = json.JSONDecoder()
    spans: dict[str, tuple[int, int]] = {}
    at = _start_of_object(sample)
    while sample[at] != "}":
        name, at = decoder.raw_decode(sample, at)
        start = _skip_space(sample, _skip_space(sample, at) + len(":"))
        _, end = decoder.raw_decode(sample, start)
        spans[name] = (start, end)
        at = _skip_space(sample, end)
        if sample[at] == ",":
            at = _skip_space(sample, at + len(","))
    return spans


def _start_of_object(sample: str) -> int:
    try:
        if isinstance(json.loads(sample), dict):
            return _skip_space(sample, sample.index("{") + len("{"))
        reason = "it is no object"
    except json.JSONDecodeError as error:
        reason = str(error)
    raise TopologyError(
        f"A key is a field of a JSON object, but the template is none ({reason})."
        f" A row of it reads: {sample[:200]}"
    )


def _skip_space(sample: str, at: int) -> int:
    while sample[at : at + 1] in {" ", "\t", "\n", "\r"}:
        at += 1
    return at


def _cut(pieces: list[_Piece], key: str, start: int, end: int, *, text: bool) -> _Layout:
    """Lay out the part of the row from start to end of the sample."""
    layout: _Layout = []
    number = at = 0
    for piece in pieces:
        low, high = max(start - at, 0), min(end - at, len(piece.sample))
        if piece.draw is None and low < high:
            part = piece.sample[low:high]
            layout.append(_plain(part, key) if text else part.encode())
        elif piece.draw is not None and (low < high or (start <= at <= end and not piece.sample)):
            _check_inside(piece, key, whole=high - low == len(piece.sample), text=text)
            layout.append(number)
        number += piece.draw is not None
        at += len(piece.sample)
    return layout


def _plain(text: str, key: str) -> bytes:
    """Undo the escapes of a part of a JSON string."""
    try:
        return str(json.loads(f'"{text}"')).encode()
    except ValueError:
        raise TopologyError(
            f"Field {key!r} is the key, but its part {text!r} is no JSON text by itself: an"
            " escape is cut in two. Write the character itself."
        ) from None


def _check_inside(piece: _Piece, key: str, *, whole: bool, text: bool) -> None:
    """Hold a placeholder of the key to what its rows look like, not just the sample."""
    if not whole:
        raise TopologyError(
            f"Field {key!r} is the key: write its quotes in the template, around the placeholder."
        )
    if piece.name != "choice":
        return
    wrong = r'["\\\x00-\x1f]' if text else r"[^0-9eE+.-]|^$"
    for option in piece.arguments.split(","):
        if re.search(wrong, option):
            raise TopologyError(
                f"Field {key!r} is the key, and its choice {option!r} is"
                f" {'no plain text' if text else 'no number'}. Write"
                f" {'characters that JSON needs not escape' if text else 'numbers only'}."
            )


# The table. A builder reads its arguments, raising ValueError with what is wrong.

_LARGEST_WHOLE = 2**53  # beyond it JSON readers, and random(), lose integers
_LARGEST_ZIPF = 10_000_000  # ranks: 32 bytes each
_LARGEST_TEXT = 1_000_000  # characters: Kafka's default limit of a record
_LARGEST_POOL = 100_000  # numbers rendered once rather than at each draw


def _zipf(arguments: str | None) -> _Draw:
    ranks, exponent = _split(arguments, 1, 2, default="1")
    count, power = _whole(ranks, 1, _LARGEST_ZIPF), _real(exponent)
    _check_order(0, power)
    weights = ((rank + 1) ** -power for rank in range(count))
    return _numbers(range(count), list(itertools.accumulate(weights)))


def _uniform(arguments: str | None) -> _Draw:
    low, high = (_whole(text, -_LARGEST_WHOLE, _LARGEST_WHOLE) for text in _split(arguments, 2, 2))
    _check_order(low, high)
    return _numbers(range(low, high + 1), None)


def _numbers(numbers: range, weights: list[float] | None) -> _Draw:
    if len(numbers) > _LARGEST_POOL:
        return lambda generator, rows, _: _render(
            generator.choices(numbers, cum_weights=weights, k=len(rows))
        )
    pool = _render(numbers)
    return lambda generator, rows, _: generator.choices(pool, cum_weights=weights, k=len(rows))


def _render(numbers: Sequence[int]) -> list[bytes]:
    return list(map(b"%d".__mod__, numbers))


def _float(arguments: str | None) -> _Draw:
    low, high = (_real(text) for text in _split(arguments, 2, 2))
    _check_order(low, high)
    width = high - low

    def draw(generator: random.Random, rows: range, _: int) -> list[bytes]:
        uniform = generator.random
        return [b"%.6f" % (low + width * uniform()) for _ in rows]

    return draw


def _choice(arguments: str | None) -> _Draw:
    if not arguments:
        raise ValueError("name at least one text")
    pool = [option.encode() for option in arguments.split(",")]
    return lambda generator, rows, _: generator.choices(pool, k=len(rows))


def _counter(arguments: str | None) -> _Draw:
    start = _whole(_split(arguments, 0, 1, default="0")[0], -_LARGEST_WHOLE, _LARGEST_WHOLE)
    return lambda _, rows, __: _render(range(start + rows.start, start + rows.stop))


def _now_ms(arguments: str | None) -> _Draw:
    _split(arguments, 0, 0)
    return lambda _, rows, now_ms: [b"%d" % now_ms] * len(rows)


def _uuid(arguments: str | None) -> _Draw:
    _split(arguments, 0, 0)
    # 32 digits, of which the two that say version and variant (x) are the format's.
    parts, render = struct.Struct("8s4sx3sx3s12s"), b"%b-%b-4%b-a%b-%b".__mod__
    return lambda generator, rows, _: list(
        map(render, parts.iter_unpack(_digits(generator, 32 * len(rows))))
    )


def _hex(arguments: str | None) -> _Draw:
    size = _whole(_split(arguments, 1, 1)[0], 1, _LARGEST_TEXT)
    stride = math.ceil(size / 8) * 8  # a generator draws 32 bits at a time

    def draw(generator: random.Random, rows: range, _: int) -> list[bytes]:
        digits = _digits(generator, stride * len(rows))
        return [digits[at : at + size] for at in range(0, len(digits), stride)]

    return draw


def _digits(generator: random.Random, count: int) -> bytes:
    return generator.randbytes(count // 2).hex().encode()


def _pad(arguments: str | None) -> _Draw:
    filler = b"x" * _whole(_split(arguments, 1, 1)[0], 0, _LARGEST_TEXT)
    return lambda _, rows, __: [filler] * len(rows)


def _split(arguments: str | None, least: int, most: int, *, default: str = "") -> list[str]:
    parts = [] if arguments is None else arguments.split(":")
    if not least <= len(parts) <= most:
        raise ValueError(f"it has {len(parts)} argument{'s' * (len(parts) != 1)}")
    return parts + [default] * (most - len(parts))


def _whole(text: str, low: int, high: int) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,20}", text) or not low <= int(text) <= high:
        raise ValueError(f"{text!r} is not an integer from {low:,} to {high:,}")
    return int(text)


def _real(text: str) -> float:
    if not re.fullmatch(r"[+-]?[0-9]{1,15}(\.[0-9]{1,15})?", text):
        raise ValueError(f"{text!r} is not a decimal number")
    return float(text)


def _check_order(low: float, high: float) -> None:
    if low > high:
        raise ValueError(f"{low:g} is above {high:g}")


class _Form(NamedTuple):
    usage: str
    build: Callable[[str | None], _Draw]


_PLACEHOLDERS: Mapping[str, _Form] = {
    "zipf": _Form("{zipf:N[:s]}", _zipf),
    "uniform": _Form("{uniform:A:B}", _uniform),
    "float": _Form("{float:A:B}", _float),
    "choice": _Form("{choice:a,b,c}", _choice),
    "counter": _Form("{counter[:start]}", _counter),
    "now_ms": _Form("{now_ms}", _now_ms),
    "uuid": _Form("{uuid}", _uuid),
    "hex": _Form("{hex:N}", _hex),
    "pad": _Form("{pad:N}", _pad),
}
