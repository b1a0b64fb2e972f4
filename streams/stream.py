"""Stream: a declared stream of records, and what can be done with each of them.

Nothing here runs. Each method adds an immutable step to the application's declaration and
returns a handle on it; mistakes raise a TopologyError here, before a record is read.
"""

from collections.abc import Callable, Iterable
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    get_args,
    get_origin,
    is_typeddict,
    overload,
)

from typing_extensions import TypeIs, TypeVar

from penstock.duplicates import declare_drop_duplicates
from penstock.durations import Duration, milliseconds
from penstock.errors import TopologyError
from penstock.memory import Memory
from penstock.operators.branch import Port, Route
from penstock.operators.declared_process import declare_process
from penstock.operators.explode import Explode
from penstock.operators.fields import compile_path, compile_selector, fields_of, type_name
from penstock.operators.filter import Filter
from penstock.operators.flat_map import FlatMap
from penstock.operators.map import Map
from penstock.operators.map_record import MapRecord
from penstock.operators.match import Match
from penstock.operators.merge import Merge
from penstock.operators.peek import Peek
from penstock.operators.processing import Process
from penstock.operators.processor import Processor
from penstock.operators.record import Record
from penstock.operators.rekey import Rekey
from penstock.operators.select import Select
from penstock.operators.sink import Sink
from penstock.operators.to_stream import ToStream
from penstock.operators.to_table import ToTable
from penstock.operators.update_state import processor_of
from penstock.operators.watermark import Watermark
from penstock.output_modes import add_console, add_memory, check_output_mode
from penstock.patterns import Pattern, declare_match
from penstock.serde.types import (
    UNKNOWN,
    DataType,
    Spec,
    data_type,
    element,
    returned,
    where,
)
from penstock.state.definition import StoreDefinition, check_name, same_place
from penstock.topics.topic import Topic
from penstock.topology.declaration import Declaration
from penstock.topology.lookup import check_lookup
from penstock.topology.node import Node, Reshuffle
from penstock.topology.repartition import boundaries
from penstock.windows import Windowed

if TYPE_CHECKING:
    from penstock.grouped import Grouped
    from penstock.table import Table

K = TypeVar("K")
V = TypeVar("V")
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
        of = self._node.value.type
        into = paths[0] if len(paths) == 1 and not isinstance(paths[0], str) else dict
        wanted = (
            _selected((), into, renamed) if into is not dict else _selected(paths, dict, renamed)
        )
        fields = {name: compile_path(path, of)[0] for name, path in wanted.items()}
        found = data_type(dict[str, Any] if into is dict else into)
        return self._then("select", Select(fields, into), found, ", ".join(wanted))

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
        node = self._declaration.add(
            "map_record",
            MapRecord(f),
            self._node,
            key=data_type(key, key=True),
            value=data_type(value),
            detail=where(f),
            reshuffle=_reshuffle("map_record", name),
        )
        return Stream(self._declaration, node)

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
        select, found = compile_selector(by, self._node.value, key=True)
        shown = where(by) if callable(by) else str(by)
        if key is not None:
            declared = data_type(key, key=True)
            if isinstance(by, str) and _differ(found.type, declared.type):
                raise TopologyError(
                    f"rekey {by!r} gives keys of type {type_name(found.type)}, declared is"
                    f" key={type_name(declared.type)}. Leave key= out, or convert it:"
                    f" rekey(lambda value: ..., key={type_name(declared.type)}).",
                    operator="rekey",
                )
            found = declared
        node = self._declaration.add(
            "rekey",
            Rekey(select),
            self._node,
            key=found,
            value=self._node.value,
            detail=shown,
            reshuffle=_reshuffle("rekey", name),
        )
        return Stream(self._declaration, node)

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
        node = self._declaration.add(
            "repartition",
            ToStream(),
            self._node,
            key=self._node.key,
            value=self._node.value,
            detail=name,
            reshuffle=_reshuffle("repartition", name, partitions, always=True),
        )
        _check_reshuffle(node, "repartition")
        return Stream(self._declaration, node)

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
        node = self._declaration.add(
            "drop_duplicates",
            declare_drop_duplicates(self._node, by, within, name),
            self._node,
            key=self._node.key,
            value=self._node.value,
            detail=name,
            emit="every_update",
        )
        return Stream(self._declaration, node)

    def to_table(self, *, name: str) -> "Table[K_co, V_co]":
        """Keep the latest value of each key; a null value deletes it.

        Args:
            name: name of the store; it is part of the changelog topic.

        Raises:
            TopologyError: if a serde is unknown, or the key was changed without a name.
        """
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
        return add_process(self._declaration, self._node, processor, name, value, initial)

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
        return add_process(self._declaration, self._node, made, name, found)

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
        return add_process(self._declaration, self._node, processor, name, found)

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
        self, kind: str, operator: Any, value: DataType, detail: str = ""
    ) -> "Stream[K_co, Any]":
        node = self._declaration.add(
            kind,
            operator,
            self._node,
            key=self._node.key,
            value=value,
            detail=detail,
        )
        return Stream(self._declaration, node)


def add_process(
    declaration: Declaration,
    parent: Node,
    processor: Any,
    name: str,
    value: Any,
    initial: "Table[Any, Any] | None" = None,
) -> "Stream[Any, Any]":
    """Declare a processor behind a step.

    Raises:
        TopologyError: if it cannot work, or another one has its name.
    """
    begins = initial is not None
    operator, found = declare_process(processor, name, parent.key, value, begins=begins)
    table = _looked_into(declaration, parent, name, initial) if begins else None
    if operator.stores:
        check_partitioned(parent, "process")
    for other in declaration.nodes:
        if isinstance(other.operator, Process) and same_place(other.detail) == same_place(name):
            raise TopologyError(
                f"Two processes are called {name!r}. Names are the identity of state: give each"
                " its own name=.",
                operator="process",
            )
    node = declaration.add(
        "process",
        operator,
        parent,
        key=parent.key,
        value=found,
        detail=name,
        emit="every_update",
        looks_into=table,
    )
    return Stream(declaration, node)


def _looked_into(declaration: Declaration, parent: Node, name: str, table: Any) -> Node:
    """Return the step of a table that a process begins with."""
    from penstock.table import Table

    if not isinstance(table, Table):
        raise TopologyError(
            f"Process {name!r} was given initial={table!r}, which is no table. Pass one of the"
            " application: app.table(...), stream.to_table(...), or what is aggregated.",
            operator="process",
        )
    if table._declaration is not declaration:  # pyright: ignore[reportPrivateUsage]
        raise TopologyError(
            f"Process {name!r} was given initial= with table {table.name!r} of another"
            " application. Read what it is made of in this one: app.table('topic', name=..., ...).",
            operator="process",
            store=table.name,
        )
    node: Node = table._node  # pyright: ignore[reportPrivateUsage]
    check_lookup(parent, node, name)
    return node


def add_sink(
    declaration: Declaration, parent: Node, topic: str | Topic[Any, Any] | Callable[[Any], str]
) -> None:
    """Declare that a step's records go to a topic.

    Raises:
        TopologyError: if a serde is unknown, or the topic's key type is another one.
    """
    name: str | Callable[[Any], str]
    if isinstance(topic, Topic):
        key, value, name = topic.key_type, topic.value_type, topic.name
    else:
        key, value, name = parent.key, parent.value, topic
    shown = name if isinstance(name, str) else where(name)
    if value.serde is None:
        raise TopologyError(
            f"The type of the values that go to {shown} is not known: {_blame(parent)} has no"
            " return annotation. Add one, pass value= there, or write to a"
            f" Topic({shown!r}, value=...).",
            operator=parent.kind,
            topic=shown,
        )
    if key.serde is None:
        raise TopologyError(
            f"The type of the keys that go to {shown} is not known: pass key= to"
            f" {_blame(parent)}, or write to a Topic({shown!r}, key=..., value=...).",
            operator=parent.kind,
            topic=shown,
        )
    if _differ(parent.key.type, key.type):
        raise TopologyError(
            f"Topic {shown!r} has keys of type {type_name(key.type)}, the keys of"
            f" {_blame(parent)} are {type_name(parent.key.type)}. Declare both with one type:"
            f" Topic({shown!r}, key={type_name(parent.key.type)}, ...).",
            operator=parent.kind,
            topic=shown,
        )
    declaration.add("to", Sink(name, key, value), parent, key=key, value=value, detail=shown)


def check_partitioned(node: Node, wanted_by: str) -> None:
    """Check that records can be brought together by key before a step that needs it.

    Raises:
        TopologyError: if the key was changed, and the topic in between has no name or serde.
    """
    for changed in [node] if node.reshuffle else boundaries(node):
        _check_reshuffle(changed, wanted_by)


def _check_reshuffle(node: Node, wanted_by: str) -> None:
    if node.reshuffle is None or node.reshuffle.name is None:
        raise TopologyError(
            f"{_blame(node)} changes the key, and {wanted_by} behind it needs equal keys in one"
            " partition: that takes a repartition topic, and the topic a name that survives"
            f" edits. Pass one: {node.kind}(..., name='by-...').",
            operator=node.kind,
        )
    for what, found in (("keys", node.key), ("values", node.value)):
        if found.serde is None:
            raise TopologyError(
                f"The type of the {what} that go through the repartition topic of"
                f" {_blame(node)} is not known. Pass {what[:-1]}= there, or where they are made.",
                operator=node.kind,
            )


def _reshuffle(
    kind: str, name: str | None, partitions: int | None = None, *, always: bool = False
) -> Reshuffle:
    if name is not None:
        check_name(name, f"the repartition topic of {kind}")
    return Reshuffle(name, partitions, always)


def add_table(declaration: Declaration, parent: Node, name: str) -> "Table[Any, Any]":
    """Declare a table of the latest values of a step.

    Raises:
        TopologyError: if the name cannot be part of a topic, or a serde is unknown.
    """
    from penstock.table import Table

    check_name(name, "a table")
    key, value = parent.key.serde, parent.value.serde
    if key is None:
        raise TopologyError(
            f"The type of the keys of table {name!r} is not known: pass key= where the stream"
            " is declared.",
            operator="to_table",
            store=name,
        )
    if value is None:
        raise unknown_value(parent, "to_table", name)
    node = declaration.add(
        "to_table",
        ToTable(StoreDefinition(name, key, value)),
        parent,
        key=parent.key,
        value=parent.value,
        detail=name,
        is_table=True,
    )
    return Table(declaration, node)


def unknown_value(parent: Node, kind: str, name: str) -> TopologyError:
    """Make the error for a store whose value type cannot be known."""
    return TopologyError(
        f"The type that {kind} {name!r} stores is not known: {_blame(parent)} says nothing"
        f" of it. Pass value= to {kind}, or annotate what the function returns.",
        operator=kind,
        store=name,
    )


def _blame(node: Node) -> str:
    return f"{node.kind} {node.detail}".rstrip()


def _differ(found: Any, wanted: Any) -> bool:
    """Whether keys of one class can never be of another one."""
    if get_origin(found) is Windowed and get_origin(wanted) is Windowed:
        return _differ(get_args(found)[0], get_args(wanted)[0])
    if Windowed in (get_origin(found), get_origin(wanted)):
        return isinstance(found, type) or isinstance(wanted, type)
    if not (isinstance(found, type) and isinstance(wanted, type)) or is_typeddict(wanted):
        return False
    return not issubclass(found, wanted) and (found, wanted) != (int, float)


def _declared(spec: Any, otherwise: DataType) -> DataType:
    return otherwise if spec is None else data_type(spec)


def _selected(paths: Iterable[str], into: Any, renamed: dict[str, str]) -> dict[str, str]:
    wanted: dict[str, str] = {}
    for path in paths:
        name = path.rsplit(".", 1)[-1]
        if name in wanted or name in renamed:
            raise TopologyError(
                f"select has two fields named {name!r}. Rename one: select(..., other={path!r})."
            )
        wanted[name] = path
    if into is not dict:
        names = fields_of(into)
        if not names:
            raise TopologyError(
                f"select builds a Struct, dataclass or TypedDict; {type_name(into)} has no fields."
                " Pass one of those, or field paths for a dict: select('user', 'page')."
            )
        wanted = {name: renamed.get(name, name) for name in names}
        unknown = set(renamed) - set(names)
        if unknown:
            raise TopologyError(
                f"select cannot fill {sorted(unknown)[0]!r}: {type_name(into)} has no field"
                f" {sorted(unknown)[0]!r}. Its fields are: {', '.join(names)}. Use one of them."
            )
    return wanted | renamed
