"""Event templates: text with placeholders, compiled to columns of bytes.

A template is any text, usually JSON, with placeholders in braces:

    {"user": "u{zipf:1000}", "page": "/p{choice:home,cart}", "at": {now_ms}, "n": {counter}}

`placeholders` lists them.

Rule 1. An identifier in braces, with or without arguments, is a placeholder and must be in
        the table. Any other brace is literal, so JSON needs no escaping.
Rule 2. Each placeholder draws from its own generator, seeded by the seed and its position.
        Rows are therefore a function of seed, row number and event time: how they are cut into
        blocks never matters.
Rule 3. The key of a row is the text of one field of its value: `template_keys`.

Nothing here reads a clock or knows Kafka, and no part of a template is ever evaluated.
"""

import itertools
from collections.abc import Sequence

from penstock.cli.events.protocol import Due, Rows
from penstock.cli.events.template_keys import Layout, key_layout, layout_of
from penstock.cli.events.template_pieces import generator_of, parse


class Template:
    """Make events from a template; the same text and seed make the same events.

    `key` names the top-level field of a JSON template that becomes the key: the text of a
    string without its quotes, or a number as the value spells it, in UTF-8.

    >>> template = Template('{"user": "u{counter}"}', key="user")
    >>> template.take(Due([0, 0]))
    Rows(values=[b'{"user": "u0"}', b'{"user": "u1"}'], keys=[b'u0', b'u1'], times=[0, 0])

    Raises:
        TopologyError: for an unknown placeholder, wrong arguments, or a key that is not a
            string or number field of a JSON template.
    """

    ended = False

    def __init__(self, text: str, seed: int = 0, *, key: str | None = None) -> None:
        pieces = parse(text)
        draws = [piece.draw for piece in pieces if piece.draw is not None]
        self._columns = [(draw, generator_of(f"{seed}/{at}")) for at, draw in enumerate(draws)]
        self._next_row = 0
        self._row = layout_of(pieces)
        self._key = None if key is None else key_layout(pieces, key)
        self.row_bytes = sum(len(piece.sample.encode()) for piece in pieces)

    def take(self, due: Due) -> Rows:
        """Make the next events; their times are in every `now_ms`."""
        times = due.moved()
        numbers = range(self._next_row, self._next_row + len(times))
        self._next_row += len(times)
        drawn = [draw(generator, numbers, times) for draw, generator in self._columns]
        keys = None if self._key is None else _join(self._key, drawn, len(times))
        return Rows(_join(self._row, drawn, len(times)), keys, times)

    def decode(self, data: bytes, /) -> str:
        """Read an event as what every template makes: text."""
        return data.decode()


def _join(layout: Layout, drawn: list[Sequence[bytes]], rows: int) -> list[bytes]:
    # Hot path: one join per row. The template above, key included, costs 0.5 us per row:
    # python -m timeit -s 'from penstock.cli.events.templates import Template; t = Template(...,
    # key="user")' 't.take(Due([0] * 5000))'
    parts = [
        itertools.repeat(p, rows) if isinstance(p, bytes) else drawn[p] for p in layout or [b""]
    ]
    return list(map(b"".join, zip(*parts, strict=True)))
