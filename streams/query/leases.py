"""Leases: who reads a partition of a store at this moment, and how that comes to an end.

Rule 1: a reader holds a lease. Before a partition is given away, new readers are refused, and the
        others have a moment to finish; what is still being read then is cut off with an error.
        No reader has the files after that, so that they can be closed.
Rule 2: nobody waits long: one access reads some hundred rows, and then lets others in.
Rule 3: what collects garbage comes in any thread, in the middle of anything, so that it takes no
        lock: it leaves a note, and the next reader lets go of the files.
"""

import threading
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Literal, TypeAlias

from penstock.errors import StateError
from penstock.query.layout import Layout, Raw, Span
from penstock.state.overlay import Overlay
from penstock.state.view import CommittedView

Reason: TypeAlias = Literal["moved", "restoring", "ended", "stalled"]
_ADVICE: dict[Reason, str] = {
    "moved": "Read again: another worker of the application has it, or is taking it over.",
    "restoring": "Read again when it has been restored; the query's status says how far it is.",
    "ended": "Start the application again to read it.",
    "stalled": "Read again: the worker's loop has stood still, and may have lost its partitions.",
}


class Unavailable(StateError):
    """A partition of a store cannot be read here now.

    Attributes:
        reason: "moved", "restoring", "ended" or "stalled".
    """

    def __init__(self, store: str, partition: int | None, what: str, reason: Reason) -> None:
        at = f"{store}/{partition}" if partition is not None else store
        super().__init__(
            f"The store {at} {what}. {_ADVICE[reason]}", store=store, partition=partition
        )
        self.reason: Reason = reason


class OpenPartition:
    """One partition of a store of this worker.

    Args:
        number: of the partition.
        overlay: what the task works on.
    """

    def __init__(self, number: int, overlay: Overlay) -> None:
        self.number = number
        self._overlay = overlay
        self._name = overlay.definition.name
        self._free = threading.Condition()
        self._scans: set[Scan] = set()
        self._refusing = False

    def get(self, key: bytes) -> bytes | None:
        """Return what the store has for a key: 2 us.

        Raises:
            Unavailable: if it is given away.
        """
        with self._free:
            self._look()
            return self._overlay.committed(key)

    def history(self, layout: Layout, key: bytes) -> list[Raw]:
        """Return what the store has for all windows of a key.

        Raises:
            Unavailable: if it is given away.
        """
        with self._free:
            self._look()
            view = self._overlay.view()
            try:
                return layout.history(view, key)
            finally:
                view.close()

    def sample(self, layout: Layout, count: int) -> list[Any]:
        """Return some keys.

        Raises:
            Unavailable: if it is given away.
        """
        with self._free:
            self._look()
            view = self._overlay.view()
            try:
                spans = layout.between(None, None).spans
                rows = (row for start, stop in spans for row in view.scan(start, stop))
                return [entry.key for _, entry in layout.entries(list(islice(rows, count)))]
            finally:
                view.close()

    def scan(self, spans: Sequence[Span]) -> "Scan":
        """Begin to read spans of keys, as of now.

        Raises:
            Unavailable: if it is given away.
        """
        with self._free:
            self._look()
            scan = Scan(self, self._overlay.view(), spans)
            self._scans.add(scan)
            return scan

    def refuse(self) -> None:
        """Let nobody begin to read any more."""
        self._refusing = True

    def close(self, wait_s: float) -> None:
        """Wait for those who read, and cut them off who go on for too long."""
        self.refuse()
        # An access is short. One that does not end is held by the disk, and so will closing be.
        if not self._free.acquire(timeout=max(wait_s, 0.1)):
            return
        try:
            self._free.wait_for(self._is_idle, wait_s)
            for scan in list(self._scans):
                scan.cut_off()
            self._scans.clear()
        finally:
            self._free.release()

    def end(self, scan: "Scan") -> None:
        """Let go of what was read."""
        with self._free:
            if scan in self._scans:
                self._scans.discard(scan)
                scan.cut_off()
                self._free.notify_all()

    def read(self, scan: "Scan", limit: int) -> list[tuple[int, Raw]]:
        """Return the next rows of a scan; fewer than the limit are the last."""
        with self._free:
            if scan not in self._scans:
                raise self._given_away()
            return list(islice(scan.rows, limit))

    def _look(self) -> None:
        if self._refusing:
            raise self._given_away()
        for scan in [scan for scan in self._scans if scan.abandoned]:
            self._scans.discard(scan)
            scan.cut_off()

    def _is_idle(self) -> bool:
        return all(scan.abandoned for scan in self._scans)

    def _given_away(self) -> Unavailable:
        return Unavailable(self._name, self.number, "is given to another worker", "moved")


class Scan:
    """A reader of one partition, which has to be ended.

    Attributes:
        rows: all that is to be read, each with the number of its span.
        abandoned: whether nobody will read on. What is collected says so in whatever thread
            that happens, and is ended by the next reader.
    """

    def __init__(self, of: OpenPartition, view: CommittedView, spans: Sequence[Span]) -> None:
        self.rows: Iterator[tuple[int, Raw]] = (
            (number, row)
            for number, (start, stop) in enumerate(spans)
            for row in view.scan(start, stop)
        )
        self.abandoned = False
        self._of = of
        self._view = view

    def read(self, limit: int) -> list[tuple[int, Raw]]:
        """Return the next rows; fewer than the limit are the last.

        Raises:
            Unavailable: if the partition was given away meanwhile.
        """
        return self._of.read(self, limit)

    def end(self) -> None:
        """Let go of it."""
        self._of.end(self)

    def cut_off(self) -> None:
        """Let go of the files; whoever calls it keeps others out."""
        self.rows = iter(())
        self._view.close()
