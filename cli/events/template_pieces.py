"""A template taken apart: literals and placeholders, in their order."""

import random
import re
from typing import NamedTuple

from penstock.cli.events.placeholders import PLACEHOLDERS, Draw
from penstock.errors import TopologyError


class Piece(NamedTuple):
    """A literal or a placeholder; `sample` is its text in the sample row."""

    sample: str
    draw: Draw | None = None
    name: str = ""
    arguments: str = ""


_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)(?::([^{}]*))?\}")


def parse(text: str) -> list[Piece]:
    """Take a template apart.

    Raises:
        TopologyError: for an unknown placeholder or wrong arguments.
    """
    pieces: list[Piece] = []
    end = 0
    for match in _PLACEHOLDER.finditer(_encodable(text)):
        pieces.append(Piece(text[end : match.start()]))
        pieces.append(_placeholder(match))
        end = match.end()
    pieces.append(Piece(text[end:]))
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


def _placeholder(match: re.Match[str]) -> Piece:
    name, arguments = match[1], match[2]
    known = PLACEHOLDERS.get(name)
    if known is None:
        names = ", ".join(form.usage for form in PLACEHOLDERS.values())
        raise TopologyError(f"The template has an unknown placeholder {match[0]}. Known: {names}.")
    try:
        draw = known.build(arguments)
    except ValueError as error:
        raise TopologyError(
            f"The template has {match[0]}, but the form is {known.usage}: {error}."
        ) from None
    sample = draw(generator_of("sample"), range(1), [0])[0].decode()
    return Piece(sample, draw, name, arguments or "")


def generator_of(seed: str) -> random.Random:
    """Make a generator; a text is hashed the same everywhere."""
    return random.Random(seed)  # noqa: S311 - test data
