"""Stream: a declared stream of records, and what can be done with each of them.

Nothing here runs. Each method adds an immutable step to the application's declaration and
returns a handle on it; mistakes raise a TopologyError here, before a record is read.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, Literal, overload

from typing_extensions import TypeIs, TypeVar

from penstock.aggregators import AnyAgg
from penstock.duplicates import declare_drop_duplicates
from penstock.durations import Duration, milliseconds
from penstock.errors import TopologyError
from penstock.memory import Memory
from penstock.observing import declare_observe
from penstock.operators.branch import Port, Route
from penstock.operators.explode import Explode
from penstock.operators.fields import compile_path
from penstock.operators.filter import Filter
from penstock.operators.flat_map import FlatMap
from penstock.operators.map import Map
from penstock.operators.map_record import MapRecord
from penstock.operators.match import Match
from penstock.operators.merge import Merge
from penstock.operators.peek import Peek
from penstock.operators.processor import Processor
from penstock.operators.record import Record
from penstock.operators.to_stream import ToStream
from penstock.operators.update_state import processor_of
from penstock.operators.watermark import Watermark
from penstock.output_modes import add_console, add_memory, check_output_mode
from penstock.patterns import Pattern, declare_match
from penstock.processes import add_process
from penstock.rekeying import declare_rekey
from penstock.selections import declare_select
from penstock.serde.types import UNKNOWN, DataType, Spec, data_type, element, returned, where
from penstock.sinks import add_sink
from penstock.topics.topic import Topic
from penstock.topology.declaration import Declaration
from penstock.topology.node import Node
from penstock.topology.repartition import check_partitioned, check_reshuffle, make_reshuffle

if TYPE_CHECKING:
    from penstock.grouped import Grouped
    from penstock.table import Table

R = TypeVar("R")
S = TypeVar("S")
K2 = TypeVar("K2")
V2 = TypeVar("V2")
K_co = TypeVar("K_co", covariant=True)
V_co = TypeVar("V_co", covariant=True)


class Stream(Generic[K_co, V_co]):
    """Records with a key and a value, partition by partition in the order of their offsets."""

    def __init__(self, declaration: Declaration, node: Node) -> None:
        self._declaration = declaration
        self._node = node

    @overload
    def map(self, f: Callable[[V_co], R]) -> "Stream[K_co, R]": ...
    @overload
    def map(self, f: Callable[[V_co], R], *, value: Spec[R]) -> "Stream[K_co, R]": ...
    def map(self, f: Callable[[V_co], Any], *, value: Any = None) -> "Stream[K_co, Any]":
        """Apply a function to each value; key, timestamp and headers stay.

        Args:
            f: a function of the value.
            value: type or serde of what it returns; needed at a topic or store where the
                function has no return annotation.
        """
        return self._then("map", Map(f), _declared(value, returned(f)), where(f))

    def flat_map(
        self, f: Callable[[V_co], Iterable[R]], *, value: Spec[R] | None = None
    ) -> "Stream[K_co, R]":
        """Apply a function to each value and hand on each element of what it returns.

        Args:
            f: a function of the value that returns an iterable, empty for none.
            value: type or serde of one element.
        """
        return self._then("flat_map", FlatMap(f), _declared(value, element(f)), where(f))

    @overload
    def filter(self, f: Callable[[V_co], TypeIs[R]]) -> "Stream[K_co, R]": ...
    @overload
    def filter(self, f: Callable[[V_co], object]) -> "Stream[K_co, V_co]": ...
    def filter(self, f: Callable[[V_co], Any]) -> "Stream[K_co, Any]":
        """Keep the records for whose value a function returns something true.

        Args:
            f: a function of the value; one that returns a TypeIs narrows the value's type.
        """
        return self._then("filter", Filter(f), self._node.value, where(f))

    def peek(self, f: Callable[[V_co], object]) -> "Stream[K_co, V_co]":
        """Call a function with each value, for its side effect.

        The call is not part of the transaction: a batch that is aborted is read again.

        Args:
            f: a function of the value; what it returns is ignored.
        """
        return self._then("peek", Peek(f), self._node.value, where(f))

    def observe(self, name: str, /, **aggregates: AnyAgg[V_co, Any]) -> "Stream[K_co, V_co]":
        """Aggregate the records of each batch in passing, for its progress.

        The results stand in `Progress.observed_metrics[name]`, merged over the batches that a
        record of progress covers and over the worker's partitions; each record counts once, when
        its batch is committed. Values that are None are passed over, and so are records that fail,
        here or in a step behind. An aggregator that raises at a record fails it, by `on_error`.

        Args:
            name: of what is observed.
            aggregates: result = aggregator, such as `rows=ps.count(), total=ps.sum("amount")`, or
                an object of your own with the methods of `Aggregator`.

        Raises:
            TopologyError: if the name is taken, there is no aggregator, or one reads a field that
                the value has not.

        >>> import penstock as ps
        >>> prices = ps.App("shop").stream("prices", key=str, value=float)
        >>> prices.observe("prices", rows=ps.count(), most=ps.max(lambda price: price)).to("seen")
        """
        nodes = self._declaration.nodes
        operator = declare_observe(self._node, name, aggregates, nodes)
        return self._then("observe", operator, self._node.value, name)

    def explode(self, path: str, *, rename: str | None = None) -> "Stream[K_co, dict[str, Any]]":
        """Hand on one record per element of a list in the value, as a dict of its fields.

        Args:
            path: the field of the list; it then holds one element.
            rename: another name for that field.

        Raises:
            TopologyError: if the value has no such field.
        """
        get, _ = compile_path(path, self._node.value.type)
        operator = Explode(get, path.split(".")[0], rename)
        return self._then("explode", operator, data_type(dict[str, Any]), path)

    @overload
    def select(self, /, *paths: str, **renamed: str) -> "Stream[K_co, dict[str, Any]]": ...
    @overload
    def select(self, into: type[R], /, **renamed: str) -> "Stream[K_co, R]": ...
    def select(self, /, *paths: Any, **renamed: str) -> "Stream[K_co, Any]":
        """Build a value of some fields: a dict, or a class whose fields name them.

        Args:
            paths: field paths, each kept under its last name; or one class, whose fields
                are taken from the value's fields of the same name.
            renamed: new name = field path.

        Raises:
            TopologyError: if the value has no such field, or two have one name.
        """
        return self._then("select", *declare_select(self._node, paths, renamed))

    def map_record(
        self,
        f: Callable[[Record[K_co, V_co]], tuple[K2, R]],
        *,
        key: Spec[K2] | None = None,
        value: Spec[R] | None = None,
        name: str | None = None,
    ) -> "Stream[K2, R]":
        """Apply a function of the whole record that returns its new key and value.

        Args:
            f: a function of the Record: key, value, timestamp, headers and coordinates.
            key: type or serde of the new keys.
            value: type or serde of the new values.
            name: name of the repartition topic, where something stateful follows.

        Raises:
            TopologyError: if the name cannot be part of a topic.
        """
        return self._then(
            "map_record",
            MapRecord(f),
            data_type(value),
            where(f),
            key=data_type(key, key=True),
            reshuffle=make_reshuffle("map_record", name),
        )

    @overload
    def rekey(self, by: str, *, name: str | None = None) -> "Stream[Any, V_co]": ...
    @overload
    def rekey(self, by: str, *, key: Spec[K2], name: str | None = None) -> "Stream[K2, V_co]": ...
    @overload
    def rekey(
        self, by: tuple[str, ...], *, name: str | None = None
    ) -> "Stream[tuple[Any, ...], V_co]": ...
    @overload
    def rekey(
        self, by: Callable[[V_co], K2], *, key: Spec[K2] | None = None, name: str | None = None
    ) -> "Stream[K2, V_co]": ...
    def rekey(self, by: Any, *, key: Any = None, name: str | None = None) -> "Stream[Any, V_co]":
        """Put each record under a key taken from its value.

        Where something stateful follows, equal keys have to come together: the records go
        through a repartition topic, `<application id>-<name>-repartition`. However many
        steps follow, there is one such topic.

        Args:
            by: a field path, a tuple of them, or a function of the value. None is refused.
            key: type or serde of the new keys, where the value's type does not say it.
            name: name of the repartition topic; needed only where something stateful follows.

        Raises:
            TopologyError: if the value has no such field, or it is of another type than key=.
        """
        operator, found, shown = declare_rekey(self._node, by, key)
        reshuffle = make_reshuffle("rekey", name)
        return self._then(
            "rekey", operator, self._node.value, shown, key=found, reshuffle=reshuffle
        )

    def repartition(self, *, name: str, partitions: int | None = None) -> "Stream[K_co, V_co]":
        """Send the records through a repartition topic under the keys that they have.

        Args:
            name: name of the topic, `<application id>-<name>-repartition`.
            partitions: how many partitions it has; by default as many as its inputs have.

        Raises:
            TopologyError: if a serde is unknown, or the count is not positive.
        """
        if partitions is not None and partitions < 1:
            raise TopologyError(f"repartition(partitions={partitions}): use 1 or more.")
        reshuffle = make_reshuffle("repartition", name, partitions, always=True)
        found = self._then("repartition", ToStream(), self._node.value, name, reshuffle=reshuffle)
        check_reshuffle(found._node, "repartition")
        return found

    def drop_duplicates(
        self, *by: str | Callable[[V_co], object], within: Duration, name: str
    ) -> "Stream[K_co, V_co]":
        """Hand on the first of equal records of a key, and drop the others for some time.

        A record is dropped if one that is equal to it was handed on before and their event times
        are at most `within` apart; then it is counted, as `numDroppedDuplicateRows` of the
        progress. It makes no difference in which order they came: a record that is older than the
        one that was handed on is its duplicate too. What was handed on is remembered for two to
        three times `within` of event time, and is then gone from memory, disk and changelog.

        A record that is more than `within` older than the newest one so far is late: its duplicate
        may be forgotten. It is dropped too and counted, as `num_rows_dropped_by_watermark`, because
        what follows relies on having no record twice (Spark's dropDuplicatesWithinWatermark does
        the same). So let `within` be as long as records may be late.

        Equal are records of one key whose selected values are equal and of one type: 1 is not 1.0.
        A record with a null key goes by the error policy: equal ones might lie in two partitions.

        Args:
            by: field paths or functions of the value; none for the whole value.
            within: how far apart the event times of duplicates may be.
            name: name of the store; it is part of the changelog topic.

        Raises:
            TopologyError: if the value has no such field, the time is nothing, the type of the
                keys is not known, or the key was changed without a name for the topic.

        >>> import penstock as ps
        >>> from penstock.testing import TestDriver
        >>> app = ps.App("shop")
        >>> orders = app.stream("orders", key=str, value=dict)
        >>> orders.drop_duplicates("id", within="1h", name="seen").to("once")
        >>> with TestDriver(app) as driver:
        ...     for number in (1, 1, 2):
        ...         driver.topic("orders").send({"id": number}, key="ann")
        ...     driver.topic("once").read()
        [('ann', {'id': 1}), ('ann', {'id': 2})]
        """
        check_partitioned(self._node, "drop_duplicates")
        operator = declare_drop_duplicates(self._node, by, within, name)
        return self._then("drop_duplicates", operator, self._node.value, name, emit="every_update")

    def to_table(self, *, name: str) -> "Table[K_co, V_co]":
        """Keep the latest value of each key; a null value deletes it.

        Args:
            name: name of the store; it is part of the changelog topic.

        Raises:
            TopologyError: if a serde is unknown, or the key was changed without a name.
        """
        from penstock.table import add_table

        check_partitioned(self._node, "to_table")
        return add_table(self._declaration, self._node, name)

    def merge(self, *others: "Stream[K2, V2]") -> "Stream[K_co | K2, V_co | V2]":
        """Take the records of several streams as one; there is no order between them.

        Args:
            others: streams of the same application.
        """
        nodes = [self._node, *(other._node for other in others)]
        first = nodes[0]
        node = self._declaration.add(
            "merge",
            Merge(),
            *nodes,
            key=first.key if all(n.key == first.key for n in nodes) else UNKNOWN,
            value=first.value if all(n.value == first.value for n in nodes) else UNKNOWN,
        )
        return Stream(self._declaration, node)

    def branch(self, *predicates: Callable[[V_co], object]) -> "tuple[Stream[K_co, V_co], ...]":
        """Split the stream: each record goes to the first branch whose predicate is true.

        A record that satisfies none is dropped; end with `lambda value: True` to keep it.

        Args:
            predicates: functions of the value, asked in this order; a branch for each.
        """
        route = self._then("branch", Route(predicates), self._node.value, f"{len(predicates)} ways")
        return tuple(
            route._then("port", Port(number), self._node.value, where(predicate))
            for number, predicate in enumerate(predicates)
        )

    @overload
    def group_by(self, by: str, *, name: str) -> "Grouped[Any, V_co]": ...
    @overload
    def group_by(self, by: str, *, key: Spec[K2], name: str) -> "Grouped[K2, V_co]": ...
    @overload
    def group_by(self, by: tuple[str, ...], *, name: str) -> "Grouped[tuple[Any, ...], V_co]": ...
    @overload
    def group_by(
        self, by: Callable[[V_co], K2], *, key: Spec[K2] | None = None, name: str
    ) -> "Grouped[K2, V_co]": ...
    def group_by(self, by: Any, *, key: Any = None, name: str) -> "Grouped[Any, V_co]":
        """Group the records by something in their value: `rekey` and `group_by_key`.

        Args:
            by: a field path, a tuple of them, or a function of the value.
            key: type or serde of what it gives, where the value's type does not say it.
            name: name of the repartition topic, `<application id>-<name>-repartition`.

        Raises:
            TopologyError: as `rekey` and `group_by_key` do.
        """
        return self.rekey(by, key=key, name=name).group_by_key()

    def group_by_key(self) -> "Grouped[K_co, V_co]":
        """Group the records by their key, for count, reduce and aggregate.

        Raises:
            TopologyError: if a step before changed the key and has no name= for the topic that
                brings equal keys together.
        """
        from penstock.grouped import Grouped

        check_partitioned(self._node, "group_by_key")
        return Grouped(self._declaration, self._node)

    def with_watermark(
        self, delay: Duration, *, idle: Duration | None = None, max_future: Duration | None = "1d"
    ) -> "Stream[K_co, V_co]":
        """Say how late the records may be, and what becomes of time without them.

        It counts for all windows behind it, through other steps and repartition topics, up to the
        next `with_watermark`, which replaces all of it.

        Args:
            delay: the grace of windows behind it that have no `grace=`: how long they wait
                behind their end for records that come late.
            idle: once all inputs are at their ends and nothing has come for this long, time goes
                on with the wall clock from where it was, so that open windows close. Left out,
                they wait for the next record.
            max_future: how far an event time may be ahead of the wall clock. A record that is
                further ahead goes by `on_error`, as one that cannot be decoded: it would close
                the windows of all others. None is any distance.

        Raises:
            TopologyError: if a duration is negative, or `idle` is nothing.

        >>> import penstock as ps
        >>> views = ps.App("views").stream("views", key=str, value=str)
        >>> views.with_watermark("10m", idle="30s").group_by_key().window(ps.tumbling("1h"))
        <penstock.grouped.WindowedGrouped object at ...>
        """
        idle_ms = None if idle is None else milliseconds(idle)
        if idle_ms == 0:
            raise TopologyError(
                f"idle={idle!r} leaves records no time to come. Use 1 ms or more, or leave it out."
            )
        future_ms = None if max_future is None else milliseconds(max_future)
        operator = Watermark(milliseconds(delay), idle_ms, future_ms)
        return self._then("with_watermark", operator, self._node.value, str(delay))

    def process(
        self,
        processor: Callable[[], Processor[K_co, V_co, R]],
        *,
        name: str,
        value: Spec[R] | None = None,
        initial: "Table[K_co, Any] | None" = None,
    ) -> "Stream[K_co, R]":
        """Call a processor for each record: with state and timers of its key.

        Keys stay as they are. What is handed on for a record has its timestamp and headers.

        Args:
            processor: a class derived from Processor, or a function that makes an instance.
            name: begins the names of its stores, `<name>-<attribute>`.
            value: type or serde of what it hands on, where the class does not say it.
            initial: a table of the application; what it has for a key when the first record of
                that key comes is given to `on_initial`, once. Which keys have begun is kept in
                the store `<name>-begun`. The table's topic and the stream's are read together, by
                the order of time, and need equal partition counts.

        Raises:
            TopologyError: if this is no processor, its state cannot be kept, the key was
                changed without a name, or the table has other keys, another application, or is
                behind a repartition topic that the records do not come through.
        """
        node = add_process(self._declaration, self._node, processor, name, value, initial)
        return Stream(self._declaration, node)

    def update_state(
        self,
        f: Callable[[V_co, S | None], tuple[S | None, R | None]],
        *,
        name: str,
        state: Spec[S] | None = None,
        value: Spec[R] | None = None,
        ttl: Duration | None = None,
    ) -> "Stream[K_co, R]":
        """Keep state by key with a function: of a value and the state, to the next and a result.

        >>> import penstock as ps
        >>> def total(amount: int, so_far: int | None) -> tuple[int, int]:
        ...     return (so_far or 0) + amount, (so_far or 0) + amount
        >>> app = ps.App("totals")
        >>> app.stream("in", key=str, value=int).update_state(total, name="total").to("out")

        Args:
            f: takes the value and the state of its key, None where there is none; returns the
                next state, None to forget it, and what is handed on, None for nothing.
            name: the store is called `<name>-state`.
            state: type or serde of the state, where the function has no annotation.
            value: type or serde of what is handed on, likewise.
            ttl: how long state is kept without being written, by event time.

        Raises:
            TopologyError: if the type of the state cannot be known, or as `process` does.
        """
        made, found = processor_of(f, name, state, value, ttl)
        node = add_process(self._declaration, self._node, made, name, found)
        return Stream(self._declaration, node)

    def match(
        self, pattern: Pattern[V_co], *, name: str, max_events: int = 1_000
    ) -> "Stream[K_co, Match[V_co]]":
        """Find a pattern in the events of each key; `penstock.patterns` says what matches when.

        A match has the timestamp of the event that completes it; one that time has decided, that
        of the first millisecond behind its end. Deletions of a table are no events.

        Args:
            pattern: made with `patterns.begin`.
            name: begins the names of its stores, `<name>-open`, `<name>-events`, `<name>-timers`.
            max_events: how many events of one key are kept for matches that are open. A record
                that would be one more goes by the error policy.

        Raises:
            TopologyError: if the pattern is empty or has no end, the type of keys or values is not
                known, or the key was changed without a name.
        """
        processor, found = declare_match(self._node, pattern, name, max_events)
        node = add_process(self._declaration, self._node, processor, name, found)
        return Stream(self._declaration, node)

    def to(self, topic: "str | Topic[K_co, V_co] | Callable[[V_co], str]") -> None:
        """Write the records to a topic, in the transaction of their batch.

        Args:
            topic: a name, for the stream's own serdes; a Topic; or a function of the value
                that returns the name for each record. Topics have to exist.

        Raises:
            TopologyError: if the serde of the keys or values cannot be known.
        """
        add_sink(self._declaration, self._node, topic)

    def to_console(
        self,
        *,
        output_mode: Literal["append", "update"] = "append",
        num_rows: int = 20,
        truncate: bool = True,
    ) -> None:
        """Print the records of each batch to stdout, as a table, once the batch is committed.

        Args:
            output_mode: "append"; "update" is the same, because records never change.
            num_rows: how many records of a batch at most.
            truncate: whether what is longer than 20 characters is cut.

        Raises:
            TopologyError: if the output mode is another one, or `num_rows` not positive.
        """
        check_output_mode(output_mode, "stream", "to_console")
        node = self._node
        add_console(self._declaration, node, node.kind, "append", num_rows, truncate=truncate)

    def to_memory(
        self, *, output_mode: Literal["append", "update"] = "append", max_rows: int = 100_000
    ) -> Memory[K_co, V_co]:
        """Keep the committed records in memory, for a notebook or a test.

        Args:
            output_mode: "append"; "update" is the same.
            max_rows: how many to keep, the newest ones.

        Raises:
            TopologyError: if the output mode is another one, or `max_rows` not positive.
        """
        check_output_mode(output_mode, "stream", "to_memory")
        return add_memory(self._declaration, self._node, "append", max_rows)

    def _then(
        self, kind: str, operator: Any, value: DataType, detail: str = "", **known: Any
    ) -> "Stream[Any, Any]":
        """Add a step behind this one, with its key where `known` does not say another one."""
        known = {"key": self._node.key, "value": value, "detail": detail, **known}
        return Stream(self._declaration, self._declaration.add(kind, operator, self._node, **known))


def _declared(spec: Any, otherwise: DataType) -> DataType:
    return otherwise if spec is None else data_type(spec)
