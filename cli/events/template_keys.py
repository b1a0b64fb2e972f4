"""The key of a template: where the text of a field stands in its pieces.

It is found once, on a sample row, so that no row is ever parsed. A field that cannot be cut out
of the text for certain is refused.
"""

import itertools
import json
import re
from typing import TypeAlias

from penstock.cli.events.template_pieces import Piece
from penstock.errors import TopologyError

# A row is laid out as literals and the numbers of columns.
Layout: TypeAlias = list[bytes | int]


def layout_of(pieces: list[Piece]) -> Layout:
    """Lay out the whole row."""
    number = itertools.count()
    return [piece.sample.encode() if piece.draw is None else next(number) for piece in pieces]


def key_layout(pieces: list[Piece], key: str) -> Layout:
    """Lay out the text of a field: that of a string without its quotes, or a number's.

    Raises:
        TopologyError: if it is no string or number at the top of a JSON object, or cannot be cut
            out of every row.
    """
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


def _cut(pieces: list[Piece], key: str, start: int, end: int, *, text: bool) -> Layout:
    """Lay out the part of the row from start to end of the sample."""
    layout: Layout = []
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


def _check_inside(piece: Piece, key: str, *, whole: bool, text: bool) -> None:
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
