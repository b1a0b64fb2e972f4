"""TestDriver: run an application in a test, without a broker, threads or waiting.

The topology, the tasks, the stores' overlays and the changelogs are those of production; the
driver takes the place of the worker and the cluster. Every topic has one partition. One
`send` is one committed batch; `with driver.batch():` makes one of several. Time stands still
until `advance`.
"""

# pyright: reportPrivateUsage=false
# A TestTopic is a handle on its driver: one thing in two classes.

import threading
from collections import defaultdict
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Generic, Self, overload

from typing_extensions import TypeVar

from penstock.app import App
from penstock.durations import Duration, milliseconds
from penstock.engine.delivery import deliver
from penstock.engine.task import FlushFailed, Task
from penstock.engine.task_time import TASK_TIME
from penstock.errors import TopologyError
from penstock.operators.sink import Outgoing
from penstock.operators.source import Fetched
from penstock.query.reading import Holdings
from penstock.query.store import Store
from penstock.serde.types import RAW, DataType
from penstock.state.changelog import stored
from penstock.state.memory import MemoryStore
from penstock.state.overlay import Overlay
from penstock.state.store import Position
from penstock.table import Table
from penstock.topics.internal import DEFAULT_MAX_MESSAGE_BYTES
from penstock.topics.topic import Topic
from penstock.topology.event_time import late_topics
from penstock.topology.graph import SubTopology, Topology
from penstock.topology.resolve import resolve

K = TypeVar("K")
V = TypeVar("V")
Row = tuple[bytes | None, bytes | None, int, Any]


class TestTopic(Generic[K, V]):
    """A topic of the driver: send to it as a producer, read from it as a consumer."""

    __test__ = False

    def __init__(self, driver: "TestDriver", name: str, key: DataType, value: DataType) -> None:
        self._driver = driver
        self._name = name
        self._key = key
        self._value = value
        self._next = 0

    def send(
        self,
        value: V | None,
        *,
        key: K | None = None,
        at: int | None = None,
        headers: Sequence[tuple[str, bytes | None]] | None = None,
    ) -> None:
        """Send one record, and process and commit it unless a batch is open.

        Args:
            value: the value; None is a null.
            key: the key; None is a null.
            at: its timestamp in milliseconds since the epoch; the driver's clock if left out.
            headers: pairs of name and bytes.

        Raises:
            PenstockError: whatever processing it raises; nothing of its batch is committed.
        """
        self.send_bytes(_encode(self._value, value), key=_encode(self._key, key), at=at,
                        headers=headers)  # fmt: skip

    def send_bytes(
        self,
        value: bytes | None,
        *,
        key: bytes | None = None,
        at: int | None = None,
        headers: Sequence[tuple[str, bytes | None]] | None = None,
    ) -> None:
        """Send one record as bytes, for what no type would write.

        Args:
            value: the value's bytes; None is a null.
            key: the key's bytes; None is a null.
            at: its timestamp, as for `send`.
            headers: pairs of name and bytes.

        Raises:
            PenstockError: as `send` does.
        """
        timestamp = self._driver.now if at is None else at
        self._driver._send(self._name, (key, value, timestamp, list(headers) if headers else None))

    def read(self) -> list[tuple[K, V]]:
        """Return keys and values of the committed records since the last read."""
        rows = self._driver._committed(self._name)[self._next :]
        self._next += len(rows)
        return [(_decode(self._key, row[0]), _decode(self._value, row[1])) for row in rows]

    def read_timestamps(self) -> list[int]:
        """Return the timestamps of all committed records, in milliseconds."""
        return [row[2] for row in self._driver._committed(self._name)]

    def read_headers(self) -> list[dict[str, bytes | None]]:
        """Return the headers of all committed records; of equal names the last."""
        return [dict(row[3] or []) for row in self._driver._committed(self._name)]


class TestDriver:
    """Drive an application record by record.

    Args:
        app: the application; it does not connect to anything.
        now: where the driver's clock starts, milliseconds since the epoch. Left out, it starts
            at 0, and event times may be as far ahead of it as they like: `max_future` guards
            only where a test says what time it is.
        seed: for what draws random numbers.

    >>> import penstock as ps
    >>> app = ps.App("shout")
    >>> app.stream("in", key=str, value=str).map(str.upper, value=str).to("out")
    >>> with TestDriver(app) as driver:
    ...     driver.topic("in").send("hello", key="a")
    ...     driver.topic("out").read()
    [('a', 'HELLO')]
    """

    __test__ = False

    def __init__(self, app: App, *, now: int | None = None, seed: int = 0) -> None:
        self.now = now or 0
        self._knows_now = now is not None
        self.seed = seed
        self._declared = app.topology()
        self._named = _topics(self._declared)
        self._logs: dict[str, list[Row]] = defaultdict(list)
        self._positions: dict[str, int] = defaultdict(int)
        self._tasks: list[Task] = []
        self._holdings = Holdings(app.id, self._declared.stores)
        self._clocks: dict[int, dict[str, int]] = defaultdict(dict)  # by sub-topology
        self._heard: dict[int, int] = {}  # when something came last
        self._schemas: dict[int, Any] = {}
        self._batches = 0
        self._start()
        self._batching = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._tasks = []

    @overload
    def topic(self, topic: Topic[K, V]) -> TestTopic[K, V]: ...
    @overload
    def topic(self, topic: str) -> TestTopic[Any, Any]: ...
    def topic(self, topic: Any) -> TestTopic[Any, Any]:
        """Return a topic, with the types of a Topic or those that the application declares.

        A pattern of the application matches the topics that are named here.

        Args:
            topic: a Topic, or the name of one that the application reads or writes.

        Raises:
            TopologyError: if it is a name that the application neither reads nor writes.
        """
        self._name(topic.name if isinstance(topic, Topic) else topic)
        if isinstance(topic, Topic):
            self._without_registry(topic.key_type.serde, topic.value_type.serde)
            return TestTopic(self, topic.name, topic.key_type, topic.value_type)
        for node in self._topology:
            if node.source and topic in node.source.topics:
                return TestTopic(self, topic, node.source.key, node.source.value)
            if node.sink and (node.sink.topic == topic or callable(node.sink.topic)):
                return TestTopic(self, topic, node.sink.key, node.sink.value)
        if topic in self._topology.dead_letter_topics | late_topics(self._topology):
            return TestTopic(self, topic, RAW, RAW)
        raise TopologyError(
            f"The application neither reads nor writes the topic {topic!r}. Use one of its own:"
            f" {', '.join(sorted(self._named)) or 'none is named'}."
        )

    @overload
    def store(self, table: Table[K, V]) -> Store[K, V]: ...
    @overload
    def store(self, table: str) -> Store[Any, Any]: ...
    def store(self, table: Any) -> Store[Any, Any]:
        """Return the store of a table, as `query.store()` does.

        Args:
            table: as the application declares it, or the name of a store.

        Raises:
            TopologyError: if the application has no such store.
        """
        return Store(self._holdings, table.name if isinstance(table, Table) else table)

    @contextmanager
    def batch(self) -> Generator[None]:
        """Process what is sent inside as one batch, committed at the end."""
        self._batching = True
        try:
            yield
        finally:
            self._batching = False
        self._run()

    def advance(self, by: Duration) -> None:
        """Move the clock forward, while nothing is sent; timers of the wall clock fire.

        Where a stream has `idle=`, event time goes on with it.

        Args:
            by: how far.
        """
        self.now += milliseconds(by)
        self._run()

    def crash(self) -> None:
        """Lose everything that is not in a topic, and restore it from there."""
        self._start()

    def partitions(self, topic: str, keys: Sequence[bytes | None]) -> list[int]:
        """Return partition 0 for each key: every topic of the driver has one."""
        return [0] * len(keys)

    def max_message_bytes(self, topic: str) -> int:
        """Return what a topic takes by default."""
        return DEFAULT_MAX_MESSAGE_BYTES

    def _name(self, topic: str) -> None:
        patterns = [node.source.pattern for node in self._declared if node.source]
        matched = any(pattern and pattern.fullmatch(topic) for pattern in patterns)
        if matched and topic not in self._named:
            self._named.add(topic)
            self._start()

    def _start(self) -> None:
        self._topology = resolve(self._declared, sorted(self._named), missing_ok=True)
        for node in self._topology:
            for columns in (node.source, node.sink):
                if columns:
                    self._without_registry(columns.key.serde, columns.value.serde)
            for store in node.stores:
                self._without_registry(store.key, store.value)
        self._holdings.withdraw([(store.name, 0) for store in self._topology.stores])
        self._tasks = [self._open(part) for part in self._topology.sub_topologies]
        self._heard = dict.fromkeys(range(len(self._tasks)), self.now)

    def _without_registry(self, *serdes: Any) -> None:
        """Let serdes with a schema registry do without: the driver connects to nothing."""
        for serde in serdes:
            stand_alone = getattr(serde, "stand_alone", None)
            if stand_alone:
                stand_alone(self._schemas)

    def _open(self, part: SubTopology) -> Task:
        overlays: dict[str, Overlay] = {}
        for definition in part.stores:
            store = MemoryStore()
            rows = self._logs[definition.changelog(self._topology.application)]
            items = stored(
                [row[0] or b"" for row in rows], [row[1] for row in rows], [row[2] for row in rows]
            )
            store.write(items.items(), Position(len(rows), "driver", self.now))
            overlay = Overlay(definition, store, lock=threading.Lock())
            self._holdings.open((definition.name, 0), overlay)
            self._holdings.partitions[definition.name] = 1
            overlays[definition.name] = overlay
        task = Task(self._topology, part, 0, overlays, self, lambda: self.now)
        task.clocks = dict(self._clocks[part.number])
        return task

    def _send(self, topic: str, row: Row) -> None:
        self._logs[topic].append(row)
        if not self._batching:
            self._run()

    def _committed(self, topic: str) -> list[Row]:
        return self._logs[topic]

    def _run(self) -> None:
        """Process what is new in the inputs, until nothing is: a sink may be an input too."""
        moved = True
        while moved:
            moved = any([self._run_task(task) for task in self._tasks])
            moved = moved or any([self._let_time_go_on(task) for task in self._tasks])

    def _let_time_go_on(self, task: Task) -> bool:
        """Do what time has come for where no record is; return whether there was anything."""
        fed_by = self._topology.feeders(task.part)
        if fed_by:
            task.time.reach(
                min(
                    self._clocks[part.number].get(TASK_TIME, -1) - delay_ms
                    for part, delay_ms in fed_by
                )
            )
        quiet_ms = self.now - self._heard[task.part.number]
        if task.time.is_due_after(quiet_ms):
            task.time.pass_by(quiet_ms)
        if not task.time.is_due(self.now):
            return False
        self._run_task(task)
        return True

    def _run_task(self, task: Task) -> bool:
        clocks = dict(task.clocks)
        before = {topic: self._positions[topic] for topic in task.part.topics}
        found = [fetched for topic in task.part.topics for fetched in self._new(topic)]
        if found:
            self._heard[task.part.number] = self.now
        try:
            self._process(task, found)
        except Exception:
            self._positions.update(before)
            task.discard(clocks)
            for topic in task.part.topics:
                # The record that failed must not fail every later send.
                del self._logs[topic][self._positions[topic] :]
            raise
        self._commit(task)
        return bool(found)

    def _process(self, task: Task, found: Sequence[Fetched]) -> None:
        clocks, now_ms = dict(task.clocks), self.now if self._knows_now else None
        try:
            for fetched in found:
                task.process(fetched, now_ms=now_ms)
            task.flush(self.now)
        except FlushFailed:  # what is run again carefully names the record
            task.discard(clocks)
            for fetched in found:
                task.process(fetched, careful=True, now_ms=now_ms)
            task.flush(self.now)

    def _new(self, topic: str) -> list[Fetched]:
        start, rows = self._positions[topic], self._logs[topic]
        self._positions[topic] = end = len(rows)
        if start == end:
            return []
        keys, values, timestamps, headers = (list(c) for c in zip(*rows[start:end], strict=True))
        offsets = list(range(start, end))
        return [Fetched(topic, 0, keys, values, timestamps, offsets, headers, end)]

    def _commit(self, task: Task) -> None:
        outputs: list[Outgoing] = task.outputs
        task.outputs = []
        self._clocks[task.part.number] = dict(task.clocks)
        for out in outputs:
            headers = out.headers or [None] * len(out.keys)
            self._logs[out.topic] += list(
                zip(out.keys, out.values, out.timestamps, headers, strict=True)
            )
        for overlay in task.overlays.values():
            overlay.commit(Position(0, "driver", self.now))
        deliver(self._batches, [task], self._tasks)
        self._batches += 1


def _topics(topology: Topology) -> set[str]:
    read = {topic for node in topology if node.source for topic in node.source.topics}
    written = {node.sink.topic for node in topology if node.sink}
    named = {topic for topic in written if isinstance(topic, str)}
    return read | named | topology.dead_letter_topics | late_topics(topology)


def _encode(of: DataType, value: Any) -> bytes | None:
    if value is None:
        return None
    encoded: bytes = of.serde.encode(value) if of.serde else value
    return encoded


def _decode(of: DataType, data: bytes | None) -> Any:
    return data if data is None or of.serde is None else of.serde.decode(data)
