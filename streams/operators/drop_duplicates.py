"""Drop duplicates: hand on the first of equal records within a time.

Rule 1: a record is a duplicate if one that is equal to it was handed on and their event times are
        at most `within` apart, in whatever order they came.
Rule 2: operator time is the largest event time so far. A record that is more than `within` older is
        late: what it might be a duplicate of may be forgotten, so it is dropped.
Rule 3: what was handed on is remembered while a record that is not late can be its duplicate, which
        is for twice `within`, and forgotten by whole spans: at three times `within` it is gone.

Time is cut into spans in which any two instants are at most `within` apart, so a span has at most
one of equal records, and an equal one of a record is in its own span or beside it. So there is one
entry for each record that is handed on, and what is to be forgotten stands first in the store.

Spark's dropDuplicatesWithinWatermark, but wherever the input is cut into batches.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from penstock.operators.chunk import Chunk
from penstock.operators.each import each
from penstock.operators.earliest import NEVER, Earliest
from penstock.operators.known_spans import KnownSpans
from penstock.operators.late import LateCount
from penstock.operators.operator import NOTHING
from penstock.operators.time import START, OperatorTime
from penstock.serde.columns import decode_column
from penstock.serde.seen import identify, pack_span, unpack_span
from penstock.serde.types import Serde
from penstock.state.definition import StoreDefinition
from penstock.state.overlay import Changes, Entry, Overlay

KNOWN = 500_000  # records that are known without a look at the store, per task: 40 MB
_NOTHING = Chunk([], [])


@dataclass(frozen=True)
class DropDuplicates:
    """Hand on each record that is not equal to another one shortly before.

    Attributes:
        by: what of the value has to be equal; nothing for all of it.
        within_ms: how far event times of duplicates are apart at most.
        key: serde of the records' keys.

    >>> from penstock.serde.primitives import INT, STR
    >>> from penstock.serde.seen import SeenKeySerde
    >>> from penstock.state.memory import MemoryStore
    >>> store = StoreDefinition("seen", SeenKeySerde(STR, "seen"), INT)
    >>> opened = DropDuplicates((), 5, STR, store).open(
    ...     Overlay(store, MemoryStore()), coalesce=False)
    >>> opened.process(Chunk([7, 7, 8, 7], [0, 5, 5, 6], keys=["a"] * 4)).timestamps
    [0, 5, 6]
    """

    by: tuple[Callable[[Any], Any], ...]
    within_ms: int
    key: Serde[Any]
    store: StoreDefinition
    reads = NOTHING
    timed = True
    keeps_records = True

    def open(self, overlay: Overlay, *, coalesce: bool) -> "OpenDropDuplicates":
        """Bind the step to the store of one task."""
        return OpenDropDuplicates(self, overlay)


class OpenDropDuplicates:
    """The memory of one task.

    Attributes:
        duplicates: records that were dropped as such, until the task counts them.
        late: records that came too late to be told, until the task counts them.
    """

    wake_ms = None

    def __init__(self, declared: DropDuplicates, overlay: Overlay) -> None:
        self._key = declared.key
        self._identify = identify(declared.by)
        self._within = declared.within_ms
        self._span = declared.within_ms + 1
        self._overlay = overlay
        self._earliest = Earliest(self._first_span)
        self._forgotten_to = b""
        self._known: KnownSpans | None = None
        self.dropped = self.late = self.duplicates = 0
        self.late_count = LateCount()

    def process(self, chunk: Chunk, time: OperatorTime = START) -> Chunk | None:
        """Return the records that are no duplicates: 3 us each."""
        chunk = chunk.strictly()  # else time would have moved for those that are left out
        identities = self._identities(chunk)
        kept = self._in_time(chunk.timestamps, time)
        if kept is not None:
            offsets: Sequence[int | None] = chunk.offsets or [None] * len(kept)
            self.late_count.add(at for at, keep in zip(offsets, kept, strict=True) if not keep)
            chunk = chunk.select(kept)
            identities = [of for of, keep in zip(identities, kept, strict=True) if keep]
        if not len(chunk):
            return None
        first = self._first(identities, chunk.timestamps, time)
        self.duplicates += first.count(False)
        return chunk.select(first)

    def _identities(self, chunk: Chunk) -> list[bytes]:
        keys: Sequence[Any] = chunk.encoded_keys(self._key)
        if not all(keys) and None in keys:
            each(_refuse_null, keys)
        # A key of bytes that its serde refuses must not become state.
        decode_column(self._key, list(dict.fromkeys(keys)))
        return each(self._identify, list(zip(keys, chunk.values, strict=True)))

    def _in_time(self, times: Sequence[int], time: OperatorTime) -> list[bool] | None:
        """Return which records are not late; None where none is."""
        if not times or min(times) + self._within >= time.after(times):
            return None
        within = self._within
        kept = [at + within >= clock for at, clock in zip(times, time.at_each(times), strict=True)]
        self.late += kept.count(False)
        return kept

    def _first(
        self, identities: Sequence[bytes], times: Sequence[int], time: OperatorTime
    ) -> list[bool]:
        """Return which records are no duplicates, and remember these."""
        within, size = self._within, self._span
        spans = [at // size for at in times]
        hashes = list(map(hash, identities))
        around = {n for of in set(spans) for n in (of - 1, of, of + 1)}
        packed = {n: pack_span(n) for n in around}
        known = self._known_spans(time)
        rows = list(zip(spans, identities, hashes, strict=True))
        here = [packed[n] + of for n, of, _ in rows]
        maybe = {n: known.of(n) for n in around}
        wanted = dict.fromkeys(
            [key for key, n, h in zip(here, spans, hashes, strict=True) if h in maybe[n]]
        )
        known.add(spans, hashes)
        maybe = {n: known.of(n) for n in around}  # with those that stand beside each other here
        before = [packed[n - 1] + of if h in maybe[n - 1] else None for n, of, h in rows]
        wanted.update((key, None) for key in before if key is not None)
        # Where time has not come there is nothing behind a record, as mostly; what comes through a
        # repartition topic may be ahead of it.
        last = time.after(times) // size if time.moves else NEVER
        behind: Any = repeat(None)
        if min(spans) < last:
            behind = [
                packed[n + 1] + of if n < last and h in maybe[n + 1] else None for n, of, h in rows
            ]
            wanted.update((key, None) for key in behind if key is not None)
        seen: dict[bytes | None, int] = {
            key: entry[0]
            for key, entry in zip(wanted, self._overlay.touch(wanted), strict=True)
            if entry is not None and entry[0] is not None
        }
        changes: dict[bytes, Entry] = {}
        first: list[bool] = []
        for at, key, earlier, later in zip(times, here, before, behind, strict=False):
            is_first = (
                key not in seen
                and seen.get(earlier, -NEVER) < at - within
                and seen.get(later, NEVER) > at + within
            )
            first.append(is_first)
            if is_first:
                seen[key] = at
                changes[key] = (at, at)
        if changes:
            self._overlay.put(changes)
            self._earliest.add(min(spans))
        return first

    def _known_spans(self, time: OperatorTime) -> KnownSpans:
        if self._known is None:
            # What was handed on is no newer than time, but what came by a repartition topic.
            first = time.before // self._span + 1
            newer = self._overlay.scan(pack_span(first), None, 1)
            self._known = KnownSpans(NEVER if newer else first, KNOWN)
        return self._known

    def updates(self, changes: Changes) -> Chunk:
        """Return nothing: records have been handed on when they came."""
        return _NOTHING

    def discard(self) -> None:
        """Forget what was looked up: the batch was aborted."""
        self._forgotten_to, self._known = b"", None
        self._earliest.forget()

    def is_due(self, clock: int) -> bool:
        """Whether there is something to forget at an operator time."""
        return self._earliest.first() < self._stop(clock)

    def _first_span(self) -> int | None:
        first = self._overlay.scan(self._forgotten_to, b"\xff" * 8, 1, values=False)
        return unpack_span(first[0][0]) if first else None

    def held_ms(self) -> int | None:
        """Nothing: what comes in time is handed on at once."""
        return None

    def close(self, clock: int, now_ms: int, limit: int) -> tuple[Chunk | None, bool]:
        """Forget what no record in time can be a duplicate of."""
        self._earliest.flushed()
        if not self.is_due(clock):
            return None, True
        stop = pack_span(self._stop(clock))
        found = self._overlay.scan(self._forgotten_to, stop, limit, values=False)
        done = len(found) < limit
        self._forgotten_to = stop if done else found[-1][0] + b"\0"
        self._earliest.passed()
        self._overlay.put(dict(found))
        if done and self._known is not None:
            self._known.forget(self._stop(clock))
        return _NOTHING, done

    def _stop(self, clock: int) -> int:
        """The first span that is to be remembered at an operator time."""
        return -(-(clock - 3 * self._within) // self._span)


def _refuse_null(key: bytes | None) -> None:
    if key is None:
        raise ValueError(
            "the key is null: equal records without a key may lie in any partition. Put each under"
            " what makes them equal first: rekey('id', name='by-id').drop_duplicates(...)"
        )
