"""What is committed and not written to the store yet: a dict that finds the keys of a range.

Keys that begin with a time are committed in about its order. So for each commit the least and the
greatest of the keys that are new in it are kept, and a range looks at those commits only that reach
into it: a window that closes costs its own keys, not the 50,000 that wait. Nothing is kept before
the first range.
"""

from typing import TypeAlias

Run: TypeAlias = tuple[bytes, bytes, list[bytes]]  # the least, the greatest, and all


class Unwritten(dict[bytes, bytes | None]):
    """What a store is to get, None for a deletion.

    >>> waiting = Unwritten()
    >>> waiting.add({b"a": b"1", b"b": b"2"})
    >>> waiting.between(b"b", None)
    {b'b': b'2'}
    """

    def __init__(self) -> None:
        super().__init__()
        self._runs: list[Run] | None = None  # each key in one of them; None before a range

    def add(self, changes: dict[bytes, bytes | None]) -> None:
        """Take over what a commit has changed."""
        if self._runs is not None:
            self._runs += _run([key for key in changes if key not in self])
        self.update(changes)

    def between(self, start: bytes, stop: bytes | None) -> dict[bytes, bytes | None]:
        """Return what there is from one key to before another; None for no end."""
        found: dict[bytes, bytes | None] = {}
        for least, greatest, keys in self._known_runs():
            if greatest >= start and (stop is None or least < stop):
                found.update(
                    (key, self[key])
                    for key in keys
                    if key >= start and (stop is None or key < stop)
                )
        return found

    def _known_runs(self) -> list[Run]:
        if self._runs is None:
            self._runs = _run(list(self))
        return self._runs


def _run(keys: list[bytes]) -> list[Run]:
    return [(min(keys), max(keys), keys)] if keys else []
