"""Weights: how many bytes the large values in memory have, as the store has them.

Small ones are as good as counted. A key is weighed anew whenever its value is, and stands behind
all others then: the first is the one that nobody has written for longest.
"""

from collections.abc import Container, Iterable, Mapping

LARGE_BYTES = 128


class Weights:
    """What the large values of some keys weigh.

    >>> weights = Weights()
    >>> weights.weigh({b"a": bytes(1_000), b"b": b"small", b"c": None}, {b"a", b"b"})
    >>> weights.total
    1000
    >>> weights.forget([b"a"])
    >>> weights.total
    0

    Attributes:
        total: bytes of all together.
    """

    def __init__(self) -> None:
        self.total = 0
        self._each: dict[bytes, int] = {}

    def weigh(self, found: Mapping[bytes, bytes | None], kept: Container[bytes]) -> None:
        """Weigh what the store has of keys, those that are kept: 20 ns each where all are small."""
        longest = max(map(len, filter(None, found.values())), default=0)
        if not self._each and longest <= LARGE_BYTES:
            return
        self.forget(found)
        for key, data in found.items():
            if data is not None and len(data) > LARGE_BYTES and key in kept:
                self._each[key] = len(data)
                self.total += len(data)

    def forget(self, keys: Iterable[bytes]) -> None:
        """Take note that keys are kept no longer."""
        if self._each:
            for key in keys:
                self.total -= self._each.pop(key, 0)

    def first(self) -> bytes:
        """Return the key that was weighed longest ago."""
        return next(iter(self._each))


def total_weight(found: Mapping[bytes, bytes | None]) -> int:
    """Return the bytes of values: 15 ns each.

    >>> total_weight({b"a": b"12", b"b": None})
    2
    """
    return sum(map(len, filter(None, found.values())))
