"""What is known of the spans of a deduplication without looking at its store.

Most records are no duplicates, and to find nothing in the store is what costs most. So the hashes
of what may have been put since the store was opened are kept: what is not among those of a span
that began since then is not in the store. One that is there in vain costs a look, and nothing else.

Rule 1: a span is known if the store had nothing in it, or behind it, when this began.
Rule 2: a hash is never taken out of a span that may be asked for, though what was put is rolled
        back. After an abort all begins anew: what was forgotten in it is back.
"""

from collections.abc import Container, Sequence


class _Everything:
    """What a span may hold of which nothing is known."""

    def __contains__(self, item: object) -> bool:
        return True


_EVERYTHING = _Everything()
_NOTHING: frozenset[int] = frozenset()


class KnownSpans:
    """The hashes of what stands in each span, from one span on.

    Args:
        first: the first span that is known.
        limit: how many hashes to keep, of about 80 bytes each; beyond them all spans so far are
            unknown.

    >>> known = KnownSpans(7, 100)
    >>> known.add([7, 8], [hash("a"), hash("b")])
    >>> [hash("a") in known.of(span) for span in (6, 7, 8)]
    [True, True, False]
    """

    def __init__(self, first: int, limit: int) -> None:
        self._first = first
        self._limit = limit
        self._spans: dict[int, set[int]] = {}

    def of(self, span: int) -> Container[int]:
        """Return what may stand in a span, by its hash."""
        return self._spans.get(span, _NOTHING) if span >= self._first else _EVERYTHING

    def add(self, spans: Sequence[int], hashes: Sequence[int]) -> None:
        """Note what may be put, each hash in its span."""
        found = self._spans
        own = set(spans)
        for span in own:
            found.setdefault(span, set())
        if len(own) == 1:
            found[spans[0]].update(hashes)
        else:
            for span, number in zip(spans, hashes, strict=True):
                found[span].add(number)
        if sum(map(len, found.values())) > self._limit:
            self._first = max(self._first, *found) + 1  # never back: what is unknown stays so
            found.clear()

    def forget(self, before: int) -> None:
        """Note that the store has nothing before a span any more."""
        for span in [of for of in self._spans if of < before]:
            del self._spans[span]
