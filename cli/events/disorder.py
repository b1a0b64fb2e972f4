"""What goes wrong with events on their way, in given shares.

    late          its event time, the record's and the field's, is moved back by --late-by
    duplicate     the clean record that was made last comes again: key, value, timestamp
    out of order  comes behind the next clean record of its partition, instead of before it
    poison        its value is bytes that its serde cannot decode
    clean         none of these

Rule 1. Every record is of one kind. The kinds are drawn by the shares, from a generator of their
        own: a function of the seed and the number of the record.
Rule 2. What cannot be is clean: a duplicate before there was a clean record, and at the end of a
        run a record that comes behind none that was made after it.
Rule 3. Clean, late and poison records stand in each partition as they were made.
"""

import itertools
import random
import re
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from penstock.cli.events.protocol import Key, Rows
from penstock.errors import TopologyError


class Kind(StrEnum):
    """What a record is."""

    CLEAN = "clean"
    LATE = "late"
    DUPLICATE = "duplicate"
    OUT_OF_ORDER = "out_of_order"
    POISON = "poison"


@dataclass(frozen=True, kw_only=True)
class Shares:
    """How many records are of each kind, from 0 to 1; the others are clean.

    Attributes:
        late_by_ms: how late the late ones are.
    """

    late: float = 0.0
    duplicates: float = 0.0
    out_of_order: float = 0.0
    poison: float = 0.0
    late_by_ms: int = 600_000

    def __post_init__(self) -> None:
        if self.clean < 0:
            raise TopologyError(
                "The shares of late, duplicate, out-of-order and poison records are more than all"
                f" of them: {1 - self.clean:.0%}. Every record is of one kind: lower them."
            )

    @property
    def clean(self) -> float:
        """The share of the others."""
        total = self.late + self.duplicates + self.out_of_order + self.poison
        return 0.0 if abs(1 - total) < 1e-9 else 1 - total


def parse_share(text: str, option: str) -> float:
    """Read a share: "1%" or "0.01".

    >>> parse_share("2.5%", "--late")
    0.025

    Raises:
        TopologyError: if it is none from 0 to 1.
    """
    match = re.fullmatch(r"\s*(\d{1,3}(?:\.\d{1,9})?|\.\d{1,9})\s*(%?)\s*", text)
    share = float(match[1]) / (100 if match[2] else 1) if match else -1.0
    if not 0 <= share <= 1:
        raise TopologyError(
            f"{option} {text} is no share of the records. Write 1% or 0.01, at most 100%."
        )
    return share


class Outgoing(NamedTuple):
    """A record that is about to be sent."""

    value: bytes
    key: Key
    partition: int
    time: int
    kind: Kind = Kind.CLEAN


class Disorder:
    """Draw the kinds of records, and put records of all kinds in the order in which they are sent.

    Args:
        shares: how many there are of each kind.
        seed: of what is drawn.
        poison: changes the bytes of a value so that it cannot be decoded.
    """

    def __init__(self, shares: Shares, seed: int, poison: Callable[[bytes], bytes]) -> None:
        self._poison = poison
        self._generator = random.Random(f"{seed}/kinds")  # noqa: S311 - test data
        shared = (shares.clean, shares.late, shares.duplicates, shares.out_of_order, shares.poison)
        self._weights = list(itertools.accumulate(shared))
        self._planned: deque[Kind] = deque()
        self._any_clean = False
        self._last: Outgoing | None = None
        self._held: dict[int, list[Outgoing]] = {}
        self._passed: dict[int, int] = {}  # how many of those are behind a later one already

    def plan(self, records: int) -> list[Kind]:
        """Return the kinds of the next records; those that do not come are planned again."""
        missing = records - len(self._planned)
        if missing > 0:
            drawn = self._generator.choices(tuple(Kind), cum_weights=self._weights, k=missing)
            self._planned.extend(map(self._possible, drawn))
        return list(itertools.islice(self._planned, records))

    def arrange(
        self, records: int, rows: Rows, partitions: Sequence[int]
    ) -> tuple[list[Outgoing], int]:
        """Return what is sent now, and how many of the planned records it uses up.

        Args:
            records: how many were planned.
            rows: the events for those of them that are no duplicates, as far as there are any.
            partitions: of each of the events.
        """
        keys = rows.keys or itertools.repeat(None)
        made = map(Outgoing, rows.values, keys, partitions, rows.times)
        sent: list[Outgoing] = []
        used = 0
        while used < records:
            if self._planned[0] is Kind.DUPLICATE:
                assert self._last is not None
                sent.append(self._last._replace(kind=Kind.DUPLICATE))
            elif (record := next(made, None)) is not None:
                self._place(record._replace(kind=self._planned[0]), sent)
            else:
                break
            self._planned.popleft()
            used += 1
        return sent, used

    def rest(self) -> list[Outgoing]:
        """Return what is still held back when nothing follows."""
        rest: list[Outgoing] = []
        for partition, held in self._held.items():
            passed = self._passed.get(partition, 0)
            rest += held[:passed] + [one._replace(kind=Kind.CLEAN) for one in held[passed:]]
        self._held.clear()
        return rest

    def _possible(self, kind: Kind) -> Kind:
        if kind is Kind.DUPLICATE and not self._any_clean:
            kind = Kind.CLEAN
        self._any_clean = self._any_clean or kind is Kind.CLEAN
        return kind

    def _place(self, record: Outgoing, sent: list[Outgoing]) -> None:
        partition = record.partition
        if record.kind is Kind.OUT_OF_ORDER:
            self._held.setdefault(partition, []).append(record)
            return
        if record.kind is Kind.POISON:
            record = record._replace(value=self._poison(record.value))
        sent.append(record)
        if record.kind is Kind.CLEAN:
            self._last = record
            sent += self._held.pop(partition, ())
        self._passed[partition] = len(self._held.get(partition, ()))


def columns(records: Iterable[Outgoing]) -> tuple[Rows, list[int], list[Kind]]:
    """Return records as columns, with their partitions and kinds."""
    values, keys, partitions, times, kinds = map(list, zip(*records, strict=True))
    return Rows(values, keys, times), partitions, kinds
