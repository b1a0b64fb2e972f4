"""Functions that change in place whatever they get, and fail behind that at some words.

What they would write if each had copies is said by an interpreter: of each key its good words so far.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

import penstock as ps

if TYPE_CHECKING:
    from tests.kafka.checking import Record

KEPT = 3
ONE_IN = 11  # words are bad
LAST_CHANGES = "too late"  # this is written nowhere


class Tally(msgspec.Struct):
    """How many words a key has had, and the last of them."""

    number: int = 0
    last: list[str] = []


def listed(word: str) -> list[str]:
    return [word]


def joined(words: list[str]) -> str:
    return "+".join(words)


def is_bad(word: str) -> bool:
    return int(word.removeprefix("word-")) % ONE_IN == 0


def refuse(word: str) -> None:
    if is_bad(word):
        raise ZeroDivisionError("one of the bad ones")


def tally(found: Tally, words: list[str]) -> Tally:
    """Change the aggregate, its list, and the value; then fail, maybe."""
    found.number += 1
    found.last.append(words[0])
    del found.last[:-KEPT]
    word = words.pop()
    words += [LAST_CHANGES, word]
    refuse(word)
    return found


class Keep(ps.Processor[str, list[str], Tally]):
    """Change what state gives, before and after it is set; then fail, maybe."""

    found = ps.ValueState(Tally)

    def process(self, ctx: ps.Context[str], value: list[str]) -> Iterator[Tally]:
        found = self.found.get() or Tally()
        word = value[-1]
        found.number += 1
        found.last = [*found.last, word][-KEPT:]
        self.found.set(found)
        value.clear()
        refuse(word)
        yield Tally(found.number, list(found.last))
        found.last.append(LAST_CHANGES)


def declare(words: "ps.Stream[str, str]", out: list[str]) -> None:
    """Count words in two ways, beside a sibling that is to see them as they came."""
    lists = words.map(listed, value=list[str])
    counts = lists.group_by_key().aggregate(
        Tally, tally, name="tallies", value=Tally, emit="every_update"
    )
    counts.to(out[0])
    lists.process(Keep, name="keep", value=Tally).to(out[1])
    lists.map(joined, value=str).to(out[2])


def good(records: "Iterable[Record]") -> "list[Record]":
    return [record for record in records if not is_bad((record.value or b"").decode())]


def tallies(records: "Iterable[Record]") -> dict[bytes, list[bytes]]:
    """Return what each key goes through: a naive interpreter's word."""
    words: dict[bytes, list[str]] = defaultdict(list)
    found: dict[bytes, list[bytes]] = defaultdict(list)
    for record in good(records):
        key = record.key or b""
        words[key].append((record.value or b"").decode())
        text: Any = {"number": len(words[key]), "last": words[key][-KEPT:]}
        found[key].append(json.dumps(text, separators=(",", ":")).encode())
    return found
