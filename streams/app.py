"""App: one application, one query: a declaration, its settings, and the ways to run it."""

import datetime
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

from typing_extensions import TypeVar

from penstock.errors import TopologyError
from penstock.operators.event_time import Unit, timestamp_extractor
from penstock.operators.on_error import OnError, check_on_error
from penstock.operators.source import Source, Start
from penstock.runtime.settings import Guarantee, Settings
from penstock.secret import check_brokers
from penstock.serde.types import Spec
from penstock.state.definition import check_name
from penstock.stream import Stream
from penstock.table import Table, add_table
from penstock.topics.topic import Topic
from penstock.topology.declaration import Declaration
from penstock.topology.describe import as_mermaid, as_text
from penstock.topology.explain import as_explanation
from penstock.topology.graph import Topology, make_topology
from penstock.topology.node import Node

if TYPE_CHECKING:
    from penstock.query.listener import Listener
    from penstock.query.query import Query

K = TypeVar("K")
V = TypeVar("V")
Names: TypeAlias = str | Sequence[str] | re.Pattern[str]


class App:
    """An application: what it reads, does and writes, and where it runs.

    Args:
        id: the application id; also the consumer group and the prefix of internal topics.
        brokers: bootstrap servers, `host:port` separated by commas. Left out, it is the
            environment's PENSTOCK_BROKERS, or localhost:9092.
        guarantee: "exactly_once", or "at_least_once" for a plain idempotent producer.
        on_error: what becomes of a record that cannot be decoded, processed or encoded:
            "fail" stops the application with its coordinates, "skip" drops it with a warning,
            `dead_letter("topic")` writes it there.
        state_dir: folder for local state; `$XDG_STATE_HOME/penstock` if left out.
        settings: everything else.

    Raises:
        TopologyError: if the id cannot be part of a topic name, a setting is unknown, or the
            brokers' addresses have credentials in them.
    """

    def __init__(
        self,
        id: str,
        *,
        brokers: str | None = None,
        guarantee: Guarantee = "exactly_once",
        on_error: OnError = "fail",
        state_dir: str | Path | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.id = check_name(id, "an application")
        if guarantee not in ("exactly_once", "at_least_once"):
            raise TopologyError(
                f"guarantee={guarantee!r} is unknown. Use 'exactly_once' or 'at_least_once'."
            )
        self.brokers = None if brokers is None else check_brokers(brokers)
        self.guarantee: Guarantee = guarantee
        self.on_error: OnError = check_on_error(on_error)
        self.state_dir = None if state_dir is None else Path(state_dir)
        self.settings = settings or Settings()
        self._declaration = Declaration(id)

    @overload
    def stream(
        self, source: Topic[K, V], *, start: Start = "earliest", on_error: OnError | None = None
    ) -> Stream[K, V]: ...
    @overload
    def stream(
        self, source: Names, *, start: Start = "earliest", on_error: OnError | None = None
    ) -> Stream[bytes | None, Any]: ...
    @overload
    def stream(
        self,
        source: Names,
        *,
        value: Spec[V],
        timestamp: str | Callable[[V], int] | None = None,
        unit: Unit = "ms",
        start: Start = "earliest",
        on_error: OnError | None = None,
    ) -> Stream[bytes | None, V]: ...
    @overload
    def stream(
        self,
        source: Names,
        *,
        key: Spec[K],
        value: Spec[V],
        timestamp: str | Callable[[V], int] | None = None,
        unit: Unit = "ms",
        start: Start = "earliest",
        on_error: OnError | None = None,
    ) -> Stream[K, V]: ...
    def stream(
        self,
        source: Any,
        *,
        key: Any = None,
        value: Any = None,
        timestamp: Any = None,
        unit: Any = "ms",
        start: Start = "earliest",
        on_error: OnError | None = None,
    ) -> Stream[Any, Any]:
        """Read a topic, several, or all whose name matches a pattern, as a stream.

        Args:
            source: a Topic, a name, a list of names, or a compiled pattern, which is
                resolved when the application starts.
            key: type or serde of the keys; left out, keys are raw bytes or None.
            value: type or serde of the values; left out, values are raw bytes or None.
                With a type, records with a null value are dropped and counted.
            timestamp: event time, as a field path or function of the value; left out, it is the
                record's own timestamp. A record that has none, or one before 1970, goes by
                `on_error`; where windows are behind, one more than a day ahead of the wall clock
                too: see `Stream.with_watermark`.
            unit: unit of the event time: "s", "ms", "us", "ns", or "iso" for text or a datetime.
            start: where to begin where nothing is committed yet: "earliest", "latest", or
                a datetime.
            on_error: what becomes of records of this input that fail; left out, what the
                application says, as it does for everything behind a repartition topic.

        Raises:
            TopologyError: if a type has no serde, a field does not exist, or another
                stream of the application reads the topic with other types.
        """
        node = self._source(source, key, value, timestamp, unit, start, on_error)
        return Stream(self._declaration, node)

    @overload
    def table(
        self,
        source: Topic[K, V],
        *,
        name: str,
        start: Start = "earliest",
        on_error: OnError | None = None,
    ) -> Table[K, V]: ...
    @overload
    def table(
        self,
        source: str,
        *,
        key: Spec[K],
        value: Spec[V],
        name: str,
        timestamp: str | Callable[[V], int] | None = None,
        unit: Unit = "ms",
        start: Start = "earliest",
        on_error: OnError | None = None,
    ) -> Table[K, V]: ...
    def table(
        self,
        source: Any,
        *,
        name: str,
        key: Any = None,
        value: Any = None,
        timestamp: Any = None,
        unit: Any = "ms",
        start: Start = "earliest",
        on_error: OnError | None = None,
    ) -> Table[Any, Any]:
        """Read a topic as a table: the latest value of each key; a null value deletes it.

        Args:
            source: a Topic or a name.
            name: name of the store; it is part of the changelog topic.
            key: type or serde of the keys.
            value: type or serde of the values.
            timestamp: event time, as for `stream`.
            unit: its unit.
            start: where to begin where nothing is committed yet.
            on_error: what becomes of records that fail, as for `stream`.

        Raises:
            TopologyError: if a type has no serde, or the topic is read as something else too.
        """
        return add_table(
            self._declaration,
            self._source(source, key, value, timestamp, unit, start, on_error, table=True),
            name,
        )

    def topology(self) -> Topology:
        """Return what was declared so far as an immutable, validated value.

        Raises:
            TopologyError: if nothing is declared, or two stores have one name.
        """
        return make_topology(self.id, self._declaration.nodes, self.on_error)

    def describe(self, *, format: Literal["text", "mermaid"] = "text") -> str:
        """Describe the topology: sub-topologies, steps, stores and internal topics.

        Args:
            format: "text", or "mermaid" for a diagram.
        """
        topology = self.topology()
        return as_mermaid(topology) if format == "mermaid" else as_text(topology)

    def explain(self, *, extended: bool = False) -> str:
        """Explain what the application will do: what is exactly once, what it keeps, and when.

        It tells what `describe` does not: which conditions of exactly once hold, what is not part
        of the transaction, which stores grow for ever, which steps hand on one change per key and
        commit and why others do not, and how time goes on. Partition counts are known to
        `Query.explain()`.

        Args:
            extended: whether to list the steps, as `describe` does, and the changelogs.

        Raises:
            TopologyError: if the declaration is wrong.
        """
        return as_explanation(self.topology(), self.guarantee, extended=extended)

    def _source(
        self,
        source: Any,
        key: Any,
        value: Any,
        timestamp: Any,
        unit: Any,
        start: Start,
        on_error: OnError | None,
        *,
        table: bool = False,
    ) -> Node:
        names, topic, pattern = _resolve(source, key, value, timestamp, unit)
        extract = None
        if topic.timestamp is not None:
            extract = timestamp_extractor(topic.timestamp, topic.unit, topic.value_type)  # type: ignore[arg-type]
        return self._declaration.add(
            "table" if table else "stream",
            Source(
                names,
                topic.key_type,
                topic.value_type,
                pattern,
                extract,
                _start(start),
                keep_nulls=table,
                on_error=None if on_error is None else check_on_error(on_error),
            ),
            key=topic.key_type,
            value=topic.value_type,
            detail=pattern.pattern if pattern else ", ".join(names),
        )

    def run(self, *, listeners: "Sequence[Listener]" = ()) -> None:
        """Run the application in this thread until it is stopped or fails.

        SIGINT and SIGTERM stop it: the open batch is committed or aborted, then it returns.

        Args:
            listeners: whom to tell how it goes, each in a thread of its own.

        Raises:
            PenstockError: whatever stopped it; the class says who is to blame.
        """
        from penstock.runtime.run import run

        run(self, listeners=listeners)

    def start(self, *, listeners: "Sequence[Listener]" = ()) -> "Query":
        """Start the application in the background and return a handle on it.

        An application runs once per process and state folder, so that a cell of a notebook that is
        run twice does no harm. An App with the same id and another `state_dir` is a second worker,
        which takes half of the partitions.

        Args:
            listeners: whom to tell how it goes, each in a thread of its own.

        Raises:
            TopologyError: if the declaration is wrong, or the application runs in this process
                already, with the same state folder. Errors after that are in the handle.
        """
        from penstock.runtime.run import start

        return start(self, listeners=listeners)


def _resolve(
    source: Names | Topic[Any, Any], key: Any, value: Any, timestamp: Any, unit: Any
) -> tuple[tuple[str, ...], Topic[Any, Any], re.Pattern[str] | None]:
    if isinstance(source, Topic):
        if key is not None or value is not None:
            raise TopologyError(
                f"Topic {source.name!r} has its types already. Leave key= and value= out."
            )
        return (source.name,), source, None
    pattern = source if isinstance(source, re.Pattern) else None
    names = _names(source)
    if not pattern and (not names or not all(isinstance(n, str) and n for n in names)):
        raise TopologyError(
            f"{source!r} names no topic. Pass a name, a list of names, a compiled pattern or"
            " a Topic."
        )
    shown = pattern.pattern if pattern else names[0]
    declared: dict[str, Any] = {"timestamp": timestamp, "unit": unit}
    if key is not None:
        declared["key"] = key
    if value is not None:
        declared["value"] = value
    return names, Topic(shown, **declared), pattern


def _names(source: Names) -> tuple[str, ...]:
    if isinstance(source, re.Pattern):
        return ()
    if isinstance(source, str):
        return (source,)
    return tuple(source) if isinstance(source, Sequence) else ()


def _start(start: Start) -> Start:
    if start in ("earliest", "latest"):
        return start
    if isinstance(start, datetime.datetime) and start.tzinfo is not None:
        return start
    raise TopologyError(
        f"start={start!r} is not a position. Use 'earliest', 'latest' or a datetime with a"
        " time zone."
    )
