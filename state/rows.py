"""Rows: how many keys a store has, kept by adding up what commits change.

Looking each key up again would cost as much as writing it. But whoever changes a key has nearly
always read it before, and what was not there then is known (`missed`); the few keys that are put
without being read are looked up at the commit.
"""

from collections.abc import Collection, Iterable, Mapping

from penstock.state.store import Store

SLACK = 1_000


class Rows:
    """The keys of one store, in number.

    Attributes:
        total: how many there are, as of the last commit.
        exact: whether that is so, or was estimated when the store was opened.
        updated: keys that commits have put since the last `take_changes`.
        removed: keys that they have deleted.
    """

    def __init__(self, store: Store) -> None:
        position = store.position()
        known = 0 if position is None else position.rows
        self.exact = known is not None
        self.total = store.usage().rows if known is None else known
        self.updated = self.removed = 0
        self._absent: set[bytes] = set()
        self._missed: set[bytes] = set()  # since the last commit
        self._unread: set[bytes] = set()

    def missed(self, keys: Iterable[bytes]) -> None:
        """Note that keys were read, and nothing of the last commit was there."""
        self._missed.update(keys)

    def take_absent(self, keys: set[bytes]) -> set[bytes]:
        """Return those of keys that had nothing at the last commit, and forget that they hadn't."""
        found = self._missed & keys
        self._missed -= found
        if self._absent:
            known = self._absent & keys
            self._absent -= known
            found |= known
        return found

    def unread(self, keys: Iterable[bytes]) -> None:
        """Note that keys are put that nobody has read."""
        self._unread.update(keys)

    def looked_up(self, changed: Mapping[bytes, object]) -> list[bytes]:
        """Return which keys have to be looked up before a commit changes them."""
        return [key for key in self._unread if key in changed] if self._unread else []

    def commit(self, changed: Mapping[bytes, bytes | None], cached: Collection[bytes]) -> None:
        """Count what a commit changes: 10 ns per key, 60 ns more if it is new.

        Args:
            changed: what is put; None is a deletion.
            cached: the keys whose entries stay in memory: what is known of them has to stay, too.
        """
        # What is stored is never empty: it has a timestamp.
        deleted = (
            [] if all(changed.values()) else [key for key, data in changed.items() if data is None]
        )
        if deleted or self._absent or not changed.keys() >= self._missed:
            self._sort_out(changed, deleted, cached)
        else:
            self.total += len(self._missed)
        self.updated += len(changed) - len(deleted)
        self._missed = set()
        self._unread.clear()

    def _sort_out(
        self, changed: Mapping[bytes, object], deleted: list[bytes], cached: Collection[bytes]
    ) -> None:
        absent = self._absent
        absent |= self._missed
        fewer: Iterable[bytes] = filter(changed.__contains__, absent)
        new = list(filter(absent.__contains__, changed) if len(changed) < len(absent) else fewer)
        never = sum(key in absent for key in deleted)
        gone = len(deleted) - never
        self.total += len(new) - never - gone
        self.removed += gone
        absent.difference_update(new)
        absent.update(key for key in deleted if key in cached)
        if len(absent) > len(cached) + SLACK:
            absent.intersection_update(cached)

    def forget(self, cached: Collection[bytes]) -> None:
        """Forget what is known of keys that a batch has read without changing anything.

        Args:
            cached: the keys whose entries stay in memory.
        """
        if len(self._missed) > SLACK:
            self.commit({}, cached)

    def discard(self) -> None:
        """Forget what a batch has put: it was aborted."""
        self._unread.clear()

    def take_changes(self) -> tuple[int, int]:
        """Return how many keys were updated and removed, and begin anew."""
        taken = self.updated, self.removed
        self.updated = self.removed = 0
        return taken


def rows_after(store: Store, items: Mapping[bytes, bytes | None], rows: int) -> int:
    """Return how many keys a store of so many has after a write: looks each one up, 1 us.

    >>> from penstock.state.memory import MemoryStore
    >>> rows_after(MemoryStore(), {b"a": b"1", b"b": None}, 0)
    1
    """
    before = store.get_all(list(items))
    return rows + sum(
        (data is not None) - (known is not None)
        for data, known in zip(items.values(), before, strict=True)
    )
