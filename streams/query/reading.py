"""Reading: the partitions of stores that a worker has, and who reads them at this moment.

The loop of the worker opens and closes partitions; any thread reads them.

Rule 1: a reader sees what is committed, and of a partition all of it as of one moment.
Rule 2: a worker that has stood still for a session may have lost its partitions without knowing:
        until its loop has gone on, it refuses to be read.
"""

import difflib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from heapq import merge
from math import inf
from typing import TypeAlias, TypeVar

from penstock.errors import TopologyError
from penstock.query.layout import Entry, Layout, Place, Selection, deciding, plain
from penstock.query.leases import OpenPartition, Scan, Unavailable
from penstock.state.definition import StoreDefinition
from penstock.state.overlay import Overlay
from penstock.topics.partitioner import partition_for

FIRST_ROWS, ROWS_AT_ONCE = 16, 256
SAMPLE = 8  # keys of each partition
PATIENCE_S = 1.0

T = TypeVar("T")
At: TypeAlias = tuple[str, int]  # store and partition


class Holdings:
    """The partitions of stores that this worker has.

    Args:
        application: the application id.
        stores: all that it has.
        hashed: the stores whose keys are where Kafka's default partitioner puts them.

    Attributes:
        partitions: how many each store has, by name, as far as the worker has found out.
        version: grows with each change.
        owner: says which other worker has a partition, in words; None where that is not known.
    """

    def __init__(
        self,
        application: str,
        stores: Iterable[StoreDefinition],
        hashed: Collection[str] = (),
    ) -> None:
        self.partitions: dict[str, int] = {}
        self.version = 0
        self.owner: Callable[[At], str | None] = lambda _: None
        self._stores = {store.name: store for store in stores}
        self._application = application
        self._hashed = frozenset(hashed)
        self._open: dict[At, OpenPartition] = {}
        self._restoring: frozenset[At] = frozenset()
        self._ended = False
        self._now: Callable[[], float] = lambda: 0.0
        self._lease_s = inf
        self._renewed = 0.0

    # What the worker says

    def lease(self, now: Callable[[], float], seconds: float) -> None:
        """Have what is here only for so long behind the last `renew`."""
        self._now, self._lease_s, self._renewed = now, seconds, now()

    def renew(self) -> None:
        """Note that the loop goes on."""
        self._renewed = self._now()

    def restore(self, places: Iterable[At]) -> None:
        """Note that partitions are this worker's, and cannot be read yet."""
        new = frozenset(places) - self._restoring
        if new:
            self._restoring |= new
            self.version += 1

    def open(self, at: At, overlay: Overlay) -> None:
        """Let everybody read a partition."""
        self._open[at] = OpenPartition(at[1], overlay)
        self._restoring -= {at}
        self.version += 1

    def withdraw(self, places: Collection[At], wait_s: float = PATIENCE_S) -> None:
        """Let nobody read partitions any more; those who do have a moment, all in all."""
        self._restoring -= frozenset(places)
        found = {at: self._open[at] for at in places if at in self._open}
        if not found:
            return
        for partition in found.values():
            partition.refuse()
        until = self._now() + wait_s
        for at, partition in found.items():
            partition.close(until - self._now())
            del self._open[at]
        self.version += 1

    def end(self) -> None:
        """Note that the run has ended."""
        self._ended = True

    # What others ask

    @property
    def stores(self) -> list[StoreDefinition]:
        """All stores of the application."""
        return list(self._stores.values())

    def definition(self, name: str) -> StoreDefinition:
        """Return a store of the application.

        Raises:
            TopologyError: if it has none of the name.
        """
        if name in self._stores:
            return self._stores[name]
        near = difflib.get_close_matches(str(name), self._stores, 1)
        meant = f" Did you mean {near[0]!r}?" if near else ""
        raise TopologyError(
            f"The application {self._application} has no store named {name!r}.{meant} Pass a table"
            f" that it declares: {', '.join(sorted(self._stores)) or 'it has none'}.",
            store=name,
        )

    @property
    def stands_still(self) -> bool:
        """Whether the loop has not gone on for so long that partitions may be lost."""
        return self._now() - self._renewed > self._lease_s

    def here(self, name: str) -> list[int]:
        """Return the partitions of a store that can be read here."""
        return sorted(number for store, number in list(self._open) if store == name)

    def coming(self, name: str) -> list[int]:
        """Return the partitions of a store that this worker restores."""
        return sorted(number for store, number in self._restoring if store == name)

    def find(
        self,
        layout: Layout,
        name: str,
        decides: bytes | None,
        look: Callable[[OpenPartition], T | None],
        partitions: Collection[int] | None = None,
    ) -> T | None:
        """Return what there is of a key, None where it is nowhere.

        Args:
            layout: of the store.
            name: of the store.
            decides: the bytes that decide over the partition; None where that is not known.
            look: returns what one partition has, nothing where it has nothing.
            partitions: where to look, and nowhere else.

        Raises:
            Unavailable: if the key may be in a partition that is not here.
        """
        count = self.partitions.get(name, 0)
        number = partition_for(decides, count) if decides is not None and count else None
        self._check(name)
        first = None if number is None else self._open.get((name, number))
        if first is not None and (partitions is None or number in partitions):
            data = look(first)  # where it mostly is: nobody else is looked for
            if data:
                return data
        found = self._several(name, partitions) if partitions is not None else self._local(name)
        for partition in found:
            data = None if partition is first else look(partition)
            if data:
                return data
        if partitions is not None or (found and len(found) == count):
            return None
        if number is None or not self._is_hashed(layout, name, found):
            for coming in self.coming(name):
                raise self._elsewhere((name, coming))
            raise Unavailable(name, None, "may have the key in a partition elsewhere", "moved")
        if number not in {partition.number for partition in found}:
            raise self._elsewhere((name, number))
        return None

    def read(
        self,
        layout: Layout,
        name: str,
        selected: Selection,
        *,
        after: Place | None = None,
        partitions: Collection[int] | None = None,
        at_once: int = ROWS_AT_ONCE,
    ) -> "Rows":
        """Begin to read rows in the order of their places, each partition as of now.

        Args:
            layout: of the store.
            name: of the store.
            selected: which rows.
            after: behind which place to begin.
            partitions: which ones; left out, all that are here.
            at_once: how many rows of a partition to read at a time.

        Raises:
            Unavailable: if one of them is not here, or all of them are elsewhere.
        """
        spans, skipped = selected.spans, 0
        if after is not None:
            skipped = after[0]
            spans = [(max(start, after[1]), stop) for start, stop in spans[skipped:][:1]]
            spans += selected.spans[skipped + 1 :]
        found = self._several(name, partitions)
        scans: list[Scan] = []
        try:
            for partition in found:
                scans.append(partition.scan(spans))
        except Unavailable:
            for scan in scans:
                scan.end()
            raise
        return Rows(layout, scans, selected, after, skipped, at_once)

    def _local(self, name: str) -> list[OpenPartition]:
        return [of for at, of in list(self._open.items()) if at[0] == name]

    def _is_hashed(self, layout: Layout, name: str, found: Sequence[OpenPartition]) -> bool:
        """Whether keys are where Kafka's default partitioner puts them.

        Those that come through a repartition topic are. An input may have been written with
        another one, as librdkafka's own, that only its producers know: what is here tells.
        """
        if name in self._hashed:
            return True
        count = self.partitions[name]
        sampled = [(of.number, key) for of in found for key in of.sample(layout, SAMPLE)]
        deciders = [(number, deciding(layout, plain(layout, key))) for number, key in sampled]
        return bool(deciders) and all(
            decides is not None and partition_for(decides, count) == number
            for number, decides in deciders
        )

    def _several(self, name: str, numbers: Collection[int] | None) -> list[OpenPartition]:
        self._check(name)
        wanted = {*self.here(name), *self.coming(name)} if numbers is None else numbers
        if not wanted:
            raise self._elsewhere((name, None))
        found: list[OpenPartition] = []
        for number in sorted(wanted):
            partition = self._open.get((name, number))
            if partition is None:
                raise self._elsewhere((name, number))
            found.append(partition)
        return found

    def _check(self, name: str) -> None:
        if self._ended:
            raise Unavailable(name, None, "is closed: the query has ended", "ended")
        if name not in self.partitions:
            what = "is not open yet: the worker is starting"
            raise Unavailable(name, None, what, "restoring")
        if self.stands_still:
            stood_s = self._now() - self._renewed
            what = f"is not read: the worker stands still for {stood_s:.0f} s"
            raise Unavailable(name, None, what, "stalled")

    def _elsewhere(self, at: tuple[str, int | None]) -> Unavailable:
        name, number = at
        if number is not None and (name, number) in self._restoring:
            return Unavailable(name, number, "is being restored", "restoring")
        owner = None if number is None else self.owner((name, number))
        where = f": {owner} has it" if owner else ""
        return Unavailable(name, number, f"is not with this worker{where}", "moved")


class Rows:
    """Rows of several partitions in the order of their places.

    Attributes:
        place: of the last row.
    """

    def __init__(
        self,
        layout: Layout,
        scans: Sequence[Scan],
        selected: Selection,
        after: Place | None,
        skipped: int,
        at_once: int,
    ) -> None:
        self._scans = list(scans)
        self.place: Place | None = None
        # Nothing of it refers to self: what is forgotten is collected at once.
        each = [_of(scan, layout, selected.keeps, after, skipped, at_once) for scan in scans]
        self._rows: Iterator[tuple[Place, Entry]] = iter(merge(*each, key=_place))

    def __iter__(self) -> "Rows":
        return self

    def __next__(self) -> Entry:
        try:
            self.place, entry = next(self._rows)
        except BaseException:
            self.close()
            raise
        return entry

    def __del__(self) -> None:
        # This may be any thread in the middle of anything: only a note is left.
        for scan in getattr(self, "_scans", ()):
            scan.abandoned = True

    def close(self) -> None:
        """Let go of what is read."""
        scans, self._scans, self._rows = self._scans, [], iter(())
        for scan in scans:
            scan.end()


def _of(
    scan: Scan,
    layout: Layout,
    keeps: Callable[[Entry], bool] | None,
    after: Place | None,
    skipped: int,
    at_once: int,
) -> Iterator[tuple[Place, Entry]]:
    """Yield the rows of a partition behind a place; the first ones soon, the others by many."""
    limit = min(FIRST_ROWS, at_once)
    while True:
        found = scan.read(limit)
        numbers = {raw: skipped + number for number, (raw, _) in found}
        for (raw, window), entry in layout.entries([row for _, row in found]):
            place = (numbers[raw], raw, window)
            if (after is None or place > after) and (keeps is None or keeps(entry)):
                yield place, entry
        if len(found) < limit:
            return
        limit = at_once


def _place(row: tuple[Place, Entry]) -> Place:
    return row[0]
