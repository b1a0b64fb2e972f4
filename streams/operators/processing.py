"""Process: a processor of the user's at work, record by record, with its timers in between.

Rule 1: timers of event time whose time is at most that of a record fire before it, in the order
        of their times; those that the record sets for a time that has come, right after it. So
        what happens does not depend on how the input is cut. Records that are dropped move time
        as others do. Behind a repartition topic, where records do not, timers fire at the flush.
Rule 2: timers of the wall clock fire at the flush.
Rule 3: what a timer raises is no record's fault. In front of each record that is run alone, its
        timers are fired by themselves (`fire`), so that nobody takes the one for the other.

Rule 4: which keys have begun is state like any other: what undoes a record undoes that its key
        began with it.

Kafka Streams' KStreamProcess; timers by key and name instead of one punctuator, as in Spark's
transformWithState and Flink.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.operators.bound import bind
from penstock.operators.chunk import Chunk, Headers
from penstock.operators.each import NOT_DATA, TimerFailed
from penstock.operators.expiry import Expiry
from penstock.operators.lookup import Lookup
from penstock.operators.moment import Moment
from penstock.operators.operator import EVERYTHING
from penstock.operators.processor import Processor, Timer
from penstock.operators.states import State, ValueState
from penstock.operators.time import START, OperatorTime
from penstock.operators.timers import NEVER, Due, Queue, Timers
from penstock.serde.types import Serde
from penstock.state.definition import StoreDefinition
from penstock.state.overlay import Changes, Overlay

BEGUN = b"\1"  # what is kept of a key that has begun
DEEPEST = 1_000  # timers in a row that are due as soon as they are set


@dataclass(frozen=True)
class Process:
    """Call a processor for each record.

    >>> class Twice(Processor[str, str, str]):
    ...     def process(self, ctx, value):
    ...         return [value, f"{value} at {ctx.timestamp}"]
    >>> opened = Process("twice", Twice, (), (), has_timers=False, key=None).open(coalesce=False)
    >>> opened.process(Chunk(["x"], [5], keys=["a"])).values
    ['x', 'x at 5']

    Attributes:
        name: of the process.
        make: makes an instance for a task.
        states: what its class declares, by attribute, with the end of the store's name.
        stores: theirs in this order, behind them that of the timers, if there is one, and that of
            the keys that have begun, if `begins`.
        has_timers: whether the class does anything when a timer fires.
        key: serde of the keys; None where it is not known and there is no store.
        begins: whether each key begins with what a table has for it.
    """

    name: str
    make: Callable[[], Processor[Any, Any, Any]]
    states: tuple[tuple[str, str, State], ...]
    stores: tuple[StoreDefinition, ...]
    has_timers: bool
    key: Serde[Any] | None
    begins: bool = False
    reads = EVERYTHING
    timed = True

    @property
    def clock(self) -> str:
        """The name of its operator time, whatever state it has; no store is called so."""
        return f"({self.name})"

    def open(self, *overlays: Overlay, coalesce: bool) -> "OpenProcess":
        """Bind the processor to the stores of one task."""
        return OpenProcess(self, overlays)


class Results:
    """What calls of a processor have handed on, as columns."""

    def __init__(self, serde: Serde[Any] | None) -> None:
        self._serde = serde
        self.values: list[Any] = []
        self.keys: list[Any] = []
        self.timestamps: list[int] = []
        self.headers: list[Headers] = []

    def add(self, found: Iterable[Any], key: Any, timestamp: int, headers: Headers) -> None:
        """Take what one call hands on, as it comes."""
        for value in found:
            self.values.append(value)
            self.keys.append(key)
            self.timestamps.append(timestamp)
            self.headers.append(headers)

    def chunk(self, origin: Chunk | None = None) -> Chunk | None:
        """Return them as records, None for none."""
        if not self.values:
            return None
        known = self._serde is not None
        return Chunk(
            self.values,
            self.timestamps,
            keys=None if known else self.keys,
            raw_keys=self.keys if known else None,
            key_serde=self._serde,
            headers=self.headers,
            topic=origin.topic if origin else "",
            partition=origin.partition if origin else -1,
        )


class OpenProcess:
    """A processor in a task.

    Attributes:
        dropped: records without a key, until the task counts them.
    """

    def __init__(self, declared: Process, overlays: Sequence[Overlay]) -> None:
        self._name, self._serde = declared.name, declared.key
        self._keeps = bool(declared.stores)
        self._begun = overlays[-1] if declared.begins else None
        overlays = overlays[:-1] if declared.begins else overlays
        self._initial: Lookup | None = None
        own = overlays[-1] if len(overlays) > len(declared.states) else None
        ttls = {name: state.ttl_ms for _, name, state in declared.states if state.ttl_ms}
        self._timers = Timers(own) if own is not None and declared.has_timers else None
        self._events: Queue | None = self._timers.queues["event"] if self._timers else None
        self._expiry = Expiry(own, ttls) if own is not None and ttls else None
        self._moment = Moment(declared.name, self._timers)
        self._processor = declared.make()
        for (attribute, name, state), overlay in zip(declared.states, overlays, strict=False):
            bound = bind(name, state, self._moment, overlay, self._expiry)
            vars(self._processor)[attribute] = bound
        self._values = [
            overlay
            for (_, _, state), overlay in zip(declared.states, overlays, strict=False)
            if isinstance(state, ValueState)
        ]
        if self._begun is not None:
            self._values.append(self._begun)
        self.dropped = self.late = 0

    def look_into(self, table: Lookup) -> None:
        """Take the table whose values keys begin with."""
        self._initial = table

    def tell_time_by(self, now_ms: Callable[[], int]) -> None:
        """Take what tells the wall clock's milliseconds."""
        self._moment.tell_ms = now_ms

    @property
    def wake_ms(self) -> int | None:
        """When the first timer of the wall clock is due."""
        first = self._timers.queues["wall"].first() if self._timers else NEVER
        return None if first == NEVER else first

    def process(self, chunk: Chunk, time: OperatorTime = START) -> Chunk | None:
        """Call the processor for each record, and for the timers in between: 1.5 us each."""
        raws: Sequence[Any] = chunk.encoded_keys(self._serde)
        moment, events, initial = self._moment, self._events, self._initial
        call: Callable[..., Any] = self._processor.process
        self._read(raws)
        moment.chunk = chunk
        results = Results(self._serde)
        headers = chunk.headers or [None] * len(chunk)
        columns = zip(raws, chunk.keys, chunk.values, chunk.timestamps, headers, strict=True)
        try:
            for index, ((raw, key, value, at, header), reached) in enumerate(
                zip(columns, time.at_each(chunk.timestamps), strict=True)
            ):
                if events is not None and events.next_at <= reached:
                    self._fire_events(reached, results)
                    moment.chunk = chunk
                if raw is None and self._keeps:
                    self.dropped += 1
                    continue
                moment.index = index
                moment.move(raw, key, at, reached)
                if initial is not None:
                    self._begin(initial)
                found: Iterable[Any] | None = call(moment, value)
                if found is not None:  # a function that returns nothing hands on nothing
                    results.add(found, raw, at, header)
                if events is not None and events.next_at <= reached:
                    self._fire_events(reached, results)
                    moment.chunk = chunk
        finally:
            moment.raw = moment.chunk = None
        return results.chunk(chunk)

    def fire(self, time: int) -> Chunk | None:
        """Fire the timers that are due at an event time, before the record that brings it."""
        results = Results(self._serde)
        if self._events is not None and self._events.next_at <= time:
            try:
                self._fire_events(time, results)
            finally:
                self._moment.raw = None
        return results.chunk()

    def updates(self, changes: Changes) -> Chunk:
        """Return nothing: state is the processor's own."""
        return Chunk([], [])

    def is_due(self, clock: int) -> bool:
        """Whether a timer of event time is due."""
        return self._events is not None and self._events.first() <= clock

    def held_ms(self) -> int | None:
        """Nothing: what a record or a timer brings is handed on at once."""
        return None

    def close(self, clock: int, now_ms: int, limit: int) -> tuple[Chunk | None, bool]:
        """Fire what is due by both clocks, and delete state that has expired."""
        results = Results(self._serde)
        done = True
        if self._expiry is not None:
            self._expiry.flushed()  # before timers write something
        if self._timers is not None:
            self._timers.flushed()
            done = self._fire_all(self._timers, clock, now_ms, limit, results)
        if self._expiry is not None:
            done = self._expiry.expire(clock, limit) and done
        return results.chunk(), done

    def discard(self) -> None:
        """Forget what the batch has left in memory: it was aborted."""
        if self._timers is not None:
            self._timers.forget()
        if self._expiry is not None:
            self._expiry.discard()

    def rollback(self) -> None:
        """Have the timers again that a failed chunk has fired."""
        if self._timers is not None:
            self._timers.undo()

    def _read(self, raws: Sequence[Any]) -> None:
        """Read the values of a chunk's keys in one call: one by one they cost three times that."""
        if self._values and len(raws) > 1:
            keys = dict.fromkeys(raws)
            keys.pop(None, None)
            for overlay in self._values:
                overlay.touch(keys)

    def _begin(self, table: Lookup) -> None:
        """Begin the key that the processor is called for, if it has not begun: 0.2 us."""
        moment, begun = self._moment, self._begun
        assert begun is not None
        if begun.get(moment.raw) is not None:
            return
        begun.put({moment.raw: (BEGUN, moment.written)})
        value = table.get(moment.raw)
        if value is not None:
            self._processor.on_initial(moment, value)

    def _fire_events(self, time: int, results: Results) -> None:
        assert self._timers is not None
        while (due := self._timers.take("event", time)) is not None:
            self._fire(due, time, results)

    def _fire_all(
        self, timers: Timers, clock: int, now_ms: int, limit: int, results: Results
    ) -> bool:
        """Fire what is due by both clocks, until so many were; return whether that was all."""
        try:
            for _ in range(limit):
                due = timers.take("event", clock) or timers.take("wall", now_ms)
                if due is None:
                    timers.settled()
                    return True
                self._fire(due, clock, results)
        finally:
            self._moment.raw = None
        return False

    def _fire(self, due: Due, time: int, results: Results) -> None:
        """Call the processor for a timer.

        Raises:
            TimerFailed: if it raises, or timers set each other for ever.
        """
        moment, serde = self._moment, self._serde
        call: Callable[..., Any] = self._processor.on_timer
        timer = Timer(due.name, due.at, due.clock)
        at = due.at if due.clock == "event" else max(time, due.set_at)
        key = due.raw if serde is None else serde.decode(due.raw)
        moment.chunk, moment.seed = None, f"{due.name}@{due.at}"
        moment.move(due.raw, key, at, time)
        assert self._timers is not None
        self._timers.firing(due)
        try:
            if due.depth > DEEPEST:
                raise RecursionError(
                    f"{DEEPEST} timers in a row have set each other for a time that had passed,"
                    " which never ends: set them for later than timer.at or ctx.stream_time"
                )
            if self._initial is not None:
                self._begin(self._initial)
            found: Iterable[Any] | None = call(moment, timer)
            if found is not None:
                results.add(found, due.raw, at, None)
        except NOT_DATA:
            raise
        except Exception as error:
            raise TimerFailed(
                f"on_timer of process {self._name!r} failed for key {key!r}, timer {due.name!r} at"
                f" {due.at} ({due.clock} time): {type(error).__name__}: {error}. Nothing of this"
                " batch is committed. Correct the function and start again: the timer fires again.",
                operator="process",
            ) from error
        finally:
            self._timers.firing(None)
