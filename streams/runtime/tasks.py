"""The tasks that this worker owns, and how one comes to run.

    WAITING     its inputs are assigned and paused; the committed offsets are not stable yet
    RESTORING   its stores are open and follow their changelogs up to the end found then
    RUNNING     its inputs are read

The order is what makes a new owner safe: a predecessor's transaction has ended before its
offsets are stable, and what it has committed stands before the changelog's end taken after
that. A store on disk is only believed if it says how far it goes, of which changelog topic,
and not too long ago.
"""

import dataclasses
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from itertools import accumulate

from penstock.engine import metadata
from penstock.engine.assignment import Lead
from penstock.engine.metadata import Metadata, short_hash
from penstock.engine.order import InputOrder
from penstock.engine.restore import Restore
from penstock.engine.task import Task
from penstock.engine.task_time import SEEN_TIME, TASK_TIME
from penstock.errors import BrokerError, StateError
from penstock.operators.source import Start
from penstock.query.reading import Holdings
from penstock.runtime.consumer import InputConsumer
from penstock.runtime.definitions import Definitions
from penstock.runtime.destinations import ClusterDestinations
from penstock.runtime.preparation import Prepared
from penstock.runtime.restorer import Restorer, Restoring
from penstock.runtime.watch import too_many
from penstock.state.definition import StoreDefinition
from penstock.state.disk import Disk, Held, LocalStore, Place
from penstock.state.overlay import BYTES_PER_ENTRY, Overlay
from penstock.state.rocksdb import DamagedStore
from penstock.state.store import Position
from penstock.topics.admin import Admin

log = logging.getLogger("penstock")

COMMITTED_TIMEOUT_S = 0.5
DEFAULT_DELETE_RETENTION_MS = 86_400_000
LOCK_PAUSE_S = 0.1
WRITE_BEHIND_KEYS = 50_000
LEAST_ENTRIES = 1_000
OPENED_AT_ONCE = 40  # stores; each takes 10 ms and more, and nobody polls meanwhile
REDATE_MS = 3_600_000
CLEANUP_S = 60.0  # by the first time, a worker holds what is its own


class Phase(Enum):
    """How far a task has come."""

    WAITING = "waiting for stable offsets"
    RESTORING = "restoring"
    RUNNING = "running"


@dataclass
class OpenStore:
    """A store of a task, open on this disk."""

    definition: StoreDefinition
    store: LocalStore
    lock: Held
    restore: Restore
    topic_id: str
    was_empty: bool
    dated_ms: int


@dataclass
class OwnedTask:
    """A task of this worker.

    Attributes:
        lead: its sub-topology.
        partition: its number.
        phase: how far it has come.
        offsets: where each input is committed, or starts.
        metadata: what the last commit has left; None where there was none.
        settled: whether every input has a committed offset.
        committed_ms: when its offsets were last committed by us, wall clock; 0 before that: nobody
            knows how old they are, and workers that come and go must not let them expire.
        task: its steps at work, once it is running.
        order: in which order its inputs are read, where that matters.
        stores: by name.
        purged: up to where its repartition topics were asked to be deleted.
    """

    lead: Lead
    partition: int
    phase: Phase = Phase.WAITING
    offsets: dict[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])
    metadata: Metadata | None = None
    settled: bool = False
    committed_ms: int = 0
    task: Task | None = None
    order: InputOrder | None = None
    stores: dict[str, OpenStore] = field(default_factory=dict[str, OpenStore])
    purged: dict[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])

    @property
    def inputs(self) -> list[tuple[str, int]]:
        """The partitions that it reads, the lead's first."""
        return self.lead.inputs(self.partition)

    @property
    def clocks(self) -> dict[str, int]:
        """The clocks of the last commit."""
        if self.metadata is None:
            return {}
        own = [node.clock for node in self.lead.part.stateful]
        return {name: self.metadata.clock(name) for name in (*own, TASK_TIME, SEEN_TIME)}

    def __str__(self) -> str:
        return f"{self.lead.topic}/{self.partition}"


class TaskStarter:
    """Bring tasks from WAITING to RUNNING, and close them.

    Args:
        prepared: what is known of the cluster.
        disk: where stores are kept.
        holdings: whom to tell which stores can be read.
        slot: identity of this worker's slot.
        store_bytes: what the entries of one store may take in memory, beside RocksDB.
        lock_timeout_ms: how long to wait for a store that another process holds.
        cleanup_delay_ms: for how long state has to be unused before it is deleted.
        max_idle_ms: how long an input without records may hold back those it is ordered with.
        exactly_once: whether state without committed offsets cannot be.
        now_ms: the wall clock.
        now: monotonic seconds.
        wrote: told the store and how long writing it to disk took, in seconds.
        sleep: waits for seconds.
    """

    def __init__(
        self,
        prepared: Prepared,
        *,
        consumer: InputConsumer,
        admin: Admin,
        restorer: Restorer,
        destinations: ClusterDestinations,
        disk: Disk,
        holdings: Holdings,
        slot: str,
        store_bytes: int,
        lock_timeout_ms: int,
        cleanup_delay_ms: int,
        max_idle_ms: int,
        exactly_once: bool,
        now_ms: Callable[[], int],
        now: Callable[[], float],
        wrote: Callable[[str, float], None],
        sleep: Callable[[float], None],
    ) -> None:
        self._prepared = prepared
        self._consumer = consumer
        self._admin = admin
        self._restorer = restorer
        self._destinations = destinations
        self._definitions = Definitions(prepared.topology, admin)
        self._disk = disk
        self._holdings = holdings
        holdings.partitions.update(
            {
                store.name: lead.tasks
                for lead in prepared.leads.leads.values()
                for store in lead.part.stores
            }
        )
        self._slot = slot
        self._store_bytes = store_bytes
        self._lock_timeout_ms = lock_timeout_ms
        self._cleanup_delay_ms = cleanup_delay_ms
        self._cleaned_ms = now_ms()
        self._max_idle_ms = max_idle_ms
        self._exactly_once = exactly_once
        self._now_ms = now_ms
        self._now = now
        self._wrote = wrote
        self._sleep = sleep
        self._retention: dict[str, int] = {}
        self._wait: Callable[[], bool] | None = None

    def advance(self, tasks: Sequence[OwnedTask]) -> None:
        """Take tasks that do not run yet a step further, where they can be.

        Raises:
            PenstockError: if the committed offsets, the stores or the topology do not fit.
        """
        found = [owned for owned in tasks if owned.phase is Phase.WAITING]
        waiting = _some(found)
        self._holdings.restore(at for owned in waiting for at in _places(owned))
        if waiting and self._find_offsets(waiting):
            self._open_stores(waiting)
            for owned in waiting:
                owned.phase = Phase.RESTORING
        if len(waiting) == len(found):
            self._wait = None
        for owned in tasks:
            ready = owned.phase is Phase.RESTORING and _is_restored(owned)
            if ready and not self._waits(owned, tasks):
                self._run(owned)

    def _waits(self, owned: OwnedTask, tasks: Sequence[OwnedTask]) -> bool:
        """Whether a task begins anew beside another one that does, and may still find state.

        Then the offsets of both have expired. Without state of its own it cannot tell.
        """
        return owned.metadata is None and any(
            other.metadata is None and (other.phase is Phase.WAITING or not _is_restored(other))
            for other in tasks
        )

    def flush(self, owned: OwnedTask) -> None:
        """Make all that a running task has committed durable on this disk.

        Raises:
            StateError: if the disk refuses.
        """
        for name, opened in owned.stores.items():
            if owned.task:
                began = self._now()
                owned.task.overlays[name].write()
                if abs(self._now_ms() - opened.dated_ms) > REDATE_MS:  # or the clock went back
                    self._redate(opened)
                opened.store.flush()
                self._wrote(name, self._now() - began)

    def grow(self, partitions: Mapping[str, int]) -> None:
        """Write to all partitions of sinks that have more of them now."""
        self._destinations.grow(partitions)

    def purge(self, owned: OwnedTask) -> None:
        """Delete what a task has committed of its repartition topics; nobody else reads them."""
        repartitions = self._prepared.topology.repartitions
        committed = {
            at: offset
            for at, offset in owned.offsets.items()
            if at[0] in repartitions and offset > owned.purged.get(at, 0)
        }
        if committed and owned.settled:
            owned.purged.update(committed)
            self._admin.delete_before(committed)

    def clean(self, tasks: Iterable[OwnedTask]) -> None:
        """Delete from time to time what nobody has used for long; our own tasks use theirs."""
        now_ms = self._now_ms()
        # The clock may have gone back since.
        if abs(now_ms - self._cleaned_ms) < min(CLEANUP_S * 1000, self._cleanup_delay_ms):
            return
        self._cleaned_ms = now_ms
        for owned in tasks:
            for opened in owned.stores.values():
                opened.lock.touch()
        application, unused_ms = self._prepared.topology.application, self._cleanup_delay_ms
        deleted = self._disk.clean(application, unused_ms=unused_ms, now_ms=now_ms)
        if deleted:
            log.info(
                "State that no worker of this host has used for %s is deleted: %s; %.1f MB.",
                timedelta(milliseconds=unused_ms),
                " ".join(each.name for each in deleted),
                sum(each.size_bytes for each in deleted) / 1_000_000,
            )

    def withdraw(self, tasks: Iterable[OwnedTask]) -> None:
        """Let nobody read tasks' stores any more, which waits for those who do, a moment."""
        self._holdings.withdraw([at for owned in tasks for at in _places(owned)])

    def close(self, owned: OwnedTask) -> None:
        """Close a task's stores and release their locks."""
        self.withdraw([owned])
        for name, opened in owned.stores.items():
            self._restorer.drop(opened.restore.topic, owned.partition)
            self._close_store(opened, owned.task.overlays[name] if owned.task else None)
        owned.stores, owned.task, owned.order, owned.phase = {}, None, None, Phase.WAITING

    def _find_offsets(self, tasks: Sequence[OwnedTask]) -> bool:
        inputs = [at for owned in tasks for at in owned.inputs]
        found = self._consumer.committed(inputs, COMMITTED_TIMEOUT_S)
        if found is None:
            return False
        for owned in tasks:
            self._take_over(owned, found)
        return True

    def _take_over(
        self, owned: OwnedTask, found: Mapping[tuple[str, int], tuple[int, str | None]]
    ) -> None:
        """Begin where the last commit has left the task."""
        led, owned.metadata = _memory(owned, found)
        whole = owned.metadata is None or self._definitions.check(
            owned.lead.part.stores, owned.metadata, str(owned)
        )
        owned.offsets = {at: found[at][0] for at in owned.inputs if found[at][0] >= 0}
        missing = [at for at in owned.inputs if at not in owned.offsets]
        # The first commit moves what stands beside another input, which led before, and
        # forgets the stores that are gone.
        owned.settled = whole and not missing and led == owned.lead.topic
        for topic, partition in missing:
            self._check_new(owned, topic, led)
            owned.offsets[topic, partition] = self._start(owned, topic, partition)

    def _check_new(self, owned: OwnedTask, topic: str, led: str) -> None:
        known = owned.metadata is not None and (
            topic == led or short_hash(topic) in owned.metadata.siblings
        )
        if known:
            raise BrokerError(
                f"The committed offset of {topic}/{owned.partition} is gone, but the"
                " application has read it before. The broker expires offsets of groups that"
                " are down for longer than offsets.retention.minutes. Going back to its start"
                " would count records twice: start over with its state, penstock reset"
                f" {self._prepared.topology.application} --to earliest --state, or take a new"
                " application id.",
                topic=topic,
                partition=owned.partition,
            )

    def _start(self, owned: OwnedTask, topic: str, partition: int) -> int:
        start: Start = next(
            node.source.start
            for node in owned.lead.part.sources
            if node.source and topic in node.source.topics
        )
        at = (topic, partition)
        if start == "earliest":
            return self._admin.starts([at])[at]
        if start == "latest":
            return self._admin.ends([at])[at]
        found = self._admin.at_time([at], round(start.timestamp() * 1000))[at]
        return found if found >= 0 else self._admin.ends([at])[at]

    def _open_stores(self, tasks: Sequence[OwnedTask]) -> None:
        self._check_partitions(tasks)
        application = self._prepared.topology.application
        wanted = [
            (owned, store, (store.changelog(application), owned.partition))
            for owned in tasks
            for store in owned.lead.part.stores
        ]
        ends = self._admin.ends(at for _, _, at in wanted)
        starts = self._admin.starts(at for _, _, at in wanted)
        wait = self._wait = self._wait or self._waiter()
        for owned, store, at in wanted:
            opened = self._open_store(store, at, (starts[at], ends[at]), wait)
            owned.stores[store.name] = opened
            if not opened.restore.done:
                self._restorer.add(Restoring(opened.restore, opened.store, opened.topic_id))

    def _check_partitions(self, tasks: Sequence[OwnedTask]) -> None:
        """Hold that no input has grown: the group may give new partitions before we look again."""
        for owned in tasks:
            lead = owned.lead
            if lead.part.stores and owned.partition >= lead.tasks:
                raise too_many(lead, lead.topic, lead.tasks, self._admin.topics()[lead.topic])

    def _open_store(
        self,
        definition: StoreDefinition,
        at: tuple[str, int],
        log_range: tuple[int, int],
        wait: Callable[[], bool],
    ) -> OpenStore:
        topic, partition = at
        application = self._prepared.topology.application
        place, lock = self._lock(self._disk.place(application, definition.name, partition), wait)
        topic_id = self._prepared.ids[topic]
        store, position = self._open_trusted(place, topic, topic_id, log_range)
        first = position.offset if position else log_range[0]
        restore = Restore(definition.name, topic, partition, first, log_range[1])
        was_empty = next(store.scan(), None) is None
        dated_ms = position.written_ms if position else self._now_ms()
        return OpenStore(definition, store, lock, restore, topic_id, was_empty, dated_ms)

    def _lock(self, place: Place, wait: Callable[[], bool]) -> tuple[Place, Held]:
        """Lock a store's place, or take one of our own where its holder does not let go."""
        try:
            return place, place.lock(wait)
        except StateError as error:
            private = place.private(self._slot)
            log.warning(
                "%s It is stopped, or stalls: its tasks were given to this worker, which restores"
                " them into %s.", error, private,
            )  # fmt: skip
            return private, private.lock(lambda: False)

    def _open_trusted(
        self, place: Place, topic: str, topic_id: str, log_range: tuple[int, int]
    ) -> tuple[LocalStore, Position | None]:
        store: LocalStore | None = None
        try:
            store = place.open()
            position = store.position()
            problem = self._distrust(position, topic, topic_id, log_range)
        except DamagedStore as error:
            position, problem = None, error.reason
        if store and problem is None:
            return store, position
        if store:
            with suppress(DamagedStore):
                store.close()
        aside = place.set_aside(self._now_ms())
        log.warning(
            "The state in %s is not used: %s. It is kept as %s and restored from %s.%s",
            place, problem, aside, topic, "" if log_range[1] else self._emptied(),
        )  # fmt: skip
        return place.open(), None

    def _emptied(self) -> str:
        """Say what it means that nothing was ever written to a changelog whose state is here."""
        return (
            " Nothing was ever written there: unless the application was reset since, its state is"
            " lost with the topic that was deleted. Stop it then, and start over: penstock reset"
            f" {self._prepared.topology.application} --to earliest --state."
        )

    def _distrust(
        self, position: Position | None, topic: str, topic_id: str, log_range: tuple[int, int]
    ) -> str | None:
        """Say why a store on disk cannot be believed, None if it can."""
        if position is None:
            return None
        start, end = log_range
        if position.topic_id != topic_id:
            return (
                f"it is not of the topic {topic} that is there now: that was made anew since, or"
                " the files are another application's"
            )
        if position.offset > end:
            return f"it reflects offset {position.offset}, the changelog ends at {end}"
        if position.offset < start:
            return f"it reflects offset {position.offset}, the changelog begins at {start}"
        age_ms = self._now_ms() - position.written_ms
        believed_ms = self._delete_retention_ms(topic) // 2
        if age_ms < -believed_ms:
            return (
                f"it is dated {-age_ms // 60_000} minutes ahead of this clock, so nobody knows how"
                " old it is, and the changelog may have forgotten deletions since"
                " (delete.retention.ms)"
            )
        if age_ms > believed_ms:
            return (
                f"it is {age_ms // 60_000} minutes old, and the changelog may have forgotten"
                " deletions since (delete.retention.ms)"
            )
        return None

    def _delete_retention_ms(self, topic: str) -> int:
        if topic not in self._retention:
            found = self._admin.configs([topic])[topic].get("delete.retention.ms")
            self._retention[topic] = int(found or DEFAULT_DELETE_RETENTION_MS)
        return self._retention[topic]

    def _waiter(self) -> Callable[[], bool]:
        """Return what waits for locks, for all that are taken over no longer than for one."""
        tries = iter(range(int(self._lock_timeout_ms / 1000 / LOCK_PAUSE_S)))

        def wait() -> bool:
            self._sleep(LOCK_PAUSE_S)
            return next(tries, None) is not None

        return wait

    def _run(self, owned: OwnedTask) -> None:
        if owned.metadata is None and self._exactly_once and _with_state(owned):
            if not self._is_overtaken(owned):
                raise _forgotten(owned, self._prepared.topology.application)
            self.close(owned)
            return
        overlays = {
            name: Overlay(
                opened.definition,
                opened.store,
                cache_entries=max(LEAST_ENTRIES, self._store_bytes // BYTES_PER_ENTRY),
                write_behind=min(WRITE_BEHIND_KEYS, self._store_bytes // BYTES_PER_ENTRY // 2),
                value_bytes=self._store_bytes // 2,
                lock=threading.Lock(),
            )
            for name, opened in owned.stores.items()
        }
        owned.task = Task(
            self._prepared.topology,
            owned.lead.part,
            owned.partition,
            overlays,
            self._destinations,
            self._now_ms,
            self._now,
        )
        owned.task.clocks = owned.clocks
        owned.order = self._order(owned, owned.task)
        owned.phase = Phase.RUNNING
        for name, overlay in overlays.items():
            self._holdings.open((name, owned.partition), overlay)
        self._consumer.begin(owned.offsets)
        log.info("Task %s runs from %s.", owned, _shown(owned.offsets))

    def _is_overtaken(self, owned: OwnedTask) -> bool:
        """Whether another worker has committed since: it had the task while this one stalled."""
        found = self._consumer.committed(owned.inputs, COMMITTED_TIMEOUT_S)
        return found is None or _memory(owned, found)[1] is not None

    def _order(self, owned: OwnedTask, task: Task) -> InputOrder | None:
        if not owned.lead.ordered:
            return None
        return InputOrder(
            owned.inputs,
            max_idle_ms=self._max_idle_ms,
            times=task.event_times,
            latest=self._consumer.latest,
        )

    def _redate(self, opened: OpenStore) -> None:
        """Note that a store is as it should be: an old one is not believed when it is opened."""
        opened.dated_ms = self._now_ms()
        position = opened.store.position()
        if position:
            opened.store.write([], dataclasses.replace(position, written_ms=opened.dated_ms))

    def _close_store(self, opened: OpenStore, overlay: Overlay | None) -> None:
        try:
            if overlay:
                overlay.write()
            if opened.restore.done:
                self._redate(opened)
            opened.store.close()
        except StateError as error:
            log.warning("%s It is restored from its changelog at the next start.", error)
        finally:
            opened.lock.release()


def _some(tasks: Sequence[OwnedTask]) -> list[OwnedTask]:
    """Return the first of tasks, as many as can be opened in one step."""
    stores = accumulate(len(owned.lead.part.stores) for owned in tasks)
    return [
        owned
        for owned, so_far in zip(tasks, stores, strict=True)
        if so_far <= max(OPENED_AT_ONCE, len(tasks[0].lead.part.stores))
    ]


def _places(owned: OwnedTask) -> list[tuple[str, int]]:
    return [(store.name, owned.partition) for store in owned.lead.part.stores]


def _shown(offsets: Mapping[tuple[str, int], int]) -> str:
    if len(offsets) == 1:
        return f"offset {next(iter(offsets.values()))}"
    return ", ".join(f"{topic} offset {offset}" for (topic, _), offset in offsets.items())


def _memory(
    owned: OwnedTask, found: Mapping[tuple[str, int], tuple[int, str | None]]
) -> tuple[str, Metadata | None]:
    """Return what the last commit has left, and the input beside which it stands: its lead."""
    for topic, partition in owned.inputs:
        memory = metadata.decode(found[topic, partition][1], f"{topic}/{partition}")
        if memory is not None:
            return topic, memory
    return owned.lead.topic, None


def _is_restored(owned: OwnedTask) -> bool:
    return all(opened.restore.done for opened in owned.stores.values())


def _with_state(owned: OwnedTask) -> list[str]:
    """Return the stores of a task that hold anything."""
    return [name for name, of in owned.stores.items() if of.restore.records or not of.was_empty]


def _forgotten(owned: OwnedTask, application: str) -> BrokerError:
    name = _with_state(owned)[0]
    found = (
        "the offsets committed for its input lack the metadata that goes with it: another"
        " program has moved them"
        if owned.settled
        else "no offset is committed for its input: the offsets have expired, or were deleted, as"
        " with a topic that was made anew"
    )
    return BrokerError(
        f"The store {name} of {owned} has state, but {found}. To go on would count"
        f" records twice, or not at all. Start over: penstock reset {application} --to earliest"
        " --state, or take a new application id.",
        topic=owned.lead.topic,
        partition=owned.partition,
        store=name,
    )


def offsets_to_commit(
    owned: OwnedTask, positions: Mapping[tuple[str, int], int], committed: Metadata
) -> dict[tuple[str, int], tuple[int, str]]:
    """Return what a transaction that touches a task commits: every input, the lead's metadata."""
    lead = (owned.lead.topic, owned.partition)
    text = committed.encode()
    return {
        at: (positions.get(at, owned.offsets[at]), text if at == lead else "")
        for at in owned.inputs
    }
