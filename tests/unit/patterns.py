"""Patterns written as text, for the tests: `a b+ !r c? 2d ^e |5!` is

    then a, one_or_more b, without r, optional c, times d (2), next e, within 5 ms with timeouts.

A word of several letters is satisfied by each of them. With `>` behind it, the number of the event
has to be larger than that of the last event that was taken. An event is `a` or `a7`, its time in
milliseconds behind it where it is not the place in which it stands: `a7@30`.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import penstock as ps
from penstock import patterns


class Word(NamedTuple):
    """One word of a pattern."""

    kind: str
    letters: str
    count: int
    looks_back: bool


def words(text: str) -> list[Word]:
    return [word(some) for some in text.partition("|")[0].split()]


def word(text: str) -> Word:
    looks_back, text = text.endswith(">"), text.removesuffix(">")
    if text[0] in "!^":
        return Word("without" if text[0] == "!" else "next", text[1:], 1, looks_back)
    if text[0].isdigit():
        return Word("times", text[1:], int(text[0]), looks_back)
    kind = {"+": "one_or_more", "?": "optional"}.get(text[-1], "then")
    return Word(kind, text.rstrip("+?"), 1, looks_back)


def limit(text: str) -> tuple[int | None, bool]:
    """Within how many milliseconds, and whether timeouts are told."""
    within = text.partition("|")[2].strip()
    return (int(within.rstrip("!")) if within else None), within.endswith("!")


def number(event: str) -> int:
    return int(event[1:] or 0)


def pattern(text: str) -> patterns.Pattern[str]:
    made: Any = patterns.begin(str)
    for place, (kind, letters, count, looks_back) in enumerate(words(text)):
        counted = {"count": count} if kind == "times" else {}
        made = getattr(made, kind)(f"{letters}{place}", _condition(letters, looks_back), **counted)
    within, timeouts = limit(text)
    return made if within is None else made.within(f"{within}ms", timeouts=timeouts)


def _condition(letters: str, looks_back: bool) -> Any:
    def after(event: str, so_far: patterns.Match[str]) -> bool:
        (*_, last) = so_far.events.values()
        return event[0] in letters and number(event) > number(last[-1].value)

    return after if looks_back else lambda event: event[0] in letters


def app_of(text: str, **options: Any) -> ps.App:
    app = ps.App("cuts", **options)
    app.stream("in", key=str, value=str).match(pattern(text), name="m").to("out")
    return app


def events(text: str) -> list[tuple[str, int]]:
    """The events of a text, with their times."""
    found: list[tuple[str, int]] = []
    for place, some in enumerate(text.split()):
        value, at, time = some.partition("@")
        found.append((value, int(time) if at else place))
    return found


def shown(match: patterns.Match[str]) -> str:
    """The times of a match's events, step by step, such as `0 1,2 5`, and `!` if it timed out."""
    steps = (",".join(str(event.timestamp) for event in of) for of in match.events.values())
    return " ".join(steps) + "!" * match.timed_out


def all_shown(found: Iterable[tuple[Any, patterns.Match[str]]]) -> list[str]:
    return [shown(match) for _, match in found]
