"""What is committed and not written to the store yet: a dict that finds the keys of a range.

Keys that begin with a time are committed in about its order. So for each commit the least and the
greatest of its keys are kept, and a range looks at those commits only that reach into it: a window
that closes costs its own keys, not the 50,000 that wait. Nothing is kept before the first range.
"""

from collections.abc import Collection

_SPARE = 10_000  # keys that may be in the runs beyond four times as many as there are


class Unwritten(dict[bytes, bytes | None]):
    """What a store is to get, None for a deletion.

    >>> waiting = Unwritten()
    >>> waiting.add({b"a": b"1", b"b": b"2"})
    >>> waiting.between(b"b", None)
    {b'b': b'2'}
    """

    def __init__(self) -> None:
        super().__init__()
        self._runs: list[tuple[bytes, bytes, Collection[bytes]]] | None = None

    def add(self, changes: dict[bytes, bytes | None]) -> None:
        """Take over what a commit has changed."""
        self.update(changes)
        if self._runs is not None and changes:
            self._runs.append(_run(list(changes)))

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

    def _known_runs(self) -> list[tuple[bytes, bytes, Collection[bytes]]]:
        """Return the runs; all as one where they say the same keys again and again."""
        runs = self._runs
        if runs is None or sum(len(keys) for *_, keys in runs) > 4 * len(self) + _SPARE:
            self._runs = runs = [_run(list(self))] if self else []
        return runs


def _run(keys: list[bytes]) -> tuple[bytes, bytes, Collection[bytes]]:
    return min(keys), max(keys), keys
