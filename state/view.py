"""A view of what is committed: what waits to be written, over what the store holds."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from penstock.state.store import View


class CommittedView:
    """What one partition of a store holds at one moment, as bytes.

    Args:
        newer: what is committed and not written yet; None is a deletion.
        view: of the store.
    """

    def __init__(self, newer: Mapping[bytes, bytes | None], view: View) -> None:
        self._newer = newer
        self._view = view

    def get_all(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return what there is of keys in their order, None where there is nothing."""
        newer = self._newer
        missing = [key for key in keys if key not in newer]
        older = dict(zip(missing, self._view.get_all(missing), strict=True))
        return [newer[key] if key in newer else older[key] for key in keys]

    def scan(self, start: bytes = b"", stop: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield pairs in the order of keys, from start, before stop."""
        newer, keys = self._newer, self._sorted
        at = bisect_left(keys, start)
        end = len(keys) if stop is None else bisect_left(keys, stop)
        for row in self._view.scan(start, stop):
            while at < end and keys[at] < row[0]:
                data = newer[keys[at]]
                if data is not None:
                    yield keys[at], data
                at += 1
            if at == end or keys[at] != row[0]:
                yield row
        for key in keys[at:end]:
            data = newer[key]
            if data is not None:
                yield key, data

    def close(self) -> None:
        """Let go of the store's files."""
        self._view.close()

    @cached_property
    def _sorted(self) -> list[bytes]:
        return sorted(self._newer)
